"""The judge of a roll-out, sentence by sentence."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.domain.records import Delivery, DeliveryState
from controlplane.domain.rollout import (
    FAILURES,
    FELL_BACK,
    MEMBER_SEALED,
    NO_ANSWER,
    OTHERS_REFUSED,
    Participant,
    Running,
    Standing,
    Step,
    judge,
    standing_of,
)
from controlplane.domain.rollout_terms import RolloutTerms

NOW = 1_000_000
BEGAN = NOW - 30_000
PATH = "policy/release-8.json"
RUNNING = Running(
    release=8,
    paths=frozenset({PATH, "policy/packs-0011223344556677.json"}),
    first_set=20,
    stage_set=30,
    began_ms=BEGAN,
    settled_ms=0,
    is_last=False,
    terms=RolloutTerms(),
    connected_ms=30_000,
)
Change = Callable[[Participant], Participant]


def word(number: int = 30, state: DeliveryState = DeliveryState.ACTIVE, release: int = 8, **fields: object) -> Delivery:
    made = Delivery("op", number, f"8.{number}", state, BEGAN + 1_000, release=release)
    return replace(made, **fields)  # type: ignore[arg-type]


def beat(version: int = 8, state: str = "ACTIVE", at: int = 5_000, **failed: str) -> Standing:
    return Standing(version, state, failed, at_ms=BEGAN + at)


def member(name: str = "a", **fields: object) -> Participant:
    made = Participant(f"op-{name}", name, name, NOW - 2_000, word(), beat())
    return replace(made, **fields)  # type: ignore[arg-type]


def figures(requests: int, failures: int, release: int = 8) -> Standing:
    return Standing(release, "ACTIVE", {}, requests, failures, BEGAN + 5_000)


REFUSAL = word(state=DeliveryState.REFUSED, code="bundle.self_test", message="self-test 0 found nothing")
WELL = member()
ABSENT = member("b", seen_ms=NOW - 31_000, word=None, standing=None)
NEVER_SEEN = member("b", seen_ms=0, word=None, standing=None)
OWING = member("b", word=None, standing=beat(7))
EARLIER = word(29, release=7)  # of the stage before, when it was not in the cohort

# sentence: the candidate, its members, the others, what happens and its code
CASES: dict[str, tuple[Running, list[Participant], list[Participant], Step, str]] = {
    "a member refused it": (RUNNING, [WELL, member("b", word=REFUSAL)], [], Step.HALT, "bundle.self_test"),
    "a member refused it in a set of an earlier stage": (
        RUNNING,
        [member(word=replace(REFUSAL, number=20))],
        [],
        Step.HALT,
        "bundle.self_test",
    ),
    "a refusal from before the candidate says nothing of it": (
        RUNNING,
        [WELL, member("b", word=replace(REFUSAL, number=19))],
        [],
        Step.WAIT,
        "",
    ),
    "a member runs another release than it was given": (
        RUNNING,
        [member(word=word(release=7))],
        [],
        Step.HALT,
        FELL_BACK,
    ),
    "it says why": (
        RUNNING,
        [member(word=word(release=7), standing=beat(7, release="canary.not_stopped"))],
        [],
        Step.HALT,
        "canary.not_stopped",
    ),
    "it went back later": (RUNNING, [member(standing=beat(7))], [], Step.HALT, FELL_BACK),
    "it went back later and says why": (
        RUNNING,
        [member(standing=beat(7, release="canary.broken"))],
        [],
        Step.HALT,
        "canary.broken",
    ),
    "a heartbeat from before the answer is no news": (
        RUNNING,
        [member(standing=beat(7, at=1_000))],
        [],
        Step.SETTLE,
        "",
    ),
    "an answer to a set of the stage before says nothing": (
        RUNNING,
        [WELL, member("b", word=EARLIER, standing=beat(7))],
        [],
        Step.WAIT,
        "",
    ),
    "a member is sealed with it": (RUNNING, [member(standing=beat(state="SEALED"))], [], Step.HALT, MEMBER_SEALED),
    "a sealed member names what failed": (
        RUNNING,
        [member(standing=beat(state="SEALED", inspection="canary.not_found"))],
        [],
        Step.HALT,
        "canary.not_found",
    ),
    "a member that is sealed with another release is not": (
        RUNNING,
        [WELL, member("b", word=EARLIER, standing=beat(7, "SEALED"))],
        [],
        Step.WAIT,
        "",
    ),
    "inspection fails": (
        RUNNING,
        [member(standing=beat(inspection="canary.not_stopped"))],
        [],
        Step.HALT,
        "canary.not_stopped",
    ),
    "another function that fails is no matter of the release": (
        RUNNING,
        [member(standing=beat(audit="store.full"))],
        [],
        Step.SETTLE,
        "",
    ),
    "too many requests fail": (RUNNING, [member(standing=figures(100, 3))], [], Step.HALT, FAILURES),
    "as many fail as the budget allows": (RUNNING, [member(standing=figures(100, 2))], [], Step.SETTLE, ""),
    "too few requests to tell": (RUNNING, [member(standing=figures(49, 49))], [], Step.SETTLE, ""),
    "requests of all members count together": (
        RUNNING,
        [member("a", standing=figures(25, 1)), member("b", standing=figures(25, 1))],
        [],
        Step.HALT,
        FAILURES,
    ),
    "requests under the release before do not count": (
        RUNNING,
        [WELL, member("b", word=EARLIER, standing=figures(900, 900, release=7))],
        [],
        Step.WAIT,
        "",
    ),
    "somebody else cannot read the candidate": (
        RUNNING,
        [WELL],
        [member("c", word=replace(REFUSAL, code="bundle.unknown_field", resource=f"{PATH}/tiers"))],
        Step.HALT,
        "bundle.unknown_field",
    ),
    "one other outpost refuses for a reason of its own": (
        RUNNING,
        [WELL],
        [member("c", word=replace(REFUSAL, code="cache.write_failed"))],
        Step.SETTLE,
        "",
    ),
    "more than one in twenty of the others refuse": (
        RUNNING,
        [WELL],
        [member(f"c{n}", word=replace(REFUSAL, code="cache.write_failed")) for n in range(2)],
        Step.HALT,
        OTHERS_REFUSED,
    ),
    "others that refused before the candidate came": (
        RUNNING,
        [WELL],
        [member(f"c{n}", word=replace(REFUSAL, number=19)) for n in range(9)],
        Step.SETTLE,
        "",
    ),
    "a connected member was never heard of": (RUNNING, [WELL, OWING], [], Step.WAIT, ""),
    "a connected member was offered it and is at work": (
        RUNNING,
        [WELL, replace(OWING, word=word(state=DeliveryState.OFFERED, release=0))],
        [],
        Step.WAIT,
        "",
    ),
    "a connected member does not answer": (
        replace(RUNNING, began_ms=NOW - 121_000),
        [WELL, OWING],
        [],
        Step.HALT,
        NO_ANSWER,
    ),
    "what it was offered later is not late yet": (
        replace(RUNNING, began_ms=NOW - 500_000),
        [WELL, replace(OWING, word=word(31, DeliveryState.OFFERED, 0, at_ms=NOW - 100_000))],
        [],
        Step.WAIT,
        "",
    ),
    "what it was offered is late": (
        replace(RUNNING, began_ms=NOW - 500_000),
        [WELL, replace(OWING, word=word(31, DeliveryState.OFFERED, 0, at_ms=NOW - 121_000))],
        [],
        Step.HALT,
        NO_ANSWER,
    ),
    "nobody waits for a member that is not connected": (RUNNING, [WELL, ABSENT], [], Step.SETTLE, ""),
    "nor for one that was never seen": (RUNNING, [WELL, NEVER_SEEN], [], Step.SETTLE, ""),
    "a stage in which nobody is connected proves nothing": (RUNNING, [ABSENT], [], Step.WAIT, ""),
    "a stage in which nobody is left proves nothing": (RUNNING, [], [WELL], Step.WAIT, ""),
    "an org without outposts is done": (
        replace(RUNNING, is_last=True, settled_ms=NOW - 60_000),
        [],
        [],
        Step.COMPLETE,
        "",
    ),
    "an older outpost does not say which release it runs": (
        RUNNING,
        [member(word=word(release=0), standing=beat(0))],
        [],
        Step.SETTLE,
        "",
    ),
    "the soak time is not over": (replace(RUNNING, settled_ms=NOW - 59_999), [WELL], [], Step.WAIT, ""),
    "the soak time is over": (replace(RUNNING, settled_ms=NOW - 60_000), [WELL], [], Step.ADVANCE, ""),
    "the soak time of the last stage is over": (
        replace(RUNNING, settled_ms=NOW - 60_000, is_last=True),
        [WELL],
        [],
        Step.COMPLETE,
        "",
    ),
    "a member that connects late is waited for, also after the soak time": (
        replace(RUNNING, settled_ms=NOW - 60_000),
        [WELL, OWING],
        [],
        Step.WAIT,
        "",
    ),
    "a refusal after the soak time halts": (
        replace(RUNNING, settled_ms=NOW - 60_000),
        [WELL, member("b", word=REFUSAL)],
        [],
        Step.HALT,
        "bundle.self_test",
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_happens_next(sentence: str) -> None:
    running, members, others, step, code = CASES[sentence]
    verdict = judge(running, members, others, NOW)
    assert (verdict.step, verdict.code) == (step, code)
    assert verdict.reason
    assert bool(verdict.culprit) == (step is Step.HALT)


def test_the_reason_of_a_refusal_is_what_the_outpost_said() -> None:
    verdict = judge(RUNNING, [member("prod-eu", word=REFUSAL)], [], NOW)
    assert verdict.reason == "prod-eu refused release 8: bundle.self_test self-test 0 found nothing"
    assert verdict.culprit == "prod-eu"


def test_the_verdict_does_not_depend_on_the_order_of_outposts() -> None:
    members = [member(name, word=replace(REFUSAL, code=f"bundle.{name}")) for name in "dacb"]
    assert {judge(RUNNING, order, [], NOW) for order in (members, members[::-1], sorted(members, key=str))} == {
        judge(RUNNING, members, [], NOW)
    }
    assert judge(RUNNING, members, [], NOW).culprit == "a"


STATUSES: dict[str, tuple[dict[str, object], Standing | None]] = {
    "none was sent": ({}, None),
    "all of it": (
        {
            "release": 8,
            "state": "SEALED",
            "requests": 5,
            "failed": 2,
            "health": {"policy": "ok", "audit": "store.full"},
        },
        Standing(8, "SEALED", {"audit": "store.full"}, 5, 2, 9),
    ),
    "of an older outpost": ({"state": "ACTIVE", "health": {}}, Standing(0, "ACTIVE", {}, 0, 0, 9)),
    "nonsense": ({"release": "8", "requests": True, "health": 5}, Standing(0, "", {}, 0, 0, 9)),
}


@pytest.mark.parametrize("sentence", STATUSES)
def test_reading_a_heartbeat(sentence: str) -> None:
    status, expected = STATUSES[sentence]
    assert standing_of(status, 9) == expected
