"""A policy document is read strictly, and a refusal names the field, the cause and the next step."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from outpost.core.errors import BundleError
from outpost.core.policy import document as doc
from outpost.core.policy import source
from outpost.core.policy.document import PolicyDocumentError, canonical_bytes, document_digest, parse_document
from tests.unit.core.policy.policies import Data, pack, parsed, policy, rule

YAML = b"""
# The policy of a small company.
schema: outpost.policy/1
org: acme
default: {input: ALLOW, output: BLOCK}
combining: first_applicable
packs:
  - id: base
    name: Base rules
    kind: custom
    rules:
      - id: cards
        sequence: 10
        applies_to: both
        action: BLOCK
        message: "Card numbers stay inside."
        conditions:
          entity_types: [credit_card]
          entity_confidence_min: 0.50
          countries: [NO, DE]
          models: [GPT-4*]
user_chains:
  user:alice: [base]
  group:on-call: [base]
org_chain: [base]
"""


def base(**fields: Any) -> Data:
    return policy(pack("base", rule("cards", "BLOCK", **fields)))


def test_yaml_and_json_of_one_policy_have_one_digest() -> None:
    from_yaml = parse_document(YAML)
    canonical = canonical_bytes(from_yaml)
    from_json = parse_document(canonical)
    assert from_json == from_yaml
    assert document_digest(from_json) == document_digest(from_yaml)
    assert canonical_bytes(from_json) == canonical


def test_the_canonical_form_has_sorted_keys_no_fractions_and_no_null() -> None:
    data = json.loads(canonical_bytes(parse_document(YAML)))
    conditions = data["packs"][0]["rules"][0]["conditions"]
    assert conditions["entity_confidence_min"] == "0.5"
    assert "user_groups" not in conditions
    text = canonical_bytes(parse_document(YAML)).decode()
    assert text == json.dumps(data, sort_keys=True, separators=(",", ":"))


def test_one_confidence_has_one_digest_however_it_is_written() -> None:
    digests = {document_digest(parsed(base(entity_confidence_min=written))) for written in (0.5, "0.5", "0.50")}
    assert len(digests) == 1
    assert document_digest(parsed(base(entity_confidence_min=0.51))) not in digests
    assert document_digest(parsed(base(entity_confidence_min=0, agents=None))) == document_digest(parsed(base()))


def test_norway_is_a_country_and_a_model_has_no_case() -> None:
    conditions = parse_document(YAML).packs[0].rules[0].conditions
    assert conditions.countries == ("NO", "DE")
    assert conditions.models == ("gpt-4*",)
    assert conditions.confidence_percent == 50


@pytest.mark.parametrize(
    ("word", "value"),
    {
        "a decimal integer": (b"10", 10),
        "zero": (b"0", 0),
        "a negative integer": (b"-3", -3),
        "a fraction": (b"0.25", 0.25),
        "true": (b"true", True),
        "null": (b"null", None),
        "an octal number is text": (b"010", "010"),
        "no is text": (b"no", "no"),
        "yes is text": (b"Yes", "Yes"),
        "on is text": (b"on", "on"),
        "a sexagesimal number is text": (b"1:30", "1:30"),
        "a date is text": (b"2026-11-20", "2026-11-20"),
        "an underscored number is text": (b"1_000", "1_000"),
        "a quoted number is text": (b"'10'", "10"),
        "infinity is text": (b".inf", ".inf"),
        "nineteen digits are text": (b"1234567890123456789", "1234567890123456789"),
    }.items(),
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_plain_words_of_yaml(word: str, value: tuple[bytes, object]) -> None:
    text, expected = value
    read = source.read_source(b"key: " + text)
    assert read == {"key": expected}, word
    assert type(read["key"]) is type(expected)


SYNTAX = {
    "an anchor": b"a: &x 1",
    "an alias bomb": b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "an alias alone": b"a: *x",
    "a tag that would run code": b"a: !!python/object/apply:os.system [id]",
    "a tag of our own": b"a: !secret x",
    "a merge key with an alias": b"a: {<<: *x}",
    "two documents": b"--- {a: 1}\n--- {a: 2}",
    "a list as a key": b"? [a]\n: 1",
    "a repeated key in YAML": b"a: 1\na: 2",
    "a repeated key in YAML, deep": b"a: [{b: 1, 'b': 2}]",
    "a repeated key in JSON": b'{"a": 1, "a": 2}',
    "a repeated key in JSON behind an escape": b'{"a": 1, "\\u0061": 2}',
    "an open list": b"a: [1",
    "an open object": b'{"a": 1',
    "bytes that are not UTF-8": b"a: \xff",
    "NaN in JSON": b'{"a": NaN}',
    "text after JSON": b'{"a": 1} x',
    "a control character in YAML": b"a: \x01",
}


@pytest.mark.parametrize("text", SYNTAX.values(), ids=SYNTAX.keys())
def test_text_that_is_no_document(text: bytes) -> None:
    with pytest.raises(source.PolicySyntaxError) as caught:
        parse_document(text)
    assert caught.value.code == "policy.document_syntax"
    assert caught.value.next_step


def deep_json(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def deep_yaml(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("at_limit", "beyond"),
    {
        "bytes": (b" " * source.MAX_DOCUMENT_BYTES, b" " * (source.MAX_DOCUMENT_BYTES + 1)),
        "levels of JSON": (deep_json(source.MAX_DEPTH), deep_json(source.MAX_DEPTH + 1)),
        "levels of YAML": (deep_yaml(source.MAX_DEPTH), deep_yaml(source.MAX_DEPTH + 1)),
        "nodes of JSON": (
            b'{"a":[' + b",".join([b"1"] * (source.MAX_NODES - 2)) + b"]}",
            b'{"a":[' + b",".join([b"1"] * (source.MAX_NODES - 1)) + b"]}",
        ),
        "digits of a number": (b'{"a":' + b"9" * 4000 + b"}", b'{"a":' + b"9" * 5000 + b"}"),
        "levels without end": (deep_json(1), b'{"a":' * 100_000),
    }.values(),
    ids=["bytes", "levels of JSON", "levels of YAML", "nodes of JSON", "digits of a number", "levels without end"],
)
def test_sizes_at_the_limit_and_beyond(at_limit: bytes, beyond: bytes) -> None:
    source.read_source(at_limit)
    with pytest.raises(source.PolicyTooLargeError) as caught:
        source.read_source(beyond)
    assert caught.value.code == "policy.document_too_large"


def test_yaml_over_the_number_of_nodes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_NODES", 5)
    assert source.read_source(b"a: [1, 2]") == {"a": [1, 2]}
    with pytest.raises(source.PolicyTooLargeError):
        source.read_source(b"a: [1, 2, 3]")


def changed(change: Callable[[Data], object]) -> Data:
    data = policy(pack("base", rule("cards", "BLOCK", entity_types=["credit_card"])))
    change(data)
    return data


def conditions(**fields: Any) -> Data:
    return base(**fields)


RULE = "packs[0].rules[0]"
REFUSED: dict[str, tuple[Data, str]] = {
    "an unknown field at the top": (policy(extra=1), "extra"),
    "an unknown field of a rule": (changed(lambda d: d["packs"][0]["rules"][0].update(when="x")), f"{RULE}.when"),
    "an unknown condition": (conditions(entity_type=["x"]), f"{RULE}.conditions.entity_type"),
    "no default": (changed(lambda d: d.pop("default")), "default"),
    "half a default": (policy(default={"input": "ALLOW"}), "default.output"),
    "a default that is neither ALLOW nor BLOCK": (
        policy(default={"input": "REDACT", "output": "ALLOW"}),
        "default.input",
    ),
    "another schema": (policy(schema="outpost.policy/2"), "schema"),
    "a bad org": (policy(org="Acme"), "org"),
    "an unknown way of combining": (policy(combining="last_applicable"), "combining"),
    "an unknown action": (policy(pack("base", rule("r", "DENY"))), f"{RULE}.action"),
    "an unknown direction": (base(applies_to="inputs"), f"{RULE}.applies_to"),
    "an id with a line end": (policy(pack("base", rule("r\n", "BLOCK"))), f"{RULE}.id"),
    "an id with a slash": (policy(pack("base", rule("a/b", "BLOCK"))), f"{RULE}.id"),
    "an id that is too long": (policy(pack("base", rule("r" * (doc.MAX_ID_CHARS + 1), "BLOCK"))), f"{RULE}.id"),
    "a sequence that is text": (base(sequence="10"), f"{RULE}.sequence"),
    "a negative sequence": (base(sequence=-1), f"{RULE}.sequence"),
    "a message with a control character": (base(message="a\u0000b"), f"{RULE}.message"),
    "a message that is too long": (base(message="m" * (doc.MAX_MESSAGE_CHARS + 1)), f"{RULE}.message"),
    "an empty list": (conditions(user_groups=[]), f"{RULE}.conditions.user_groups"),
    "a list that is too long": (
        conditions(user_groups=[f"g{n}" for n in range(doc.MAX_VALUES + 1)]),
        f"{RULE}.conditions.user_groups",
    ),
    "a type in upper case": (conditions(entity_types=["CREDIT_CARD"]), f"{RULE}.conditions.entity_types[0]"),
    "a confidence above one": (conditions(entity_confidence_min=1.01), f"{RULE}.conditions.entity_confidence_min"),
    "a confidence below zero": (conditions(entity_confidence_min=-0.1), f"{RULE}.conditions.entity_confidence_min"),
    "a confidence finer than a percent": (
        conditions(entity_confidence_min=0.505),
        f"{RULE}.conditions.entity_confidence_min",
    ),
    "a confidence that is no number": (
        conditions(entity_confidence_min="NaN"),
        f"{RULE}.conditions.entity_confidence_min",
    ),
    "a count of zero": (conditions(entity_count_min=0), f"{RULE}.conditions.entity_count_min"),
    "a count that is true": (conditions(entity_count_min=True), f"{RULE}.conditions.entity_count_min"),
    "a risk above a hundred": (conditions(risk_min=101), f"{RULE}.conditions.risk_min"),
    "a flag that is text": (conditions(anonymous_ip="true"), f"{RULE}.conditions.anonymous_ip"),
    "a country of three letters": (conditions(countries=["NOR"]), f"{RULE}.conditions.countries[0]"),
    "an unknown channel": (conditions(channels=["mail"]), f"{RULE}.conditions.channels[0]"),
    "an unknown data class": (conditions(data_classes=["secret"]), f"{RULE}.conditions.data_classes[0]"),
    "an expression that is too long": (
        conditions(content_regex=["a" * (doc.MAX_REGEX_CHARS + 1)]),
        f"{RULE}.conditions.content_regex[0]",
    ),
    "half a surrogate pair": (conditions(content_regex=["\ud800"]), f"{RULE}.conditions.content_regex[0]"),
    "two packs of one id": (policy(pack("base"), pack("base")), "packs[1].id"),
    "two rules of one id": (policy(pack("base", rule("r", "BLOCK"), rule("r", "ALLOW"))), "packs[0].rules[1].id"),
    "a chain with an unknown pack": (policy(pack("base"), org_chain=["base", "other"]), "org_chain[1]"),
    "a user's chain with an unknown pack": (policy(user_chains={"user:a": ["x"]}), "user_chains.user:a[0]"),
    "a chain for neither user nor group": (policy(user_chains={"alice": []}), "user_chains.alice.[key]"),
    "a chain for no user": (policy(user_chains={"user:": []}), "user_chains.user:.[key]"),
    "ROUTE_TO without a target": (policy(pack("p", rule("r", "ROUTE_TO", applies_to="input"))), f"{RULE}.route_to"),
    "a target without ROUTE_TO": (base(route_to="small"), f"{RULE}.route_to"),
    "ROUTE_TO of an answer": (policy(pack("p", rule("r", "ROUTE_TO", route_to="small"))), f"{RULE}.applies_to"),
    "a required ALLOW": (policy(pack("p", rule("r", "ALLOW", required=True))), f"{RULE}.action"),
    "an ALLOW in a required pack": (policy(pack("p", rule("r", "ALLOW"), required=True)), f"{RULE}.action"),
    "too many packs": (policy(*(pack(f"p{n}") for n in range(doc.MAX_PACKS + 1)), org_chain=[]), "packs"),
    "too many rules": (
        policy(*(pack(f"p{p}", *(rule(f"r{n}", "BLOCK") for n in range(251))) for p in range(2))),
        "packs",
    ),
    "too many rules with expressions": (
        policy(pack("p", *(rule(f"r{n}", "BLOCK", content_regex=["x"]) for n in range(doc.MAX_CONTENT_RULES + 1)))),
        "packs",
    ),
}


@pytest.mark.parametrize(("data", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_field_is_named(data: Data, field: str) -> None:
    with pytest.raises(PolicyDocumentError) as caught:
        parse_document(json.dumps(data).encode())
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
    assert caught.value.next_step
    assert caught.value.code == "policy.document_invalid"
    assert isinstance(caught.value, BundleError)


@pytest.mark.parametrize("text", [b"", b"[]", b"text", b"1"], ids=["empty", "a list", "a word", "a number"])
def test_a_document_is_a_mapping(text: bytes) -> None:
    with pytest.raises(PolicyDocumentError, match="not a mapping"):
        parse_document(text)


def test_values_and_long_keys_are_not_echoed() -> None:
    secret = "sk-" + "ant-" + "x" * 60
    for data in (policy(pack("base", rule(secret, secret))), policy(**{secret: 1}), policy(user_chains={secret: []})):
        with pytest.raises(PolicyDocumentError) as caught:
            parse_document(json.dumps(data).encode())
        assert secret not in str(caught.value.as_dict())


def test_a_document_at_every_limit_is_accepted() -> None:
    rules = [rule(f"r{n}", "BLOCK", user_groups=["g"]) for n in range(doc.MAX_RULES)]
    document = parsed(policy(pack("p", *rules), *(pack(f"p{n}") for n in range(doc.MAX_PACKS - 1))))
    assert len(document.packs) == doc.MAX_PACKS
    assert len(document.packs[0].rules) == doc.MAX_RULES


def test_the_json_schema_is_printable_and_closed() -> None:
    schema = json.loads(json.dumps(doc.json_schema()))
    assert schema["$id"] == doc.SCHEMA
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"schema", "org", "default", "combining", "packs", "org_chain"}
    assert set(schema["$defs"]["Conditions"]["properties"]) == set(doc.Conditions.model_fields)


def test_a_misspelt_field_is_told_first_with_the_nearest() -> None:
    wrong = conditions(entity_type=["email"])
    del wrong["packs"][0]["rules"][0]["action"]
    with pytest.raises(PolicyDocumentError) as caught:
        parse_document(json.dumps(wrong).encode())
    assert caught.value.message == f"{RULE}.conditions.entity_type: there is no field entity_type (and 1 more)"
    assert caught.value.next_step.startswith("is entity_types meant? ")


def test_kinds_are_told_in_the_words_of_authors() -> None:
    with pytest.raises(PolicyDocumentError, match="should be a list"):
        parse_document(json.dumps(conditions(entity_types="email")).encode())
