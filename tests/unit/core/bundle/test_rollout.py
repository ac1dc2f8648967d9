"""Who takes a candidate, and in which order."""

import pytest

from outpost.core.bundle import limits
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.errors import DocumentError
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument, build_rollout, choose, cohort_value, parse_rollout

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


def test_a_rising_threshold_only_adds() -> None:
    stages = [taking(threshold) for threshold in (2**28, 2**30, EVERYBODY)]
    assert set() < stages[0] < stages[1] < stages[2] == set(OUTPOSTS)


def test_who_is_spared_runs_the_stable_release_below_the_threshold_too() -> None:
    name = min(OUTPOSTS, key=lambda each: VALUES[each])
    document = RolloutDocument(ORG, 7, 8, EVERYBODY, 5, (VALUES[name],))
    assert {each for each in OUTPOSTS if choose(document, each) == 7} == {name}
    assert parse_rollout(build_rollout(document), ORG) == document


SPARED = {
    "not rising": [5, 3],
    "twice the same": [5, 5],
    "below zero": [-1],
    "not below the threshold": [100],
    "a truth value": [True],
    "a text": ["5"],
    "no list": 5,
    "more than may be": list(range(limits.MAX_SPARED + 1)),
}


@pytest.mark.parametrize("sentence", SPARED)
def test_spared_values_that_are_none(sentence: str) -> None:
    threshold = EVERYBODY if sentence.startswith("more") else 100
    fields = decode(build_rollout(RolloutDocument(ORG, 7, 8, threshold, 5)), "rollout")
    with pytest.raises(DocumentError) as caught:
        parse_rollout(encode({**fields, "spared": SPARED[sentence]}), ORG)  # type: ignore[dict-item]
    assert "spared" in caught.value.field


def test_as_many_may_be_spared_as_the_bound_says() -> None:
    document = RolloutDocument(ORG, 7, 8, EVERYBODY, 5, tuple(range(limits.MAX_SPARED)))
    assert parse_rollout(build_rollout(document), ORG) == document


def test_nobody_is_spared_without_a_candidate() -> None:
    fields = decode(build_rollout(RolloutDocument(ORG, 7)), "rollout")
    with pytest.raises(DocumentError):
        parse_rollout(encode({**fields, "spared": [3]}), ORG)


def test_without_a_candidate_the_stable_release_runs() -> None:
    assert choose(RolloutDocument(ORG, 7), "site-0") == 7
    assert taking(0) == set()
    assert taking(EVERYBODY) == set(OUTPOSTS)
