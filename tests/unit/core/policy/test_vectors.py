"""Golden decisions: written by hand from docs/policy.md, and the same for every program that judges.

A vector file has ``document``, and ``cases`` with ``features`` (fields of `Features`; absent ones are the defaults),
``text`` (optional: texts whose content matches must be ``features.content_matches``) and ``decision`` (without reason).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from outpost.core.decision import Direction, EntityCount, Features
from outpost.core.policy.compile import Program
from outpost.core.policy.evaluate import evaluate
from outpost.core.policy.explain import explain
from tests.property.policy_reference import reference_decision
from tests.unit.core.policy.policies import compiled

FOLDER = Path(__file__).parents[3] / "vectors" / "policy"
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
PROGRAMS: dict[str, Program] = {name: compiled(file["document"]) for name, file in FILES.items()}
CASES = [(name, case) for name, file in FILES.items() for case in file["cases"]]


def features(data: dict[str, Any]) -> Features:
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    made["direction"] = Direction(data["direction"])
    made["entities"] = tuple(EntityCount(**entity) for entity in data.get("entities", []))
    return Features(**made)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_a_golden_decision(name: str, case: dict[str, Any]) -> None:
    program = PROGRAMS[name]
    asked = features(case["features"])
    decided = asdict(evaluate(program, asked))
    assert decided.pop("reason")
    assert json.loads(json.dumps(decided)) == case["decision"]
    assert explain(program, asked).decision == evaluate(program, asked)
    if "text" in case:
        assert program.match_content(case["text"]) == asked.content_matches


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case['name']}" for name, case in CASES])
def test_the_second_reading_gives_the_golden_decision(name: str, case: dict[str, Any]) -> None:
    decided = asdict(reference_decision(FILES[name]["document"], features(case["features"])))
    del decided["reason"]
    assert json.loads(json.dumps(decided)) == case["decision"]


def test_every_file_is_read() -> None:
    assert set(FILES) == {"deny_overrides", "first_applicable", "required"}
    assert {case["decision"]["code"] for _, case in CASES} == {
        "policy.allowed",
        "policy.blocked",
        "policy.cancelled",
        "policy.default_blocked",
        "policy.held",
        "policy.override_required",
        "policy.redacted",
        "policy.routed",
    }
