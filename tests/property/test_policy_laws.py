"""Laws of the evaluator: it agrees with a second reading, its trace agrees with it, and it never raises."""

import json
import re
from dataclasses import replace

from hypothesis import event, given, settings
from hypothesis import strategies as st

from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from outpost.core.policy.compile import STRICTNESS, compile_document
from outpost.core.policy.content import ContentMatcher, ContentPattern
from outpost.core.policy.document import canonical_bytes, parse_document
from outpost.core.policy.evaluate import evaluate
from outpost.core.policy.explain import Outcome, explain
from outpost.core.policy.globs import glob_matches
from outpost.core.policy.lint import lint
from tests.property.policy_reference import glob, reference_decision
from tests.property.policy_strategies import FEATURES, Data, documents


def text(document: Data) -> bytes:
    return json.dumps(document).encode()


@settings(max_examples=300, deadline=None)
@given(documents(), st.lists(FEATURES, min_size=1, max_size=8))
def test_the_compiled_program_agrees_with_the_reference(document: Data, requests: list[Features]) -> None:
    program = compile_document(parse_document(text(document)))
    for features in requests:
        decision = evaluate(program, features)
        event(decision.code)
        assert replace(decision, reason="") == reference_decision(document, features)
        assert decision.reason


@settings(max_examples=60, deadline=None)
@given(documents(), st.lists(FEATURES, min_size=1, max_size=4))
def test_a_trace_tells_the_way_to_the_decision(document: Data, requests: list[Features]) -> None:
    program = compile_document(parse_document(text(document)))
    for features in requests:
        trace = explain(program, features)
        decision = evaluate(program, features)
        fired = [step for step in trace.steps if step.outcome is Outcome.FIRED]
        assert trace.decision == decision
        assert tuple(f"{step.pack}/{step.rule}" for step in fired) == decision.matched
        assert all(bool(step.failed) is (step.outcome is Outcome.NOT_MATCHED) for step in trace.steps)
        if decision.pack:
            assert (decision.pack, decision.rule) in {(step.pack, step.rule) for step in fired}
        ids = [(step.pack, step.rule) for step in trace.steps]
        assert len(ids) == len(set(ids))


@settings(max_examples=60, deadline=None)
@given(documents(), FEATURES)
def test_a_required_rule_never_weakens_a_decision(document: Data, features: Features) -> None:
    def strictness(data: Data) -> tuple[int, set[str]]:
        decision: Decision = evaluate(compile_document(parse_document(text(data))), features)
        # REDACT is an allowed request; the redactions are compared beside it.
        return STRICTNESS[Action.ALLOW if decision.action is Action.REDACT else decision.action], set(decision.redact)

    without: Data = document | {
        "packs": [
            pack | {"required": False, "rules": [r for r in pack["rules"] if not (pack["required"] or r["required"])]}
            for pack in document["packs"]
        ]
    }
    level, redacted = strictness(document)
    plain_level, plain_redacted = strictness(without)
    assert level >= plain_level
    assert level == STRICTNESS[Action.BLOCK] or redacted >= plain_redacted


@settings(max_examples=60, deadline=None)
@given(documents(), st.lists(FEATURES, min_size=1, max_size=8))
def test_a_rule_that_the_linter_calls_hidden_never_decides(document: Data, requests: list[Features]) -> None:
    parsed = parse_document(text(document))
    program = compile_document(parsed)
    hidden = {
        (finding.pack, finding.rule)
        for finding in lint(parsed)
        if finding.rule
        and finding.code.rpartition(".")[2] in {"shadowed", "contradictory", "redact_unreached", "unreachable"}
    }
    if hidden:
        event("some rule is hidden")
    for features in requests:
        decision = evaluate(program, features)
        assert (decision.pack, decision.rule) not in hidden


@settings(max_examples=60, deadline=None)
@given(documents(), FEATURES)
def test_the_canonical_form_is_the_same_policy(document: Data, features: Features) -> None:
    parsed = parse_document(text(document))
    again = parse_document(canonical_bytes(parsed))
    assert again == parsed
    assert canonical_bytes(again) == canonical_bytes(parsed)
    first, second = compile_document(parsed), compile_document(again)
    assert first.digest == second.digest
    assert evaluate(first, features) == evaluate(second, features)


ANY_TEXT = st.text(max_size=20)
ANY_FEATURES = st.builds(
    Features,
    direction=st.sampled_from(Direction),
    user=ANY_TEXT,
    user_groups=st.lists(ANY_TEXT, max_size=3).map(tuple),
    agent=ANY_TEXT,
    entities=st.lists(st.builds(EntityCount, ANY_TEXT, st.integers(), st.integers()), max_size=3).map(tuple),
    content_matches=st.lists(ANY_TEXT, max_size=3).map(tuple),
    provider=ANY_TEXT,
    model=ANY_TEXT,
    channel=ANY_TEXT,
    risk=st.integers(),
    intent=ANY_TEXT,
    country=ANY_TEXT,
    anonymous_ip=st.booleans(),
    data_class=ANY_TEXT,
    tokens=st.integers(),
)


@settings(max_examples=60, deadline=None)
@given(documents(), ANY_FEATURES)
def test_no_features_make_the_evaluator_raise(document: Data, features: Features) -> None:
    program = compile_document(parse_document(text(document)))
    assert isinstance(evaluate(program, features), Decision)
    assert explain(program, features).decision == evaluate(program, features)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_globs_agree_with_the_standard_library(pattern: str, subject: str) -> None:
    assert glob_matches(pattern, subject) is glob(pattern, subject)


EXPRESSIONS = {"p/a": "ab+c", "p/b": "^x", "p/c": "(?i)k[0-9]{2}", "p/d": "z$"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcxkK019z \né", max_size=12), max_size=4))
def test_content_matches_agree_with_the_standard_library(texts: list[str]) -> None:
    matcher = ContentMatcher([ContentPattern(name, expression) for name, expression in EXPRESSIONS.items()])
    expected = [name for name, expression in EXPRESSIONS.items() if any(re.search(expression, t) for t in texts)]
    assert list(matcher.match(texts)) == expected
