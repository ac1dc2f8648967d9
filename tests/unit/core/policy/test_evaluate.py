"""What a decision is: tables of one rule, then how rules combine."""

import json
import time
from typing import Any

import pytest

from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from outpost.core.policy.evaluate import MAX_MATCHED, evaluate
from outpost.core.policy.globs import MAX_MODEL_CHARS
from tests.unit.core.policy.policies import Data, asked, compiled, pack, policy, rule

CARD = ("credit_card", 1, 90)
MAIL = ("email", 2, 60)

CONDITIONS: dict[str, tuple[Data, Features, bool]] = {
    "no condition matches always": ({}, asked(), True),
    "a group of the caller": ({"user_groups": ["hr", "it"]}, asked(user_groups=("x", "it")), True),
    "none of the caller's groups": ({"user_groups": ["hr"]}, asked(user_groups=("HR", "it")), False),
    "a caller without groups": ({"user_groups": ["hr"]}, asked(), False),
    "an agent": ({"agents": ["bot"]}, asked(agent="bot"), True),
    "another agent": ({"agents": ["bot"]}, asked(agent=""), False),
    "a type that was found": ({"entity_types": ["email", "credit_card"]}, asked("input", CARD), True),
    "a type that was not found": ({"entity_types": ["email"]}, asked("input", CARD), False),
    "a type with no finding": ({"entity_types": ["email"]}, asked("input", ("email", 0, 0)), False),
    "confidence at the bound": ({"entity_types": ["email"], "entity_confidence_min": 0.6}, asked("input", MAIL), True),
    "confidence below": ({"entity_types": ["email"], "entity_confidence_min": 0.61}, asked("input", MAIL), False),
    "confidence of another type": (
        {"entity_types": ["email", "iban"], "entity_confidence_min": 0.8},
        asked("input", MAIL, CARD),
        False,
    ),
    "confidence of one of two types at the bound": (
        {"entity_types": ["iban", "email"], "entity_confidence_min": 0.6},
        asked("input", MAIL, CARD),
        True,
    ),
    "confidence of any type": ({"entity_confidence_min": 0.8}, asked("input", MAIL, CARD), True),
    "confidence of nothing": ({"entity_confidence_min": 0.8}, asked(), False),
    "confidence zero says nothing": ({"entity_confidence_min": 0.0}, asked(), True),
    "count at the bound": ({"entity_types": ["email"], "entity_count_min": 2}, asked("input", MAIL), True),
    "count below": ({"entity_types": ["email"], "entity_count_min": 3}, asked("input", MAIL), False),
    "counts of types add up": (
        {"entity_types": ["email", "credit_card"], "entity_count_min": 3},
        asked("input", MAIL, CARD),
        True,
    ),
    "counts of unsure findings do not": (
        {"entity_types": ["email", "credit_card"], "entity_count_min": 3, "entity_confidence_min": 0.7},
        asked("input", MAIL, CARD),
        False,
    ),
    "counts of one type given twice add up": (
        {"entity_types": ["email"], "entity_count_min": 4},
        asked("input", MAIL, MAIL),
        True,
    ),
    "a count of any type": ({"entity_count_min": 3}, asked("input", MAIL, CARD), True),
    "its own expression matched": ({"content_regex": ["x"]}, asked(content_matches=("p/r",)), True),
    "another rule's expression matched": ({"content_regex": ["x"]}, asked(content_matches=("p/q",)), False),
    "a provider": ({"providers": ["openai"]}, asked(provider="openai"), True),
    "another provider": ({"providers": ["openai"]}, asked(provider="azure"), False),
    "a model by name": ({"models": ["gpt-4o"]}, asked(model="gpt-4o"), True),
    "a model in other letters": ({"models": ["GPT-4o"]}, asked(model="gPt-4O"), True),
    "a model by prefix": ({"models": ["o3", "gpt-*"]}, asked(model="gpt-4o"), True),
    "a model by prefix only": ({"models": ["gpt-*", "o3*"]}, asked(model="o3-mini"), True),
    "a model by its middle": ({"models": ["*mini*", "o3"]}, asked(model="gpt-mini-4"), True),
    "another model": ({"models": ["gpt-*"]}, asked(model="claude"), False),
    "a channel": ({"channels": ["interactive"]}, asked(channel="interactive"), True),
    "another channel": ({"channels": ["interactive"]}, asked(), False),
    "risk at the bound": ({"risk_min": 70}, asked(risk=70), True),
    "risk below": ({"risk_min": 70}, asked(risk=69), False),
    "an intent": ({"intents": ["code"]}, asked(intent="code"), True),
    "no intent known": ({"intents": ["code"]}, asked(), False),
    "a country": ({"countries": ["NO"]}, asked(country="NO"), True),
    "a country in lower case": ({"countries": ["NO"]}, asked(country="no"), True),
    "an unknown country": ({"countries": ["NO"]}, asked(), False),
    "an anonymous address": ({"anonymous_ip": True}, asked(anonymous_ip=True), True),
    "a plain address": ({"anonymous_ip": True}, asked(), False),
    "a plain address, as asked": ({"anonymous_ip": False}, asked(), True),
    "a data class": ({"data_classes": ["phi", "confidential"]}, asked(data_class="phi"), True),
    "another data class": ({"data_classes": ["phi"]}, asked(), False),
    "tokens at the lower bound": ({"tokens_min": 100}, asked(tokens=100), True),
    "tokens below": ({"tokens_min": 100}, asked(tokens=99), False),
    "tokens at the upper bound": ({"tokens_max": 100}, asked(tokens=100), True),
    "tokens above": ({"tokens_max": 100}, asked(tokens=101), False),
    "two fields that hold": ({"risk_min": 1, "channels": ["api"]}, asked(risk=1), True),
    "two fields, one holds": ({"risk_min": 1, "channels": ["api"]}, asked(risk=0), False),
    "null is absent": ({"risk_min": None, "models": None}, asked(), True),
}


@pytest.mark.parametrize(("conditions", "features", "matches"), CONDITIONS.values(), ids=CONDITIONS.keys())
@pytest.mark.parametrize("combining", ["first_applicable", "deny_overrides"])
def test_one_condition(conditions: Data, features: Features, matches: bool, combining: str) -> None:
    decision = evaluate(compiled(policy(pack("p", rule("r", "BLOCK", **conditions)), combining=combining)), features)
    assert (decision.action, decision.matched) == ((Action.BLOCK, ("p/r",)) if matches else (Action.ALLOW, ()))


ACTIONS = {
    "ALLOW": "policy.allowed",
    "BLOCK": "policy.blocked",
    "CANCEL": "policy.cancelled",
    "PROMPT": "policy.held",
    "ALLOW_WITH_OVERRIDE": "policy.override_required",
}


@pytest.mark.parametrize(("action", "code"), ACTIONS.items())
def test_a_terminal_action_has_its_code(action: str, code: str) -> None:
    decision = evaluate(compiled(policy(pack("p", rule("r", action)))), asked())
    assert decision.action == action
    assert (decision.code, decision.pack, decision.rule, decision.sequence) == (code, "p", "r", 10)
    assert "r of pack p" in decision.reason


def test_a_route_names_its_target() -> None:
    routed = rule("r", "ROUTE_TO", applies_to="input", route_to="local-small", message="Kept in the house.")
    decision = evaluate(compiled(policy(pack("p", routed))), asked())
    assert (decision.action, decision.code, decision.route_to) == (Action.ROUTE_TO, "policy.routed", "local-small")
    assert decision.reason == "Kept in the house."


@pytest.mark.parametrize(
    ("default", "action", "code"),
    [("ALLOW", "ALLOW", "policy.allowed"), ("BLOCK", "BLOCK", "policy.default_blocked")],
)
def test_the_default_is_the_documents(default: str, action: str, code: str) -> None:
    other = "BLOCK" if default == "ALLOW" else "ALLOW"
    program = compiled(policy(default={"input": default, "output": other}))
    decision = evaluate(program, asked("input"))
    assert (decision.action, decision.code, decision.rule, decision.pack) == (action, code, "default", "")
    assert evaluate(program, asked("output")).action == other


# Rules of one pack, in order, all matching -> the deciding rule, under each way of combining.
ORDERS: dict[str, tuple[list[Data], str, str]] = {
    "the first wins, or the denial": ([rule("a", "ALLOW"), rule("b", "BLOCK")], "a", "b"),
    "the denial is first": ([rule("a", "BLOCK"), rule("b", "ALLOW")], "a", "a"),
    "by sequence, not by place": ([rule("a", "BLOCK", sequence=9), rule("b", "ALLOW", sequence=8)], "b", "a"),
    "equal sequences keep their order": ([rule("a", "CANCEL", sequence=5), rule("b", "PROMPT", sequence=5)], "a", "a"),
    "BLOCK over CANCEL": ([rule("a", "CANCEL"), rule("b", "BLOCK")], "a", "b"),
    "CANCEL over PROMPT": ([rule("a", "PROMPT"), rule("b", "CANCEL")], "a", "b"),
    "PROMPT over override": ([rule("a", "ALLOW_WITH_OVERRIDE"), rule("b", "PROMPT")], "a", "b"),
    "override over a route": (
        [rule("a", "ROUTE_TO", applies_to="input", route_to="x"), rule("b", "ALLOW_WITH_OVERRIDE")],
        "a",
        "b",
    ),
    "a route over ALLOW": ([rule("a", "ALLOW"), rule("b", "ROUTE_TO", applies_to="input", route_to="x")], "a", "b"),
    "the first of two equals": ([rule("a", "BLOCK"), rule("b", "BLOCK")], "a", "a"),
    "rules of the other direction are skipped": (
        [rule("a", "BLOCK", applies_to="output"), rule("b", "ALLOW")],
        "b",
        "b",
    ),
}


@pytest.mark.parametrize(("rules", "first", "strictest"), ORDERS.values(), ids=ORDERS.keys())
def test_combining(rules: list[Data], first: str, strictest: str) -> None:
    for combining, expected in (("first_applicable", first), ("deny_overrides", strictest)):
        assert evaluate(compiled(policy(pack("p", *rules), combining=combining)), asked()).rule == expected


REDACTIONS: dict[str, tuple[list[Data], tuple[tuple[str, int, int], ...], str, tuple[str, ...], tuple[str, ...]]] = {
    "named types that were found": (
        [rule("r", "REDACT", entity_types=["iban", "email"])], (MAIL, CARD), "REDACT", ("email",), ("p/r",),
    ),
    "all types when none is named": ([rule("r", "REDACT")], (MAIL, CARD), "REDACT", ("email", "credit_card"), ("p/r",)),
    "only types that are sure enough": (
        [rule("r", "REDACT", entity_confidence_min=0.8)], (MAIL, CARD), "REDACT", ("credit_card",), ("p/r",),
    ),
    "nothing found, nothing redacted": ([rule("r", "REDACT")], (), "ALLOW", (), ()),
    "two rules add up, each type once": (
        [rule("a", "REDACT", entity_types=["credit_card"]), rule("b", "REDACT")],
        (MAIL, CARD), "REDACT", ("credit_card", "email"), ("p/a", "p/b"),
    ),
    "a later ALLOW keeps the redactions": (
        [rule("a", "REDACT", entity_types=["email"]), rule("b", "ALLOW")], (MAIL,), "ALLOW", ("email",), ("p/a", "p/b"),
    ),
    "a later BLOCK decides": (
        [rule("a", "REDACT", entity_types=["email"]), rule("b", "BLOCK")], (MAIL,), "BLOCK", ("email",), ("p/a", "p/b"),
    ),
    "after the first terminal rule nothing adds up": (
        [rule("a", "ALLOW"), rule("b", "REDACT")], (MAIL,), "ALLOW", (), ("p/a",),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "found", "action", "redact", "matched"), REDACTIONS.values(), ids=REDACTIONS.keys())
def test_redactions(
    rules: list[Data],
    found: tuple[tuple[str, int, int], ...],
    action: str,
    redact: tuple[str, ...],
    matched: tuple[str, ...],
) -> None:
    decision = evaluate(compiled(policy(pack("p", *rules))), asked("input", *found))
    assert (decision.action, decision.redact, decision.matched) == (action, redact, matched)


def test_redactions_alone_name_the_first_rule_that_redacts() -> None:
    decision = evaluate(compiled(policy(pack("p", rule("a", "REDACT"), rule("b", "REDACT")))), asked("input", MAIL))
    assert (decision.code, decision.pack, decision.rule) == ("policy.redacted", "p", "a")


def test_redactions_do_not_open_a_closed_default() -> None:
    data = policy(pack("p", rule("a", "REDACT")), default={"input": "BLOCK", "output": "ALLOW"})
    decision = evaluate(compiled(data), asked("input", MAIL))
    assert (decision.code, decision.rule, decision.redact) == ("policy.default_blocked", "default", ("email",))
    assert decision.matched == ("p/a",)


CHAINED = policy(
    pack("alice", rule("r", "ALLOW")),
    pack("dev", rule("r", "CANCEL")),
    pack("ops", rule("r", "PROMPT")),
    pack("org", rule("r", "BLOCK")),
    org_chain=["org"],
    user_chains={"user:alice": ["alice", "org"], "group:dev": ["dev"], "group:ops": ["ops"], "group:alice": []},
)


@pytest.mark.parametrize(
    ("who", "decided_by"),
    {
        "nobody in particular": ({}, "org"),
        "a user with a chain": ({"user": "alice"}, "alice"),
        "a user before his groups": ({"user": "alice", "user_groups": ("dev",)}, "alice"),
        "a group with a chain": ({"user": "bob", "user_groups": ("ops",)}, "ops"),
        "two groups, by name and not as the key lists them": ({"user_groups": ("ops", "dev")}, "dev"),
        "a group that is called as a user": ({"user_groups": ("alice",)}, "org"),
        "a user that is called as a group": ({"user": "dev"}, "org"),
        "a user that is called as a chain": ({"user": "user:alice"}, "org"),
    }.values(),
)
def test_chains(who: dict[str, Any], decided_by: str) -> None:
    assert evaluate(compiled(CHAINED), asked(**who)).pack == decided_by


def test_packs_outside_the_chain_are_silent_but_for_required_rules() -> None:
    data = policy(
        pack("idle", rule("plain", "CANCEL"), rule("must", "BLOCK", required=True, entity_types=["credit_card"])),
        org_chain=[],
    )
    assert evaluate(compiled(data), asked()).action is Action.ALLOW
    assert evaluate(compiled(data), asked("input", CARD)).rule == "must"


# Required rules, the chain's rule -> who decides. The chain's pack stands first in the document and in the chain.
REQUIRED: dict[str, tuple[list[Data], str, str]] = {
    "a broad ALLOW cannot suppress a BLOCK": ([rule("must", "BLOCK")], "ALLOW", "must"),
    "a broad ALLOW cannot suppress a hold": ([rule("must", "PROMPT")], "ALLOW", "must"),
    "a hold does not weaken a BLOCK": ([rule("must", "PROMPT")], "BLOCK", "chained"),
    "an override does not weaken CANCEL": ([rule("must", "ALLOW_WITH_OVERRIDE")], "CANCEL", "chained"),
    "in a tie the required rule is named": ([rule("must", "CANCEL")], "CANCEL", "must"),
    "a route holds against ALLOW": ([rule("must", "ROUTE_TO", applies_to="input", route_to="x")], "ALLOW", "must"),
    "a route does not weaken a hold": (
        [rule("must", "ROUTE_TO", applies_to="input", route_to="x")],
        "PROMPT",
        "chained",
    ),
    "the strictest of several": ([rule("weak", "PROMPT"), rule("must", "BLOCK")], "ALLOW", "must"),
}


@pytest.mark.parametrize(("rules", "chained", "decided_by"), REQUIRED.values(), ids=REQUIRED.keys())
@pytest.mark.parametrize("combining", ["first_applicable", "deny_overrides"])
@pytest.mark.parametrize("in_chain", [True, False], ids=["in the chain", "in no chain"])
def test_required_rules(rules: list[Data], chained: str, decided_by: str, combining: str, in_chain: bool) -> None:
    data = policy(
        pack("custom", rule("chained", chained)),
        pack("pci", *rules, kind="bundle", required=True),
        combining=combining,
        org_chain=["custom", "pci"] if in_chain else ["custom"],
    )
    assert evaluate(compiled(data), asked()).rule == decided_by


def test_a_required_redaction_adds_up_behind_an_allow() -> None:
    data = policy(pack("custom", rule("open", "ALLOW")), pack("pci", rule("mask", "REDACT", required=True)))
    decision = evaluate(compiled(data), asked("input", CARD))
    assert (decision.action, decision.rule, decision.redact) == (Action.ALLOW, "open", ("credit_card",))
    assert decision.matched == ("pci/mask", "custom/open")


def test_a_required_hold_does_not_open_a_closed_default() -> None:
    data = policy(pack("pci", rule("hold", "PROMPT", required=True)), default={"input": "BLOCK", "output": "BLOCK"})
    decision = evaluate(compiled(data), asked())
    assert (decision.code, decision.matched) == ("policy.default_blocked", ("pci/hold",))


def test_a_decision_lists_a_bounded_number_of_rules() -> None:
    rules = [rule(f"r{n}", "BLOCK" if n == 99 else "CANCEL") for n in range(100)]
    decision = evaluate(compiled(policy(pack("p", *rules), combining="deny_overrides")), asked())
    assert decision.rule == "r99"
    assert decision.matched == tuple(f"p/r{n}" for n in range(MAX_MATCHED))


def test_texts_of_a_document_never_become_code() -> None:
    hostile = "x') or True or ('\\u2028\n".strip()
    data = policy(pack("p", rule("r", "BLOCK", user_groups=[hostile], models=["' or 1#*"], message="{rule} %s {0}")))
    program = compiled(data)
    assert evaluate(program, asked(user_groups=("x",), model="y")).action is Action.ALLOW
    decision = evaluate(program, asked(user_groups=(hostile,), model="' OR 1#2"))
    assert (decision.action, decision.reason) == (Action.BLOCK, "{rule} %s {0}")


def test_a_hostile_model_name_is_compared_by_its_beginning() -> None:
    program = compiled(policy(pack("p", *(rule(f"r{n}", "CANCEL", models=["*x*y*z", "a*b"]) for n in range(200)))))
    began = time.process_time()
    assert evaluate(program, asked(model="a" * 2_000_000)).action is Action.ALLOW
    assert time.process_time() - began < 1
    assert evaluate(program, asked(model="a" * MAX_MODEL_CHARS + "b")).action is Action.ALLOW
    assert evaluate(program, asked(model="a" * (MAX_MODEL_CHARS - 1) + "bc")).action is Action.CANCEL


def test_generated_code_has_no_builtins() -> None:
    program = compiled(policy(pack("p", rule("r", "BLOCK"))))
    assert program.plans[Direction.INPUT].packs["p"].__globals__["__builtins__"] == {}


def test_features_read_back_from_a_record_decide_the_same() -> None:
    program = compiled(CHAINED)
    features = asked("input", CARD, user="alice", user_groups=("dev",))
    read = json.loads(json.dumps({"direction": features.direction, "user": features.user}))
    replayed = Features(
        direction=read["direction"], user=read["user"], user_groups=("dev",), entities=(EntityCount(*CARD),)
    )
    assert evaluate(program, replayed) == evaluate(program, features)


def test_matched_content_is_reported_under_the_rule_that_asked() -> None:
    program = compiled(policy(pack("p", rule("a", "BLOCK", content_regex=["(?i)falcon", "eagle"]), rule("b", "ALLOW"))))
    matches = program.match_content(["Project Falcon"])
    assert matches == ("p/a",)
    assert evaluate(program, asked(content_matches=matches)) == Decision(
        action=Action.BLOCK,
        pack="p",
        rule="a",
        sequence=10,
        reason="Blocked by rule a of pack p.",
        code="policy.blocked",
        matched=("p/a",),
    )
