"""What the linter says of a policy, and that it says nothing of a good one."""

import time
from typing import Any

import pytest

from outpost.core.chat.messages import BodyLimits, parse_body
from outpost.core.decision import Direction, Features
from outpost.core.detect.pattern import Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.core.inspection import Inspector, inspect_request
from outpost.core.policy import canary
from outpost.core.policy import document as doc
from outpost.core.policy.lint import lint
from outpost.gateway import canary as gateway_canary
from tests.unit.core.policy.policies import Data, compiled, pack, parsed, policy, rule

CLOSED: Data = {"default": {"input": "BLOCK", "output": "BLOCK"}}

GUARD = pack("guard", rule("cards", "REDACT", applies_to="input", entity_types=["credit_card"]), required=True)


def remarks(data: Data, types: list[str] | None = None) -> list[tuple[str, str, str, str]]:
    """Remarks on a policy; a redaction of cards, which hides nothing, is added to keep the canary quiet."""
    return plain_remarks(data | {"packs": [*data["packs"], GUARD]}, types)


def plain_remarks(data: Data, types: list[str] | None = None) -> list[tuple[str, str, str, str]]:
    return [(f.level, f.code.removeprefix("policy.lint."), f.pack, f.rule) for f in lint(parsed(data), types)]


def chain(*rules: Data, **fields: Any) -> Data:
    """One pack and a closed default; a last rule that allows, so that nothing else is remarked."""
    last = rule("last", "ALLOW", sequence=1000, user_groups=["last"])
    return policy(pack("p", *rules, last), **(CLOSED | fields))


HIDDEN: dict[str, tuple[Data, list[tuple[str, str, str, str]]]] = {
    "an early broad ALLOW hides a denial": (
        chain(rule("open", "ALLOW", providers=["a", "b"]), rule("deny", "BLOCK", providers=["a"], risk_min=9)),
        [("error", "shadowed", "p", "deny")],
    ),
    "an early denial hides an ALLOW": (
        chain(rule("deny", "BLOCK", risk_min=5), rule("open", "ALLOW", risk_min=6)),
        [("warning", "shadowed", "p", "open")],
    ),
    "the same conditions, another action": (
        chain(rule("open", "ALLOW", agents=["a", "b"]), rule("deny", "BLOCK", agents=["b", "a"])),
        [("error", "contradictory", "p", "deny")],
    ),
    "the same rule twice": (
        chain(rule("a", "BLOCK", agents=["x"]), rule("b", "BLOCK", agents=["x"])),
        [("warning", "shadowed", "p", "b")],
    ),
    "a redaction behind an ALLOW": (
        chain(
            rule("open", "ALLOW", models=["gpt-*"]), rule("mask", "REDACT", models=["gpt-4*"], entity_types=["email"])
        ),
        [("error", "redact_unreached", "p", "mask")],
    ),
    "a redaction before an ALLOW": (chain(rule("mask", "REDACT"), rule("open", "ALLOW", risk_min=1)), []),
    "a redaction hides nothing": (chain(rule("mask", "REDACT"), rule("deny", "BLOCK", risk_min=1)), []),
    "a rule of one direction hides no rule of both": (
        chain(rule("open", "ALLOW", applies_to="input", risk_min=1), rule("deny", "BLOCK", risk_min=1)),
        [],
    ),
    "a rule of both directions hides a rule of one": (
        chain(rule("open", "ALLOW", risk_min=1), rule("deny", "BLOCK", applies_to="input", risk_min=1)),
        [("error", "contradictory", "p", "deny")],
    ),
    "a narrow rule hides no broad one": (
        chain(rule("open", "ALLOW", risk_min=6), rule("deny", "BLOCK", risk_min=5)),
        [],
    ),
    "deny-overrides: an early ALLOW hides nothing": (
        chain(rule("open", "ALLOW", risk_min=1), rule("deny", "BLOCK", risk_min=2), combining="deny_overrides"),
        [],
    ),
    "deny-overrides: a stricter rule hides, wherever it stands": (
        chain(rule("hold", "PROMPT", risk_min=2), rule("deny", "BLOCK", risk_min=1), combining="deny_overrides"),
        [("warning", "shadowed", "p", "hold")],
    ),
    "deny-overrides: of two equals the second": (
        chain(rule("a", "BLOCK", risk_min=1), rule("b", "BLOCK", risk_min=1), combining="deny_overrides"),
        [("warning", "shadowed", "p", "b")],
    ),
    "deny-overrides: redactions are never hidden": (
        chain(rule("deny", "BLOCK", risk_min=1), rule("mask", "REDACT", risk_min=1), combining="deny_overrides"),
        [],
    ),
    "a required BLOCK hides": (
        chain(rule("must", "BLOCK", risk_min=1, required=True, sequence=900), rule("hold", "PROMPT", risk_min=2)),
        [("warning", "shadowed", "p", "hold")],
    ),
    "a required hold does not": (
        chain(rule("must", "PROMPT", risk_min=1, required=True, sequence=900), rule("deny", "BLOCK", risk_min=2)),
        [],
    ),
    "a required rule is never hidden": (
        chain(rule("open", "ALLOW", risk_min=1), rule("must", "BLOCK", risk_min=2, required=True)),
        [],
    ),
    "across packs of a chain": (
        policy(
            pack("one", rule("open", "ALLOW", risk_min=1)), pack("two", rule("deny", "BLOCK", risk_min=1)), **CLOSED
        ),
        [("error", "contradictory", "two", "deny")],
    ),
    "not across packs of different chains": (
        policy(
            pack("one", rule("open", "ALLOW", risk_min=1)),
            pack("two", rule("deny", "BLOCK", risk_min=1)),
            org_chain=["two"],
            user_chains={"user:alice": ["one"]},
            **CLOSED,
        ),
        [],
    ),
    "inside a user's chain": (
        policy(
            pack("one", rule("open", "ALLOW", risk_min=1), rule("deny", "BLOCK", risk_min=2)),
            org_chain=[],
            user_chains={"user:alice": ["one"]},
            **CLOSED,
        ),
        [("error", "shadowed", "one", "deny")],
    ),
    "hidden in one chain, alive in another": (
        policy(
            pack("one", rule("open", "ALLOW", risk_min=1)),
            pack("two", rule("deny", "BLOCK", risk_min=1)),
            org_chain=[],
            user_chains={"user:alice": ["one", "two"], "user:bob": ["two"]},
            **CLOSED,
        ),
        [],
    ),
}


@pytest.mark.parametrize(("data", "expected"), HIDDEN.values(), ids=HIDDEN.keys())
def test_hidden_rules(data: Data, expected: list[tuple[str, str, str, str]]) -> None:
    assert remarks(data) == expected


# Conditions of an earlier ALLOW and of a later BLOCK -> the first surely matches whenever the second does.
COVERS: dict[str, tuple[Data, Data, bool]] = {
    "everything covers": ({}, {"risk_min": 1}, True),
    "nothing covers everything": ({"risk_min": 1}, {}, False),
    "a longer list": ({"user_groups": ["a", "b"]}, {"user_groups": ["a"]}, True),
    "a shorter list": ({"user_groups": ["a"]}, {"user_groups": ["a", "b"]}, False),
    "a field more": ({"user_groups": ["a"]}, {"user_groups": ["a"], "countries": ["NO"]}, True),
    "another field": ({"user_groups": ["a"]}, {"agents": ["a"]}, False),
    "a broader glob": ({"models": ["gpt-*"]}, {"models": ["gpt-4o", "gpt-5*"]}, True),
    "a narrower glob": ({"models": ["gpt-4*"]}, {"models": ["gpt-*"]}, False),
    "crossing globs": ({"models": ["*-mini"]}, {"models": ["gpt-*"]}, False),
    "the same expressions": ({"content_regex": ["a", "b"]}, {"content_regex": ["b"]}, True),
    "other expressions": ({"content_regex": ["a"]}, {"content_regex": ["b"]}, False),
    "wider token bounds": ({"tokens_min": 1, "tokens_max": 9}, {"tokens_min": 2, "tokens_max": 8}, True),
    "an open upper bound": ({"tokens_max": 9}, {"tokens_min": 2}, False),
    "the same address kind": ({"anonymous_ip": True}, {"anonymous_ip": True}, True),
    "any address kind": ({"anonymous_ip": True}, {}, False),
    "any type": ({"entity_count_min": 1}, {"entity_types": ["email"]}, True),
    "more types": ({"entity_types": ["email", "iban"]}, {"entity_types": ["iban"], "entity_confidence_min": 0.5}, True),
    "any type against one": ({"entity_types": ["email"]}, {"entity_count_min": 1}, False),
    "entities against none": ({"entity_types": ["email"]}, {"risk_min": 1}, False),
    "a higher confidence": ({"entity_confidence_min": 0.9}, {"entity_confidence_min": 0.8}, False),
    "a higher count": ({"entity_count_min": 3}, {"entity_count_min": 2}, False),
}


@pytest.mark.parametrize(("broad", "narrow", "covers"), COVERS.values(), ids=COVERS.keys())
def test_a_condition_that_covers_another(broad: Data, narrow: Data, covers: bool) -> None:
    found = remarks(policy(pack("p", rule("open", "ALLOW", **broad), rule("deny", "BLOCK", **narrow)), **CLOSED))
    assert [item[3] for item in found] == (["deny"] if covers else [])


OTHER: dict[str, tuple[Data, list[tuple[str, str, str, str]]]] = {
    "an open default": (
        chain(default={"input": "ALLOW", "output": "BLOCK"}),
        [("warning", "default_allow", "", "")],
    ),
    "a closed default that nothing opens": (
        policy(pack("p", rule("a", "ALLOW", applies_to="input")), **CLOSED),
        [("warning", "nothing_allowed", "", "")],
    ),
    "a route opens the input": (
        policy(
            pack("p", rule("a", "ROUTE_TO", applies_to="input", route_to="x"), rule("b", "ALLOW", applies_to="output")),
            **CLOSED,
        ),
        [],
    ),
    "a pack in no chain": (
        chain(org_chain=["p"]) | {"packs": [*chain()["packs"], pack("idle", rule("r", "BLOCK"))]},
        [("warning", "unreachable", "idle", "")],
    ),
    "a required pack needs no chain": (
        chain(org_chain=["p"])
        | {"packs": [*chain()["packs"], pack("pci", rule("r", "CANCEL", risk_min=1), required=True)]},
        [],
    ),
    "bounds that exclude each other": (
        chain(rule("r", "BLOCK", tokens_min=9, tokens_max=8)),
        [("error", "unreachable", "p", "r")],
    ),
    "bounds that leave one number": (chain(rule("r", "BLOCK", tokens_min=8, tokens_max=8)), []),
    "a sequence twice": (
        chain(rule("a", "BLOCK", risk_min=1, sequence=7), rule("b", "CANCEL", agents=["x"], sequence=7)),
        [("warning", "duplicate_sequence", "p", "a"), ("warning", "duplicate_sequence", "p", "b")],
    ),
}


@pytest.mark.parametrize(("data", "expected"), OTHER.values(), ids=OTHER.keys())
def test_other_remarks(data: Data, expected: list[tuple[str, str, str, str]]) -> None:
    assert remarks(data) == expected


def test_unknown_types_are_remarked_when_the_known_ones_are_given() -> None:
    data = chain(
        rule("typo", "BLOCK", entity_types=["credit_crad"]), rule("half", "BLOCK", entity_types=["email", "emial"])
    )
    assert remarks(data) == []
    assert remarks(data, ["email", "credit_card"]) == [
        ("error", "unknown_entity_type", "p", "typo"),
        ("warning", "unknown_entity_type", "p", "half"),
    ]


CARDS = {"entity_types": ["credit_card"]}
PASSES: dict[str, tuple[Data, tuple[str, str] | None]] = {
    "no rule of cards": (policy(pack("p", rule("a", "BLOCK", risk_min=1))), ("", "")),
    "a rule of answers only": (policy(pack("p", rule("a", "BLOCK", applies_to="output", **CARDS))), ("", "")),
    "a rule that needs two": (policy(pack("p", rule("a", "BLOCK", entity_count_min=2, **CARDS))), ("", "")),
    "a rule of one group's chain": (
        policy(pack("p", rule("a", "BLOCK", **CARDS)), org_chain=[], user_chains={"group:g": ["p"]}),
        ("", ""),
    ),
    "an early route": (
        policy(pack("p", rule("r", "ROUTE_TO", applies_to="input", route_to="x"), rule("a", "BLOCK", **CARDS))),
        ("p", "r"),
    ),
    "a rule that blocks": (policy(pack("p", rule("a", "BLOCK", **CARDS))), None),
    "a rule that redacts": (policy(pack("p", rule("a", "REDACT", **CARDS))), None),
    "a rule that holds": (policy(pack("p", rule("a", "PROMPT", entity_confidence_min=0.9, **CARDS))), None),
    "an expression that finds the number": (policy(pack("p", rule("a", "BLOCK", content_regex=["[0-9]{4}"]))), None),
    "a default that blocks": (policy(pack("p", rule("a", "ALLOW", risk_min=1)), **CLOSED), None),
}


@pytest.mark.parametrize(("data", "who"), PASSES.values(), ids=PASSES.keys())
def test_a_policy_that_every_outpost_would_seal_itself_under(data: Data, who: tuple[str, str] | None) -> None:
    found = [item for item in plain_remarks(data) if item[1] == "canary_passes"]
    assert found == ([("error", "canary_passes", *who)] if who else [])


def test_the_linter_judges_the_canary_of_the_gateway() -> None:
    program = compiled(policy(pack("p", rule("mail", "BLOCK", entity_types=["email"]))))
    scanner = Scanner(compile_rules(RULES), RULES)
    tree = parse_body(gateway_canary._BODY, BodyLimits())
    features = inspect_request(
        Inspector(program, scanner), tree, Features(Direction.INPUT, model=canary.MODEL)
    ).features
    assert features == canary.FEATURES


def test_every_remark_says_what_to_do() -> None:
    for data, _ in [*HIDDEN.values(), *OTHER.values()]:
        for finding in lint(parsed(data), ["email"]):
            assert finding.message
            assert finding.next_step


def test_the_largest_policy_is_linted_in_bounded_time() -> None:
    names = [f"p{n}" for n in range(10)]
    packs = [pack(name, *(rule(f"r{n}", "ALLOW", risk_min=100 - n) for n in range(50))) for name in names]
    chains = {f"user:u{n}": names[n % 10 :] + names[: n % 10] for n in range(doc.MAX_USER_CHAINS)}
    document = parsed(policy(*packs, user_chains=chains))
    began = time.process_time()
    lint(document)
    assert time.process_time() - began < 20
