"""Texts, findings and policy become one verdict, and what leaves is what was judged."""

from dataclasses import replace
from typing import Any

import pytest

from outpost.core.chat.fields import list_fields
from outpost.core.chat.messages import UninspectableError
from outpost.core.decision import Action, Direction, Features
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.errors import BundleError
from outpost.core.inspection import Inspection, denial, inspect_answer, inspect_request
from outpost.core.program import build
from tests.unit.gateway.harness import CARD, EMAIL, EMAIL_2, ORG, policy, program, rule, shared_database, verified_set

INPUT = Features(Direction.INPUT, model="gpt-x")
OUTPUT = Features(Direction.OUTPUT, model="gpt-x")
REDACT_ALL = (rule("all", "REDACT", "both", entity_types=["email", "credit_card"]),)


def asked(tree: dict[str, Any], rules: Any = REDACT_ALL) -> Inspection:
    return inspect_request(program(rules=rules).inspector, tree, INPUT)


def content(text: str) -> dict[str, Any]:
    return {"model": "gpt-x", "messages": [{"role": "user", "content": text}]}


def test_values_are_replaced_at_any_depth_on_a_copy() -> None:
    tree = {**content(EMAIL), "metadata": {"a": [{"b": f"x {EMAIL_2} y {EMAIL}"}]}, "kept": {"z": 1.5}}
    judged = asked(tree)
    assert judged.decision.action is Action.REDACT
    assert judged.tree["messages"] == [{"role": "user", "content": "[EMAIL_1]"}]
    assert judged.tree["metadata"] == {"a": [{"b": "x [EMAIL_2] y [EMAIL_1]"}]}
    assert judged.tree["kept"] is tree["kept"]
    assert tree["messages"] == [{"role": "user", "content": EMAIL}]
    assert [(e.entity_type, e.count) for e in judged.features.entities] == [("email", 3)]


def test_a_value_hidden_by_json_escapes_is_found_and_replaced() -> None:
    hidden = "".join(f"\\u{ord(char):04x}" for char in EMAIL)
    call = {"function": {"name": "f", "arguments": f'{{"to":"{hidden}"}}'}}
    judged = asked({"model": "gpt-x", "messages": [{"role": "assistant", "tool_calls": [call]}]})
    message: Any = judged.tree["messages"]
    assert message[0]["tool_calls"][0]["function"]["arguments"] == '{"to":"[EMAIL_1]"}'


UNREDACTABLE: dict[str, dict[str, Any]] = {
    "a key": {**content("x"), "metadata": {EMAIL: "x"}},
    "a number": {**content("x"), "seed": int(CARD.replace(" ", ""))},
    "a number deep inside": {**content("x"), "a": [[{"b": float(CARD.replace(" ", ""))}]]},
    "the model's name": {**content("x"), "model": EMAIL},
}


@pytest.mark.parametrize("case", UNREDACTABLE)
def test_what_cannot_be_replaced_is_denied(case: str) -> None:
    judged = asked(UNREDACTABLE[case])
    assert judged.denied
    assert judged.decision.code == "policy.unredactable"


def test_a_model_name_with_a_finding_is_not_recorded() -> None:
    assert asked({**content("x"), "model": EMAIL}).features.model == "*"


def test_content_expressions_see_every_text() -> None:
    rules = (rule("zebra", "BLOCK", "input", content_regex=["ze.ra"]),)
    judged = asked({**content("x"), "metadata": {"a zebra": 1}}, rules)
    assert judged.features.content_matches == ("base/zebra",)
    assert judged.denied


def test_a_denied_request_is_not_redacted_and_says_where() -> None:
    rules = (rule("cards", "BLOCK", "input", entity_types=["credit_card"]), *REDACT_ALL)
    judged = asked(content(f"{EMAIL} {CARD}"), rules)
    error = denial(judged.decision, judged.features, judged.param)
    assert error.field == "messages[0].content"
    assert (
        error.message
        == "Blocked by rule cards of pack base. Found: 1 credit_card, 1 email. Nothing was sent to the provider."
    )
    assert len(judged.placeholders) == 0


def test_data_urls_are_refused_in_every_field() -> None:
    with pytest.raises(UninspectableError):
        asked({**content("x"), "unknown": ["data:image/png;base64,AAAA"]})


def test_a_key_without_an_end_is_denied_whatever_policy_says() -> None:
    head = "-----BEGIN PRIV" + "ATE KEY-----\n"
    judged = asked(content(head + "A1b2C3d4" * 4_000), ())
    assert judged.denied


def reply(text: str, **choice: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, **choice}]}


def answered(tree: dict[str, Any], rules: Any, placeholders: PlaceholderMap | None = None) -> Inspection:
    return inspect_answer(program(rules=rules).inspector, tree, OUTPUT, placeholders or PlaceholderMap())


def message_of(judged: Inspection) -> str:
    choices: Any = judged.tree["choices"]
    return str(choices[0]["message"]["content"])


def test_an_answer_is_judged_before_values_come_back() -> None:
    request = asked(content(EMAIL))
    judged = answered(reply("hello [EMAIL_1], not [EMAIL_2]"), REDACT_ALL, request.placeholders)
    assert message_of(judged) == f"hello {EMAIL}, not [EMAIL_2]"
    assert judged.decision.action is Action.ALLOW


def test_a_redacted_answer_loses_its_token_list() -> None:
    judged = answered(reply(f"ask {EMAIL}", logprobs={"content": [{"token": EMAIL[:5]}]}), REDACT_ALL)
    assert message_of(judged) == "ask [REDACTED_EMAIL]"
    assert EMAIL[:5] not in str(judged.tree)


def test_an_answer_that_cannot_be_redacted_is_denied() -> None:
    assert answered({**reply("x"), EMAIL: 1}, REDACT_ALL).decision.code == "policy.unredactable"


def test_bytes_inspected_are_the_bytes_of_all_texts() -> None:
    tree = content("é" * 10)
    assert (
        asked(tree).bytes_inspected
        == list_fields(tree).bytes_inspected
        == 20 + len("modelgpt-xmessagesroleusercontent")
    )


REFUSED_SETS: dict[str, tuple[bytes, str]] = {
    "a policy of another org": (policy("other", REDACT_ALL), "bundle.policy_org"),
    "a policy that does not parse": (b"{}", "policy.document_invalid"),
}


@pytest.mark.parametrize("case", REFUSED_SETS)
def test_a_set_that_does_not_compile_is_refused(case: str) -> None:
    packs, code = REFUSED_SETS[case]
    good = verified_set(ORG, "http://127.0.0.1:9/v1")
    with pytest.raises(BundleError) as refused:
        build(replace(good, chosen=replace(good.chosen, packs=packs)), shared_database().clone())
    assert refused.value.code == code


def test_a_set_whose_tier_or_self_test_cannot_run_is_refused() -> None:
    good = verified_set(ORG, "http://127.0.0.1:9/v1")
    object.__setattr__(good.release, "required_tiers", (1, 2))
    with pytest.raises(BundleError) as refused:
        build(good, shared_database().clone())
    assert refused.value.code == "bundle.tier_unavailable"
    object.__setattr__(good.release, "required_tiers", (1,))
    object.__setattr__(good.release.self_tests[0], "entity_type", "unicorn")
    with pytest.raises(BundleError) as refused:
        build(good, shared_database().clone())
    assert refused.value.code == "bundle.self_test"
