"""What an outpost does when the release that it runs fails its own test here.

Theory. A set with a candidate holds the stable release too, signed and verified like it. So an outpost on which the
candidate cannot stop its own canary need not stop serving, nor wait for anybody: it goes back to the stable release of
the same set, at once and in every worker, says so, and never tries that candidate again. When the stable release fails
too, it is not the release that is broken, and the org is SEALED as before.

| the release that runs | passes its test | the stable one of the set | so |
|---|---|---|---|
| any | yes | | keep it |
| stable | no | | seal |
| candidate | no | passes | go back to it |
| candidate | no | fails, or cannot be built | seal |
"""

from collections.abc import Collection
from enum import StrEnum

from outpost.core.bundle.rollout import RolloutDocument, choose


class Course(StrEnum):
    """What follows from a test of the release that runs."""

    KEEP = "keep"
    FALL_BACK = "fall_back"
    SEAL = "seal"


def course(code: str, stable_code: str | None) -> Course:
    """What to do after a test.

    Args:
        code: with which the release that runs failed its test; empty when it passed.
        stable_code: the same of the stable release of the set; None when there is no other one to go back to.
    """
    if not code:
        return Course.KEEP
    return Course.FALL_BACK if stable_code == "" else Course.SEAL


def release_here(rollout: RolloutDocument, logical: str, left: Collection[int]) -> int:
    """Version of the release that runs on an outpost.

    Args:
        rollout: signed.
        logical: name of the logical outpost.
        left: candidates that failed their own test here.
    """
    chosen = choose(rollout, logical)
    return rollout.stable if chosen in left else chosen
