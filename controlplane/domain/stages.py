"""Who takes a candidate at each stage of a roll-out, exactly.

Theory. A stage is a share of the logical outposts: of n, the largest whole number within the share, and at least one.
Which ones follows from their cohort values (outpost/core/bundle/rollout): the lowest take part, and the signed
threshold lies just above the highest of them. Three things would make more outposts meet the candidate than the share
says, and each is answered by the list of spared values:

- whoever registers while a stage runs may have a value below the threshold: it is spared until the next stage;
- who is registered and did not enroll yet, or is locked, is not counted in n, so it may not take part either;
- when outposts came since the stage before, some of them lie below its members. Members stay members (going back and
  forth would be worse than either), and the newcomers that would be too many are spared.

The last stage is everybody, also who comes later. Stages of one size are one stage, named by the largest share: so one
logical outpost is one stage, and three are two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from controlplane.domain.errors import ConflictError
from outpost.core.bundle.limits import MAX_SPARED
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument, choose, cohort_value

ALL = 100  # percent


class StageCrowdedError(ConflictError):
    """More outposts than a roll-out can name are registered and not there: they cannot all be spared."""

    code = "rollout.crowded"


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a roll-out goes.

    Attributes:
        percent: share of the logical outposts; 100 is everybody.
        count: logical outposts of that share.
    """

    percent: int
    count: int

    @property
    def is_last(self) -> bool:
        """Everybody takes part."""
        return self.percent == ALL


@dataclass(frozen=True, slots=True)
class Fleet:
    """The logical outposts of an org, by name.

    Attributes:
        standing: with an enrolled outpost that is neither locked nor revoked.
        waiting: known, but with none of that kind: registered, or locked.
    """

    standing: frozenset[str]
    waiting: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who takes a candidate.

    Attributes:
        members: names of logical outposts.
        threshold: of the signed roll-out; so is ``spared``.
    """

    members: frozenset[str]
    threshold: int
    spared: tuple[int, ...] = ()


def stage_size(total: int, percent: int) -> int:
    """Logical outposts of a stage: at least one, else the share rounded down."""
    return max(1, total * percent // ALL)


def next_stage(percents: Sequence[int], reached: Stage | None, total: int) -> Stage | None:
    """The stage after one; None behind the last.

    Args:
        percents: rising shares, the last one 100.
        reached: the present stage, with the number of logical outposts that it has now; None before the first.
        total: logical outposts that there are now.
    """
    if reached is not None and reached.is_last:
        return None
    passed = reached if reached is not None else Stage(0, 0)
    sizes = [Stage(percent, stage_size(total, percent)) for percent in percents if percent > passed.percent]
    larger = [stage for stage in sizes if passed.count < stage.count < total]
    if not larger:
        return Stage(ALL, total)
    return max((stage for stage in larger if stage.count == larger[0].count), key=lambda stage: stage.percent)


def pick(org: str, candidate: int, stage: Stage, fleet: Fleet, before: Iterable[str] = ()) -> Cohort:
    """Choose the members of a stage.

    Args:
        org: org id.
        candidate: version of the release.
        stage: how many.
        fleet: all logical outposts.
        before: members of the stage before; those who still stand remain.

    Raises:
        StageCrowdedError: more outposts would have to be spared than a roll-out can name.
    """
    if stage.is_last:
        return Cohort(fleet.standing, EVERYBODY)
    values = {name: cohort_value(org, candidate, name) for name in (*fleet.standing, *fleet.waiting)}
    members = fleet.standing & frozenset(before)
    rest = sorted(fleet.standing - members, key=lambda name: (values[name], name))
    for _, group in groupby(rest, key=lambda name: values[name]):  # two of one value go together or not at all
        together = frozenset(group)
        if members and len(members) + len(together) > stage.count:
            break
        members |= together
    return _cohort(values, members)


def _cohort(values: dict[str, int], members: frozenset[str]) -> Cohort:
    taken = {values[name] for name in members}
    threshold = max(taken) + 1
    spared = {value for name, value in values.items() if name not in members and value < threshold} - taken
    if len(spared) > MAX_SPARED:
        raise StageCrowdedError(
            f"{len(spared)} registered outposts are not there and would have to be spared; a roll-out names at most "
            f"{MAX_SPARED}",
            field="outposts",
            next_step="let them enroll or revoke them, or publish to everybody at once: --at-once",
        )
    return Cohort(members, threshold, tuple(sorted(spared)))


def members_of(document: RolloutDocument, names: Iterable[str]) -> frozenset[str]:
    """Those on which the candidate of a signed roll-out runs; none without one."""
    return frozenset(name for name in names if choose(document, name) == document.candidate)


def sparing(document: RolloutDocument, newcomer: str) -> RolloutDocument | None:
    """The roll-out after a logical outpost was registered; None when it need not change.

    Args:
        document: in force.
        newcomer: name of a logical outpost that was not known before.

    Raises:
        StageCrowdedError: as many are spared as a roll-out can name.
    """
    candidate = document.candidate
    if candidate is None or document.threshold >= EVERYBODY or choose(document, newcomer) != candidate:
        return None
    if len(document.spared) >= MAX_SPARED:
        raise StageCrowdedError(
            f"{MAX_SPARED} outposts were registered while this stage of a roll-out runs",
            field="name",
            next_step="register more once the stage is over: controlplane release list",
        )
    value = cohort_value(document.org, candidate, newcomer)
    return replace(document, spared=tuple(sorted((*document.spared, value))))
