"""Stages and cohorts: how many, and exactly who."""

import pytest

from controlplane.domain.stages import (
    Cohort,
    Fleet,
    Stage,
    StageCrowdedError,
    members_of,
    next_stage,
    pick,
    sparing,
    stage_size,
)
from outpost.core.bundle.limits import MAX_SPARED
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument, cohort_value

ORG = "acme"
USUAL = (5, 25, 100)
SIZES = {(0, 5): 1, (1, 5): 1, (3, 5): 1, (19, 5): 1, (40, 5): 2, (7, 25): 1, (8, 25): 2, (9, 100): 9, (1000, 5): 50}


@pytest.mark.parametrize("case", SIZES, ids=str)
def test_sizes_of_stages(case: tuple[int, int]) -> None:
    assert stage_size(*case) == SIZES[case]


# sentence: shares, logical outposts, the stages one after the other
WAYS: dict[str, tuple[tuple[int, ...], int, list[tuple[int, int]]]] = {
    "a thousand outposts": (USUAL, 1000, [(5, 50), (25, 250), (100, 1000)]),
    "twenty": (USUAL, 20, [(5, 1), (25, 5), (100, 20)]),
    "ten: one, two, all": (USUAL, 10, [(5, 1), (25, 2), (100, 10)]),
    "three: both first shares are one outpost, so they are one stage": (USUAL, 3, [(25, 1), (100, 3)]),
    "two": (USUAL, 2, [(25, 1), (100, 2)]),
    "one logical outpost is one stage": (USUAL, 1, [(100, 1)]),
    "no outpost": (USUAL, 0, [(100, 0)]),
    "everybody at once": ((100,), 50, [(100, 50)]),
    "a share that is everybody before the last": ((50, 99, 100), 2, [(99, 1), (100, 2)]),
}


@pytest.mark.parametrize("sentence", WAYS)
def test_the_way_through_the_stages(sentence: str) -> None:
    percents, total, expected = WAYS[sentence]
    way, reached = [], None
    while (reached := next_stage(percents, reached, total)) is not None:
        way.append((reached.percent, reached.count))
    assert way == expected


def test_a_fleet_that_shrank_is_not_left_at_its_stage() -> None:
    assert next_stage(USUAL, Stage(25, 5), 5) == Stage(100, 5)
    assert next_stage(USUAL, Stage(5, 1), 4) == Stage(100, 4)  # a quarter of four is the one that has it


def names(count: int, prefix: str = "site") -> frozenset[str]:
    return frozenset(f"{prefix}-{number}" for number in range(count))


def document(cohort: Cohort, percent: int = 5) -> RolloutDocument:
    return RolloutDocument(ORG, 7, 8, cohort.threshold, percent, cohort.spared)


@pytest.mark.parametrize("percent", [5, 25])
def test_a_stage_has_exactly_its_share(percent: int) -> None:
    everybody = names(200)
    cohort = pick(ORG, 8, Stage(percent, stage_size(200, percent)), Fleet(everybody))
    assert len(cohort.members) == 2 * percent
    assert members_of(document(cohort), everybody) == cohort.members
    assert cohort.spared == ()


def test_the_last_stage_is_everybody_and_whoever_comes() -> None:
    cohort = pick(ORG, 8, Stage(100, 3), Fleet(names(3), names(5, "later")))
    assert (cohort.threshold, cohort.spared) == (EVERYBODY, ())


def test_who_is_registered_and_not_there_does_not_take_part() -> None:
    standing, waiting = names(40), names(400, "waiting")
    cohort = pick(ORG, 8, Stage(25, 10), Fleet(standing, waiting))
    assert members_of(document(cohort), standing) == cohort.members
    assert len(cohort.members) == 10
    assert members_of(document(cohort), waiting) == frozenset()
    assert len(cohort.spared) == sum(cohort_value(ORG, 8, name) < cohort.threshold for name in waiting)
    assert cohort.spared


def test_members_stay_members_and_who_came_below_them_is_spared() -> None:
    standing = names(20)
    first = pick(ORG, 8, Stage(5, 1), Fleet(standing))
    (member,) = first.members
    lower = {name for name in names(2000, "new") if cohort_value(ORG, 8, name) < cohort_value(ORG, 8, member)}
    assert len(lower) > 10
    second = pick(ORG, 8, Stage(25, 8), Fleet(standing | lower), first.members)
    assert member in second.members
    assert len(second.members) == 8
    assert members_of(document(second), standing | lower) == second.members


def test_a_member_that_was_revoked_is_none() -> None:
    first = pick(ORG, 8, Stage(25, 5), Fleet(names(20)))
    gone = min(first.members)
    second = pick(ORG, 8, Stage(25, 5), Fleet(names(20) - {gone}), first.members)
    assert second.members > first.members - {gone}
    assert len(second.members) == 5


def newcomer(cohort: Cohort, *, below: bool) -> str:
    return next(name for name in sorted(names(5000, "new")) if (cohort_value(ORG, 8, name) < cohort.threshold) == below)


def test_a_newcomer_below_the_threshold_is_spared() -> None:
    cohort = pick(ORG, 8, Stage(5, 1), Fleet(names(20)))
    name = newcomer(cohort, below=True)
    changed = sparing(document(cohort), name)
    assert changed is not None
    assert members_of(changed, names(20) | {name}) == cohort.members
    assert sparing(changed, name) is None


NOTHING_TO_SPARE = {
    "above the threshold it has no part anyway": (document(pick(ORG, 8, Stage(5, 1), Fleet(names(20)))), False),
    "in the last stage everybody takes part": (RolloutDocument(ORG, 7, 8, EVERYBODY, 100), True),
    "nothing rolls": (RolloutDocument(ORG, 7), True),
}


@pytest.mark.parametrize("sentence", NOTHING_TO_SPARE)
def test_nobody_is_spared_when(sentence: str) -> None:
    rollout, below = NOTHING_TO_SPARE[sentence]
    name = newcomer(Cohort(frozenset(), rollout.threshold), below=below) if rollout.threshold else "new-1"
    assert sparing(rollout, name) is None


def test_more_than_a_roll_out_can_name_is_refused() -> None:
    crowd = names(40_000, "waiting")
    with pytest.raises(StageCrowdedError) as caught:
        pick(ORG, 8, Stage(25, 25), Fleet(names(100), crowd))
    assert "--at-once" in caught.value.next_step
    full = RolloutDocument(ORG, 7, 8, EVERYBODY - 1, 5, tuple(range(MAX_SPARED)))
    with pytest.raises(StageCrowdedError):
        sparing(full, "site-1")
