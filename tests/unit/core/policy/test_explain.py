"""The trace of a decision: every rule, in order, and what kept it from firing."""

from outpost.core.policy.evaluate import evaluate
from outpost.core.policy.explain import Outcome, Step, Trace, explain
from tests.unit.core.policy.policies import Data, asked, compiled, pack, policy, rule

POLICY = policy(
    pack("pci", rule("cards", "BLOCK", entity_types=["credit_card"], entity_confidence_min=0.8), required=True),
    pack(
        "base",
        rule("mask", "REDACT", entity_types=["email"]),
        rule("answers", "BLOCK", applies_to="output"),
        rule("hr", "CANCEL", user_groups=["hr"], risk_min=50, content_regex=["x"]),
        rule("empty", "REDACT"),
        rule("open", "ALLOW", models=["gpt-*"]),
        rule("late", "BLOCK"),
        rule("must", "PROMPT", required=True, tokens_min=1000),
    ),
    pack("mine", rule("many", "CANCEL", entity_types=["email"], entity_count_min=5)),
    org_chain=["base"],
    user_chains={"user:alice": ["mine"]},
)


def outcomes(trace: Trace) -> list[tuple[str, str, Outcome, tuple[str, ...]]]:
    return [(step.pack, step.rule, step.outcome, step.failed) for step in trace.steps]


def test_every_rule_of_a_request_without_findings() -> None:
    trace = explain(compiled(POLICY), asked(user="alice", model="gpt-4o", risk=60))
    assert trace.chain == ("mine", "base")
    assert outcomes(trace) == [
        ("pci", "cards", Outcome.NOT_MATCHED, ("entity_types",)),
        ("base", "must", Outcome.NOT_MATCHED, ("tokens_min",)),
        ("mine", "many", Outcome.NOT_MATCHED, ("entity_types",)),
        ("base", "mask", Outcome.NOT_MATCHED, ("entity_types",)),
        ("base", "answers", Outcome.OTHER_DIRECTION, ()),
        ("base", "hr", Outcome.NOT_MATCHED, ("user_groups", "content_regex")),
        ("base", "empty", Outcome.NOTHING_TO_REDACT, ()),
        ("base", "open", Outcome.FIRED, ()),
        ("base", "late", Outcome.NOT_REACHED, ()),
    ]
    assert trace.decision.rule == "open"


def test_the_entity_field_that_failed_is_named() -> None:
    trace = explain(compiled(POLICY), asked("input", ("credit_card", 1, 50), ("email", 2, 90), user="alice"))
    assert outcomes(trace)[0] == ("pci", "cards", Outcome.NOT_MATCHED, ("entity_confidence_min",))
    assert outcomes(trace)[2] == ("mine", "many", Outcome.NOT_MATCHED, ("entity_count_min",))


def test_a_required_block_leaves_the_chain_unreached() -> None:
    trace = explain(compiled(POLICY), asked("input", ("credit_card", 1, 90), tokens=2000))
    assert outcomes(trace)[:2] == [
        ("pci", "cards", Outcome.FIRED, ()),
        ("base", "must", Outcome.FIRED, ()),
    ]
    assert {step.outcome for step in trace.steps[2:]} == {Outcome.NOT_REACHED}
    assert trace.decision.matched == ("pci/cards", "base/must")


def test_a_trace_carries_the_policy_and_evaluates_own_decision() -> None:
    program = compiled(POLICY)
    features = asked("output", ("email", 1, 90))
    trace = explain(program, features)
    assert (trace.digest, trace.direction) == (program.digest, "output")
    assert trace.decision == evaluate(program, features)
    assert trace.steps[0] == Step(
        "pci", "cards", 10, trace.steps[0].action, True, Outcome.NOT_MATCHED, ("entity_types",)
    )


def failed(**conditions: object) -> tuple[str, ...]:
    data: Data = policy(pack("p", rule("r", "BLOCK", **conditions)))
    return explain(compiled(data), asked()).steps[0].failed


def test_every_condition_can_be_the_one_that_failed() -> None:
    failing: Data = {
        "user_groups": ["a"],
        "agents": ["a"],
        "providers": ["a"],
        "models": ["a"],
        "channels": ["interactive"],
        "risk_min": 1,
        "intents": ["a"],
        "countries": ["NO"],
        "anonymous_ip": True,
        "data_classes": ["phi"],
        "tokens_min": 1,
        "content_regex": ["a"],
        "entity_types": ["email"],
    }
    assert failed(**failing) == tuple(failing)
    assert explain(compiled(policy(pack("p", rule("r", "BLOCK", tokens_max=1)))), asked(tokens=2)).steps[0].failed == (
        "tokens_max",
    )
