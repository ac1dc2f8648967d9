"""The change feed: what of an org changed, in the order in which it was committed.

Each change has a number, counted from 1 in each org without a gap, and given out while the row that counts is held: who
commits first has the lower number. So a reader that saw number n has seen every change up to n, and none can appear
behind it later. Old changes are pruned; who comes from before them reads everything again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

KEPT_CHANGES = 10_000  # of each org; a reader that is further behind reads everything again, which is cheaper by then
PRUNE_EVERY = 1_000  # changes between two prunings


class ChangeKind(StrEnum):
    """What changed."""

    OUTPOST = "outpost"
    RELEASE = "release"
    REFUSAL = "refusal"  # an outpost refused a signed set
    QUOTAS = "quotas"


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Attributes:
        outpost_id: whose row changed, with kind OUTPOST; else empty.
    """

    kind: ChangeKind
    outpost_id: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """Everything that changed since a cursor.

    Attributes:
        newest: number of the newest change; the next cursor.
        kinds: what changed.
        outposts: ids of the outposts whose rows changed.
        whole: what changed in between is not known any more: read everything again.
    """

    newest: int
    kinds: frozenset[ChangeKind] = frozenset()
    outposts: frozenset[str] = field(default=frozenset())
    whole: bool = False

    @property
    def releases(self) -> bool:
        """Whether a signed set was added."""
        return self.whole or ChangeKind.RELEASE in self.kinds


def changed(cursor: int, newest: int, kept: Sequence[Change]) -> Changed:
    """What a reader at ``cursor`` has to read.

    Args:
        cursor: the number up to which the reader knows everything; 0 at first.
        newest: number of the newest change, 0 when there is none.
        kept: the changes above ``cursor`` that are still stored.

    Returns:
        ``whole`` when some are missing, or when the cursor is from a later time than the store (it was restored).
    """
    if cursor > newest or len(kept) != newest - cursor:
        return Changed(newest, whole=True)
    kinds = frozenset(each.kind for each in kept)
    return Changed(newest, kinds, frozenset(each.outpost_id for each in kept if each.kind is ChangeKind.OUTPOST))
