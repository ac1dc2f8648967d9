"""Traces that two machines leave when they hold one identity, and what happens then.

Each trace is something that no honest outpost can leave, however often it crashes, loses answers or is cut off: its
counter of starts, its key with the request that is out, and its certificate with the join sequence are each durable
before they are used. So one trace is enough: the identity is locked for both holders at once. Which of the two is the
thief nobody can tell from here; a person decides, and enrolls the right one anew.
"""

from dataclasses import replace
from enum import StrEnum

from controlplane.domain.outposts import Outpost, OutpostState, locked


class CloneTrace(StrEnum):
    """What was seen; the values are codes of alerts."""

    COPIED_START = "identity.copied_start"  # two starts with one counter
    EARLIER_START = "identity.earlier_start"  # a start that a later one replaced still lives
    SECOND_KEY = "identity.second_key"  # another key at a join sequence with a certificate
    RETIRED_CERTIFICATE = "identity.retired_certificate"  # a renewal by a certificate that another one replaced


def cloned(outpost: Outpost, trace: CloneTrace, caller: str, sources: tuple[str, str], now_ms: int) -> Outpost:
    """The outpost after a trace of a clone: locked, with an alert that names both addresses.

    Args:
        outpost: as stored.
        trace: what was seen.
        caller: serial of the certificate that the trace came with.
        sources: address of the known holder, and of the one who came.
        now_ms: Unix milliseconds.
    """
    if outpost.state is not OutpostState.ACTIVE:
        return outpost
    after = locked(outpost, trace.value, now_ms, caller)
    return replace(after, alert=trace.value, alert_sources=sources, alert_ms=now_ms)
