"""What another release would have said, and when nobody can tell."""

import json
from dataclasses import replace
from typing import Any

import pytest

from outpost.core import shadow
from outpost.core.bundle.kill import KillList
from outpost.core.decision import Features
from outpost.core.detect.rules import RULES
from outpost.core.inspection import PolicyUnredactableError, judge
from outpost.core.shadow import NO_ROUTE, UNDECIDED, Change, Past, Trial
from tests.unit.core.policy.policies import Data, asked, compiled, pack, policy, rule
from tests.unit.gateway.harness import program

EMAIL = ("email", 1, 90)
CARD = ("credit_card", 1, 99)
MASKED = rule("mask", "REDACT", entity_types=["email"])
CARDS = rule("cards", "BLOCK", entity_types=["credit_card"])
FALCON = rule("falcon", "BLOCK", content_regex=["falcon"])
STAFF_FALCON = rule("falcon", "BLOCK", content_regex=["falcon"], user_groups=["staff"])
DETECTOR = next(each for each in RULES if each.entity_type == "email")


def document(*rules: Data, **fields: Any) -> Data:
    return policy(pack("base", *rules), **fields)


def trial(version: int, data: Data, disabled: tuple[str, ...] = (), served: tuple[str, ...] = ("gpt-4o", "")) -> Trial:
    return Trial(version, compiled(data), frozenset(disabled), lambda model: "openai" if model in served else None)


def decided(release: Trial, features: Features, **changes: Any) -> Past:
    decision = judge(release.policy, features)
    past = Past(features, decision.action.value, decision.code, decision.redact, release.version)
    return replace(past, **changes)


def verdict(before: Trial, after: Trial, features: Features, **changes: Any) -> str:
    gap = shadow.gap(before.policy, before.disabled, after)
    return shadow.judge_again(after, decided(before, features, **changes), gap).action


OLD = trial(1, document(CARDS, MASKED))
UNREDACTABLE = {"action": "BLOCK", "code": PolicyUnredactableError.code, "redact": ("email",)}
ROUTED = rule("local", "ROUTE_TO", applies_to="input", route_to="llama", entity_types=["email"])

# sentence: the release that decided, the one that is asked, what was looked at, what was done, what it would have said
CASES: dict[str, tuple[Trial, Trial, Features, dict[str, Any], str]] = {
    "the same policy says the same": (OLD, trial(2, document(CARDS, MASKED)), asked("input", EMAIL), {}, "REDACT"),
    "a rule that is new blocks": (OLD, trial(2, document(CARDS, MASKED, rule("b", "BLOCK"))), asked(), {}, "BLOCK"),
    "a rule that went away lets pass": (OLD, trial(2, document(MASKED)), asked("input", CARD), {}, "ALLOW"),
    "the same content rule is answered by what was remembered: it matched": (
        trial(1, document(FALCON)),
        trial(2, document(rule("x", "ALLOW", agents=["bot"]), FALCON)),
        asked(content_matches=("base/falcon",)),
        {},
        "BLOCK",
    ),
    "the same content rule is answered by what was remembered: it did not match": (
        trial(1, document(FALCON)),
        trial(2, document(CARDS, FALCON)),
        asked(),
        {},
        "ALLOW",
    ),
    "a new content rule could fire, so nobody knows": (OLD, trial(2, document(FALCON)), asked(), {}, UNDECIDED),
    "a new content rule cannot fire for this caller": (OLD, trial(2, document(STAFF_FALCON)), asked(), {}, "ALLOW"),
    "a new content rule could fire for this caller": (
        OLD,
        trial(2, document(STAFF_FALCON)),
        asked(user_groups=("staff",)),
        {},
        UNDECIDED,
    ),
    "a new content rule stands behind what ended the evaluation": (
        OLD,
        trial(2, document(CARDS, FALCON)),
        asked("input", CARD),
        {},
        "BLOCK",
    ),
    "a content rule with other expressions is a new one": (
        trial(1, document(FALCON)),
        trial(2, document(rule("falcon", "BLOCK", content_regex=["falcon|kite"]))),
        asked(content_matches=("base/falcon",)),
        {},
        UNDECIDED,
    ),
    "a match of a rule that went away means nothing to another one": (
        trial(1, document(FALCON)),
        trial(2, document(CARDS)),
        asked(content_matches=("base/falcon",)),
        {},
        "ALLOW",
    ),
    "a detector that is off would have found less": (
        OLD,
        trial(2, document(CARDS, MASKED), (DETECTOR.id,)),
        asked("input", EMAIL),
        {},
        UNDECIDED,
    ),
    "a detector that is off does not matter where it found nothing": (
        OLD,
        trial(2, document(CARDS, MASKED), (DETECTOR.id,)),
        asked("input", CARD),
        {},
        "BLOCK",
    ),
    "a detector that is on again could have found more": (
        trial(1, document(CARDS), (DETECTOR.id,)),
        trial(2, document(CARDS)),
        asked("input", CARD),
        {},
        UNDECIDED,
    ),
    "the provider is that of the other routes": (
        OLD,
        trial(2, document(rule("p", "BLOCK", providers=["openai"]))),
        asked(provider="azure", model="gpt-4o"),
        {},
        "BLOCK",
    ),
    "a model that nobody serves any more": (OLD, trial(2, document(CARDS)), asked(model="o3"), {}, NO_ROUTE),
    "a model whose name was hidden keeps its provider": (
        OLD,
        trial(2, document(rule("p", "BLOCK", providers=["azure"]))),
        asked(provider="azure", model="*"),
        {},
        "BLOCK",
    ),
    "a block for a value that cannot be replaced stays one": (
        OLD,
        trial(2, document(MASKED)),
        asked("input", EMAIL),
        UNREDACTABLE,
        "BLOCK",
    ),
    "nothing is to be replaced any more": (
        OLD,
        trial(2, document(CARDS)),
        asked("input", EMAIL),
        UNREDACTABLE,
        "ALLOW",
    ),
    "some of the types are still to be replaced, and nobody knows which one stood there": (
        OLD,
        trial(2, document(rule("m", "REDACT", entity_types=["email"]))),
        asked("input", EMAIL, ("iban", 1, 90)),
        {**UNREDACTABLE, "redact": ("email", "iban")},
        UNDECIDED,
    ),
    "a route to a model that is served": (
        OLD,
        trial(2, document(ROUTED), served=("gpt-4o", "", "llama")),
        asked("input", EMAIL),
        {},
        "ROUTE_TO",
    ),
    "a route to a model that nobody serves is a block": (
        OLD,
        trial(2, document(ROUTED)),
        asked("input", EMAIL),
        {},
        "BLOCK",
    ),
    "what began like a key and did not end is blocked by any policy": (
        OLD,
        trial(2, document()),
        asked("input", ("unbounded_candidate", 1, 100)),
        {},
        "BLOCK",
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_another_release_would_have_said(sentence: str) -> None:
    before, after, features, done, expected = CASES[sentence]
    assert verdict(before, after, features, **done) == expected


def test_more_rules_that_fired_than_a_decision_lists_leave_it_undecided() -> None:
    many = [rule(f"m{n}", "REDACT", entity_types=["email"]) for n in range(70)]
    after = trial(2, policy(pack("base", *many, FALCON), combining="deny_overrides"))
    assert verdict(OLD, after, asked("input", EMAIL)) == UNDECIDED


def test_totals_whoever_decided() -> None:
    stable, candidate = trial(7, document(MASKED)), trial(8, document(CARDS, MASKED))
    pasts = [
        *(decided(stable, asked("input", CARD)) for _ in range(3)),
        *(decided(candidate, asked("input", CARD)) for _ in range(2)),  # where the candidate runs already
        decided(stable, asked("output", EMAIL)),
        replace(decided(stable, asked("input", CARD)), release=6),  # of a release that is neither
    ]
    totals = shadow.compare(candidate, stable, pasts)
    assert totals == shadow.ShadowTotals(8, 6, (Change("input", "ALLOW", "BLOCK", 5),))
    assert shadow.totals_of(json.loads(json.dumps(shadow.plain(totals)))) == totals


def test_reports_add_up_and_older_candidates_do_not_count() -> None:
    one = shadow.ShadowTotals(8, 10, (Change("input", "ALLOW", "BLOCK", 2), Change("output", "ALLOW", UNDECIDED, 1)))
    two = shadow.ShadowTotals(8, 5, (Change("output", "ALLOW", UNDECIDED, 4),))
    old = shadow.ShadowTotals(7, 99, (Change("input", "BLOCK", "ALLOW", 99),))
    changes = (Change("output", "ALLOW", UNDECIDED, 5), Change("input", "ALLOW", "BLOCK", 2))
    assert shadow.add_up([one, old, two]) == shadow.ShadowTotals(8, 15, changes)
    assert shadow.add_up([]) is None


def test_a_report_tells_so_many_kinds_and_the_most_frequent() -> None:
    tally = shadow.Tally(8)
    for number in range(shadow.MAX_CHANGES + 10):
        for _ in range(number + 1):
            tally.add("input", f"A{number}", "BLOCK")
    told = tally.totals().changes
    assert len(told) == shadow.MAX_CHANGES
    assert told[0].count == shadow.MAX_CHANGES + 10


def test_a_program_is_tried_with_its_routes_and_what_is_switched_off() -> None:
    made = program()
    tried = shadow.trial_of(made)
    assert (tried.version, tried.route("gpt-4o"), tried.route("claude-3")) == (1, "sim", None)
    assert shadow.trial_of(replace(made, killed=KillList(("sim",)))).route("gpt-4o") is None
