"""`outpost policy`: explain, lint, schema; a text is inspected and never printed."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

CARD = "4111" + " 1111" * 3
MAIL = "ada.lovelace" + "@example.com"
RULES = """
      - {id: cards, sequence: 10, applies_to: both, action: BLOCK, conditions: {entity_types: [credit_card]}}
      - {id: mails, sequence: 20, applies_to: input, action: REDACT, conditions: {entity_types: [email]}}
      - {id: nurses, sequence: 30, applies_to: both, action: ALLOW, conditions: {user_groups: [nurses]}}
"""
POLICY = f"""
schema: outpost.policy/1
org: acme
default: {{input: BLOCK, output: ALLOW}}
combining: first_applicable
packs:
  - id: base
    name: Base
    kind: custom
    rules:{RULES}
org_chain: [base]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_a_text_is_inspected_explained_and_not_printed(cli: Cli, policy: Path) -> None:
    told = cli("policy", "explain", policy, "--text", "-", stdin=f"charge {CARD} for {MAIL}".encode())
    assert told.code == 0
    assert "found 1 credit_card" in told.out
    assert "decision BLOCK by base/cards" in told.out
    assert CARD not in told.out + told.err
    assert MAIL not in told.out + told.err


OUTCOMES: dict[str, tuple[dict[str, object], list[tuple[str, list[str]]], str]] = {
    "a card": (
        {"entities": [{"entity_type": "credit_card"}]},
        [("fired", []), ("not_reached", []), ("not_reached", [])],
        "BLOCK",
    ),
    "nothing and no group": (
        {},
        [("not_matched", ["entity_types"]), ("not_matched", ["entity_types"]), ("not_matched", ["user_groups"])],
        "BLOCK",
    ),
    "a mail of a nurse": (
        {"entities": [{"entity_type": "email", "count": 2, "confidence": 90}], "user_groups": ["nurses"]},
        [("not_matched", ["entity_types"]), ("fired", []), ("fired", [])],
        "ALLOW",
    ),
    "an answer": (
        {"direction": "output", "entities": [{"entity_type": "email"}]},
        [("not_matched", ["entity_types"]), ("other_direction", []), ("not_matched", ["user_groups"])],
        "ALLOW",
    ),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_every_rule_is_told_for(what: str, cli: Cli, policy: Path) -> None:
    features, steps, action = OUTCOMES[what]
    told = cli(
        "policy", "explain", policy, "--features", "-", "--output", "json", stdin=json.dumps(features).encode()
    ).json
    assert told["schema"] == "outpost.policy_explanation/1"
    assert [(step["outcome"], step["failed"]) for step in told["steps"]] == steps
    assert told["decision"]["action"] == action


def test_the_option_decides_the_direction(cli: Cli, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('{"direction": "input"}')
    told = cli("policy", "explain", policy, "--features", "f.json", "--direction", "output", "--output", "json")
    assert told.json["direction"] == "output"
    assert told.json["decision"]["action"] == "ALLOW"


def test_a_text_completes_given_features(cli: Cli, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("user_groups: [nurses]\n")
    told = cli(
        "policy", "explain", policy, "--features", "f.yaml", "--text", "-", "--output", "json", stdin=MAIL.encode()
    ).json
    assert told["features"]["user_groups"] == ["nurses"]
    assert [entity["entity_type"] for entity in told["features"]["entities"]] == ["email"]
    assert told["decision"]["redact"] == ["email"]


BAD_FEATURES: dict[str, tuple[bytes, str, str]] = {
    "an unknown field": (b'{"usr": "x"}', "input.features", "usr"),
    "a risk over a hundred": (b'{"risk": 101}', "input.features", "risk"),
    "a text for a number": (b'{"tokens": "many"}', "input.features", "tokens"),
    "a direction that is none": (b'{"direction": "sideways"}', "input.features", "direction"),
    "a repeated key": (b'{"user": "a", "user": "b"}', "input.features", ""),
    "no JSON": (b'{"user": ', "input.features", ""),
    "a list": (b"[1]", "input.features", ""),
    "too much": (b" " * (256 * 1024 + 1), "input.unreadable", ""),
}


@pytest.mark.parametrize("what", BAD_FEATURES)
def test_features_are_refused_for(what: str, cli: Cli, policy: Path) -> None:
    data, code, field = BAD_FEATURES[what]
    told = cli("policy", "explain", policy, "--features", "-", "--output", "json", stdin=data)
    error = json.loads(told.err)["error"]
    assert (told.code, error["code"]) == (8 if code == "input.unreadable" else 5, code)
    assert field in error["field"]


def test_a_sound_policy_passes_the_linter(cli: Cli, policy: Path) -> None:
    told = cli("policy", "lint", policy)
    assert told.code == 0
    assert "3 rules" in told.out


def test_a_denial_without_effect_is_an_error(cli: Cli, tmp_path: Path) -> None:
    hidden = POLICY.replace("sequence: 10", "sequence: 40").replace(
        "conditions: {user_groups: [nurses]}", "conditions: {}"
    )
    (tmp_path / "policy.yaml").write_text(hidden)
    told = cli("policy", "lint", "policy.yaml", "--output", "json")
    assert told.code == 5
    errors = [finding for finding in told.json["findings"] if finding["level"] == "error"]
    found = [(finding["code"], finding["pack"], finding["rule"]) for finding in errors]
    assert sorted(found) == [("policy.lint.canary_passes", "base", "nurses"), ("policy.lint.shadowed", "base", "cards")]
    assert told.json["errors"] == 2
    table = cli("policy", "lint", "policy.yaml")
    assert "base/cards" in table.out


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "a policy that is not there": (("lint", "none.yaml"), 8, "input.unreadable"),
    "a policy with an unknown field": (("lint", "bad.yaml"), 5, "policy.document_invalid"),
    "standard input twice": (("explain", "-", "--text", "-"), 2, "only one of"),
    "a text that is no text": (("explain", "policy.yaml", "--text", "binary"), 8, "not UTF-8"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_command_refuses(what: str, cli: Cli, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(POLICY + "\nsurprise: 1\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    arguments, code, cause = WRONG[what]
    told = cli("policy", *arguments)
    assert told.code == code
    assert cause in told.err
    assert "Traceback" not in told.err


def test_the_schema_is_json(cli: Cli) -> None:
    assert cli("policy", "schema").json["title"] == "PolicyDocument"
