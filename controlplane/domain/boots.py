"""Starts of an outpost: which one speaks, and whether two of them speak at once.

A boot id is 8 hex digits of a counter and 24 random ones. The outpost stores the counter durably before it uses it,
so no two starts of one machine share it, and only one start of a machine lives at a time.

Rules
- The newest start again: a connection was lost, or stands half-open somewhere. The new one takes its place.
- A higher counter: the outpost was started again. The start before is superseded.
- The same counter as a known start, and other random digits: the state folder was copied. No honest outpost does that.
- A lower counter: an earlier start speaks. Bytes of a dead start may arrive at any time, over any connection, and
  more than once; so it is refused and asked to prove that it lives: a fresh nonce goes down its stream. A dead start
  cannot answer. One that answers was alive after a later start had spoken: two machines hold one identity.

Source: /docs/design.md 4 ("a superseded boot id that comes back; a lost reply or a half-open reconnect is not a
clone"); /docs/identity.md.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from controlplane.domain.outposts import IdentitySupersededError, Outpost

BOOT_ID = re.compile(r"[0-9a-f]{32}")
COUNTER_DIGITS = 8  # of 32; 2^32 starts
KEPT_BOOT_IDS = 16  # superseded starts that are remembered; older ones are judged by their counter alone


class Start(StrEnum):
    """Which start of an outpost a boot id is."""

    CURRENT = "current"
    LATER = "later"
    EARLIER = "earlier"
    COPIED = "copied"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a start says of itself.

    Attributes:
        boot_id: 32 hex digits.
        software_version: of the outpost.
        source: address that it speaks from.
        refused: newest revision that it refused for good, empty when none.
    """

    boot_id: str
    software_version: str
    source: str
    refused: str = ""


def counter_of(boot_id: str) -> int:
    """The counter in a boot id."""
    return int(boot_id[:COUNTER_DIGITS], 16)


def judge(outpost: Outpost, boot_id: str) -> Start:
    """Which start this is, by the rules above.

    Args:
        outpost: as stored.
        boot_id: 32 hex digits, bounded by the caller.
    """
    if not outpost.boot_id:
        return Start.LATER
    if boot_id == outpost.boot_id:
        return Start.CURRENT
    counter = counter_of(boot_id)
    for known in (outpost.boot_id, *outpost.superseded_boots):
        if counter_of(known) == counter and known != boot_id:
            return Start.COPIED
    return Start.LATER if counter > counter_of(outpost.boot_id) else Start.EARLIER


def started(outpost: Outpost, hello: Hello, now_ms: int) -> Outpost:
    """The outpost after its newest start, or a later one, said hello."""
    older = outpost.superseded_boots
    if outpost.boot_id and outpost.boot_id != hello.boot_id:
        older = (outpost.boot_id, *older)[:KEPT_BOOT_IDS]
    return replace(
        outpost,
        boot_id=hello.boot_id,
        boot_source=hello.source,
        superseded_boots=older,
        software_version=hello.software_version,
        last_seen_ms=now_ms,
    )


def earlier_error() -> IdentitySupersededError:
    """The refusal of a start that a later one replaced."""
    return IdentitySupersededError(
        "a later start of this outpost took the place of this one",
        field="boot_id",
        next_step="if this machine is no copy, find out which other one runs on its state folder",
    )
