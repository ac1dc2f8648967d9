"""Several enrolled outposts that serve one place count as one: a logical outpost.

Each replica has an identity, a log and a heartbeat of its own; releases, roll-outs and people know the whole. One that
stands alone is a logical outpost of its own name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.domain.condition import CARRIED, WELL, Condition
from controlplane.domain.errors import NotFoundError
from controlplane.domain.outposts import OutpostState

DEGRADED = "DEGRADED"  # some of its replicas are well
DOWN = "DOWN"  # none of them is
_GONE = (OutpostState.PENDING, OutpostState.REVOKED)  # they serve nobody, and nobody misses them


class LogicalUnknownError(NotFoundError):
    """No outpost of the org belongs to a logical outpost of this name."""

    code = "logical.unknown"


@dataclass(frozen=True, slots=True)
class LogicalOutpost:
    """One view of its replicas.

    Attributes:
        name: what they were registered with, or the name of the only one.
        replicas: in order of registration.
    """

    name: str
    replicas: tuple[Condition, ...]

    @property
    def serving(self) -> tuple[Condition, ...]:
        """Replicas that were enrolled and not revoked since."""
        return tuple(each for each in self.replicas if each.outpost.state not in _GONE)

    @property
    def well(self) -> int:
        """How many of those need nobody."""
        return sum(each.state in (WELL, CARRIED) and not each.attention for each in self.serving)

    @property
    def state(self) -> str:
        """ACTIVE when every serving replica is well, DEGRADED when some are, DOWN when none is; else where it stands.

        That of the registered ones is said in lower case: pending or revoked.
        """
        if not self.serving:
            states = [each.outpost.state.value for each in self.replicas]
            return OutpostState.PENDING.value if OutpostState.PENDING.value in states else states[0]
        if self.well == len(self.serving):
            return WELL
        return DEGRADED if self.well else DOWN

    @property
    def revisions(self) -> tuple[str, ...]:
        """Configurations that serving replicas run: one, unless a roll-out is on its way or a replica is behind."""
        return tuple(sorted({each.revision for each in self.serving if each.revision}))

    @property
    def last_seen_ms(self) -> int:
        """The newest heartbeat of any."""
        return max((each.outpost.last_seen_ms for each in self.replicas), default=0)

    @property
    def attention(self) -> tuple[str, ...]:
        """What is wrong with each replica; with the name of the replica where there are several."""
        alone = len(self.replicas) == 1
        told = [text if alone else f"{each.outpost.name}: {text}" for each in self.replicas for text in each.attention]
        if len(self.revisions) > 1:
            told.append(f"its replicas run {' and '.join(self.revisions)}")
        return tuple(told)


def rolled_up(conditions: Iterable[Condition]) -> tuple[LogicalOutpost, ...]:
    """The logical outposts of an org, in order of the registration of their first replica."""
    found: dict[str, list[Condition]] = {}
    for each in conditions:
        found.setdefault(each.outpost.logical or each.outpost.name, []).append(each)
    return tuple(LogicalOutpost(name, tuple(replicas)) for name, replicas in found.items())


def named(conditions: Iterable[Condition], name: str) -> LogicalOutpost:
    """One of them. Raises LogicalUnknownError."""
    for each in rolled_up(conditions):
        if each.name == name:
            return each
    raise LogicalUnknownError(
        "the org has no logical outpost of this name",
        field="logical",
        next_step="see those that there are: controlplane outpost list --logical --org ORG",
    )
