"""Totals of the judgement in the shadow that outposts report, added up for people."""

import json
from collections.abc import Mapping

from outpost.core.shadow import ShadowTotals, add_up, plain, totals_of

SHADOW = "shadow"  # in a stored heartbeat


def shadow_of(statuses: Mapping[str, Mapping[str, object]], release: int) -> ShadowTotals | None:
    """How a candidate would have decided, over all outposts that report it; None when none does.

    Args:
        statuses: the newest heartbeat of each outpost, plain JSON.
        release: version of the candidate.
    """
    told = []
    for status in statuses.values():
        report = status.get(SHADOW)
        if isinstance(report, Mapping) and report.get("release") == release:
            told.append(totals_of(report))
    return add_up(told)


def shadow_text(statuses: Mapping[str, Mapping[str, object]], release: int) -> str:
    """The same as plain JSON; empty when no outpost reports it."""
    totals = shadow_of(statuses, release)
    return json.dumps(plain(totals), separators=(",", ":")) if totals is not None else ""
