"""What an outpost does when a release fails its own test there."""

import pytest

from outpost.core.bundle.fallback import Course, course, release_here
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument

COURSES: dict[str, tuple[str, str | None, Course]] = {
    "what passes its test stays": ("", "", Course.KEEP),
    "what passes stays, whatever the other release does": ("", "canary.not_found", Course.KEEP),
    "a candidate that fails gives way to a stable release that passes": ("canary.not_stopped", "", Course.FALL_BACK),
    "when both fail, it is not the release": ("canary.not_stopped", "canary.broken", Course.SEAL),
    "a stable release has nothing to go back to": ("canary.not_stopped", None, Course.SEAL),
}


@pytest.mark.parametrize("sentence", COURSES)
def test_courses(sentence: str) -> None:
    code, stable_code, expected = COURSES[sentence]
    assert course(code, stable_code) is expected


HERE: dict[str, tuple[RolloutDocument, set[int], int]] = {
    "the candidate that was chosen": (RolloutDocument("acme", 7, 8, EVERYBODY, 100), set(), 8),
    "not the one that failed here": (RolloutDocument("acme", 7, 8, EVERYBODY, 100), {8}, 7),
    "another one that was left says nothing of this one": (RolloutDocument("acme", 7, 9, EVERYBODY, 100), {8}, 9),
    "outside of the cohort": (RolloutDocument("acme", 7, 8, 0, 5), {8}, 7),
    "once it is the stable release it is tried again": (RolloutDocument("acme", 8), {8}, 8),
}


@pytest.mark.parametrize("sentence", HERE)
def test_which_release_runs(sentence: str) -> None:
    document, left, expected = HERE[sentence]
    assert release_here(document, "site-1", left) == expected
