"""Who takes a candidate, and in which order."""

import pytest

from outpost.core.bundle.rollout import (
    EVERYBODY,
    RolloutDocument,
    choose,
    cohort_value,
    stage_size,
    threshold_for,
)

ORG = "acme"
OUTPOSTS = [f"site-{number}" for number in range(1000)]
VALUES = {name: cohort_value(ORG, 8, name) for name in OUTPOSTS}


def taking(threshold: int) -> set[str]:
    document = RolloutDocument(ORG, 7, 8, threshold, 5)
    return {name for name in OUTPOSTS if choose(document, name) == 8}


def test_values_are_fixed_for_ever() -> None:
    assert (
        cohort_value("acme", 8, "site-0") == 2444954234
    )  # first 4 bytes of SHA-256("outpost.cohort/1\nacme\n8\nsite-0")
    assert all(0 <= value < EVERYBODY for value in VALUES.values())


def test_replicas_go_together_and_other_candidates_meet_others_first() -> None:
    assert cohort_value(ORG, 8, "site-0") == cohort_value(ORG, 8, "site-0")
    first = {c: min(OUTPOSTS, key=lambda name: cohort_value(ORG, c, name)) for c in range(8, 16)}
    assert len(set(first.values())) > 4
    assert cohort_value("globex", 8, "site-0") != VALUES["site-0"]


def test_names_and_versions_cannot_run_into_each_other() -> None:
    assert cohort_value("acme", 1, "2-x") != cohort_value("acme", 12, "-x")


STAGES = {5: 50, 25: 250, 100: 1000}


@pytest.mark.parametrize("percent", STAGES)
def test_a_stage_has_exactly_its_share(percent: int) -> None:
    count = stage_size(len(OUTPOSTS), percent)
    assert count == STAGES[percent]
    assert len(taking(threshold_for([*VALUES.values()], count))) == count


def test_later_stages_only_add() -> None:
    stages = [taking(threshold_for([*VALUES.values()], stage_size(1000, percent))) for percent in (5, 25, 100)]
    assert stages[0] < stages[1] < stages[2] == set(OUTPOSTS)


SIZES = {(0, 5): 1, (1, 5): 1, (3, 5): 1, (19, 5): 1, (40, 5): 2, (7, 25): 1, (8, 25): 2, (9, 100): 9}


@pytest.mark.parametrize("case", SIZES, ids=str)
def test_sizes_of_stages(case: tuple[int, int]) -> None:
    assert stage_size(*case) == SIZES[case]


THRESHOLDS = {
    "nobody": ([5, 3, 9], 0, 0),
    "the lowest": ([5, 3, 9], 1, 4),
    "two of three": ([5, 3, 9], 2, 6),
    "all, also who comes later": ([5, 3, 9], 3, EVERYBODY),
    "more than there are": ([5], 7, EVERYBODY),
    "no outpost at all": ([], 1, EVERYBODY),
    "two that cannot be told apart": ([5, 5, 9], 1, 6),
    "the highest value there is": ([EVERYBODY - 1, 0], 1, 1),
}


@pytest.mark.parametrize("sentence", THRESHOLDS)
def test_thresholds(sentence: str) -> None:
    values, count, expected = THRESHOLDS[sentence]
    assert threshold_for(values, count) == expected


def test_without_a_candidate_the_stable_release_runs() -> None:
    assert choose(RolloutDocument(ORG, 7), "site-0") == 7
    assert taking(0) == set()
    assert taking(EVERYBODY) == set(OUTPOSTS)
