"""Plans: which state may follow which, and who may let one through."""

from dataclasses import replace
from itertools import product

import pytest

from controlplane.domain import plans
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.plans import MOVES, Author, Moved, Plan, PlanKind, PlanState
from controlplane.domain.rollout_terms import RolloutTerms, RolloutTermsError, checked, overridden, plain

ADA, BOB = Author("user-ada", "ada"), Author("user-bob", "bob")
DRAFT = Plan(3, PlanKind.POLICY, "policy", ADA, 1_000, "00", draft=b"{}")
S = PlanState


def at(state: PlanState, **fields: object) -> Plan:
    return replace(DRAFT, state=state, **fields)  # type: ignore[arg-type]


ACTS = {
    "lint": plans.linted,
    "approve": lambda plan: plans.approved(plan, BOB, two_persons=True),
    "sign": lambda plan: plans.signed(plan, 8, 7),
    "begin": lambda plan: plans.rolling(plan, 5, 20, 2_000),
    "complete": lambda plan: plans.completed(plan, 9_000),
    "halt": lambda plan: plans.halted(plan, Moved(9_000, S.HALTED, 5, "x.y", "because"), "prod-eu"),
    "withdraw": lambda plan: plans.withdrawn(plan, "no", 9_000),
    "supersede": lambda plan: plans.superseded(plan, replace(DRAFT, number=4), 9_000),
}
# act: the state that it leads to, and the states from which it may be done
ALLOWED: dict[str, tuple[PlanState, set[PlanState]]] = {
    "lint": (S.LINTED, {S.DRAFT}),
    "approve": (S.APPROVED, {S.LINTED}),
    "sign": (S.SIGNED, {S.APPROVED}),
    "begin": (S.ROLLING, {S.SIGNED}),
    "complete": (S.COMPLETE, set()),  # at the last stage only, below
    "halt": (S.HALTED, {S.ROLLING}),
    "withdraw": (S.WITHDRAWN, {S.LINTED, S.APPROVED}),
    "supersede": (S.SUPERSEDED, {S.LINTED, S.APPROVED, S.ROLLING}),
}


@pytest.mark.parametrize(("act", "state"), list(product(ACTS, PlanState)), ids=str)
def test_the_table_of_acts_and_states_is_total(act: str, state: PlanState) -> None:
    plan = at(state, stage=5 if state is S.ROLLING else 0)
    after, allowed = ALLOWED[act]
    if state in allowed:
        assert ACTS[act](plan).state is after
        assert after in MOVES[state]
    else:
        with pytest.raises(plans.PlanStateError) as caught:
            ACTS[act](plan)
        assert plan.id in caught.value.message


def test_every_state_is_reached_and_the_last_ones_are_final() -> None:
    assert set(MOVES) == set(PlanState)
    assert {state for after in MOVES.values() for state in after} == set(PlanState) - {S.DRAFT}
    assert {state for state in PlanState if at(state).is_over} == {S.COMPLETE, S.HALTED, S.WITHDRAWN, S.SUPERSEDED}


def test_a_whole_life() -> None:
    plan = plans.approved(plans.linted(DRAFT), BOB, two_persons=True)
    plan = plans.rolling(plans.signed(plan, 8, 7), 5, 20, 2_000)
    assert (plan.draft, plan.release, plan.fallback, plan.first_set, plan.stage_set) == (b"", 8, 7, 20, 20)
    plan = plans.settled(plan, 2_500)
    plan = plans.rolling(plan, 25, 24, 3_000)
    assert (plan.first_set, plan.stage_set, plan.began_ms, plan.settled_ms) == (20, 24, 3_000, 0)
    with pytest.raises(plans.PlanStateError):
        plans.completed(plan, 3_500)
    with pytest.raises(plans.PlanStateError):
        plans.rolling(plan, 25, 25, 3_500)
    plan = plans.rolling(plan, 100, 30, 4_000)
    assert plan.is_everywhere
    plan = plans.completed(plan, 5_000)
    assert (plan.state, plan.ended_ms, plan.approver) == (S.COMPLETE, 5_000, BOB)


def test_a_halt_tells_why_within_bounds() -> None:
    plan = plans.halted(at(S.ROLLING, stage=5), Moved(9, S.HALTED, 5, "a.b", "x" * 9_999), "prod-eu")
    assert (plan.code, plan.culprit, plan.ended_ms, len(plan.reason)) == ("a.b", "prod-eu", 9, plans.MAX_REASON_CHARS)


# sentence: approver, whether the org asks for two persons, whether it may go on
APPROVERS = {
    "another person, and the rule": (BOB, True, True),
    "another person, without the rule": (BOB, False, True),
    "the author himself, and the rule": (ADA, True, False),
    "nobody, and the rule": (plans.NOBODY, True, False),
    "nobody, without the rule": (plans.NOBODY, False, True),
    "the author himself, without the rule": (ADA, False, True),
}


@pytest.mark.parametrize("sentence", APPROVERS)
def test_who_may_approve(sentence: str) -> None:
    approver, rule, allowed = APPROVERS[sentence]
    if allowed:
        assert plans.approved(at(S.LINTED), approver, two_persons=rule).approver == approver
    else:
        with pytest.raises(plans.PlanAuthorError):
            plans.approved(at(S.LINTED), approver, two_persons=rule)


EVERYWHERE, STAGED = at(S.ROLLING, stage=100, release=8), at(S.ROLLING, stage=25, release=8)
# sentence: what rolls, whether the new plan is for everybody at once, whether it says so, whether it may begin
BESIDE: dict[str, tuple[Plan | None, bool, bool, bool]] = {
    "nothing rolls": (None, False, False, True),
    "a stage runs": (STAGED, False, False, False),
    "a stage runs, and the new one is for everybody": (STAGED, True, False, False),
    "a stage runs, and its place is taken on purpose": (STAGED, False, True, True),
    "everybody has it, and the new one is for everybody": (EVERYWHERE, True, False, True),
    "everybody has it, and the new one goes through stages": (EVERYWHERE, False, False, False),
    "everybody has it, and its place is taken on purpose": (EVERYWHERE, False, True, True),
}


@pytest.mark.parametrize("sentence", BESIDE)
def test_one_plan_rolls_at_a_time(sentence: str) -> None:
    present, at_once, supersede, allowed = BESIDE[sentence]
    if allowed:
        plans.require_free(present, at_once=at_once, supersede=supersede)
        return
    with pytest.raises(plans.RollingError) as caught:
        plans.require_free(present, at_once=at_once, supersede=supersede)
    assert "--supersede" in caught.value.next_step


NUMBERS = {"plan-7": 7, "7": 7, "plan-": None, "seven": None, "-7": None, "٣": None, "1234567890": None}


@pytest.mark.parametrize("text", NUMBERS)
def test_names_of_plans(text: str) -> None:
    if NUMBERS[text] is not None:
        assert plans.number_of(text) == NUMBERS[text]
        return
    with pytest.raises(plans.PlanUnknownError):
        plans.number_of(text)


TERMS: dict[str, tuple[dict[str, object], str]] = {
    "the usual": ({}, ""),
    "other stages": ({"percents": [10, 50, 100]}, ""),
    "one stage": ({"percents": [100]}, ""),
    "stages that do not end with everybody": ({"percents": [5, 25]}, "percents"),
    "stages that fall": ({"percents": [25, 5, 100]}, "percents"),
    "no stage": ({"percents": []}, "percents"),
    "too many stages": ({"percents": list(range(90, 101))}, "percents"),
    "a stage of nobody": ({"percents": [0, 100]}, "percents"),
    "stages that are no numbers": ({"percents": [True, 100]}, "percents"),
    "stages that are no list": ({"percents": 100}, "percents"),
    "the shortest soak": ({"soak_seconds": 1}, ""),
    "no soak": ({"soak_seconds": 0}, "soak_seconds"),
    "a soak of more than a week": ({"soak_seconds": 7 * 86_400 + 1}, "soak_seconds"),
    "the longest wait for an answer": ({"answer_seconds": 86_400}, ""),
    "a longer one": ({"answer_seconds": 86_401}, "answer_seconds"),
    "no failure at all": ({"failed_permille": 0}, ""),
    "more than all": ({"failed_permille": 1001}, "failed_permille"),
    "no request is enough": ({"least_requests": 0}, "least_requests"),
    "a text": ({"soak_seconds": "60"}, "soak_seconds"),
    "something else": ({"speed": 5}, "speed"),
}


@pytest.mark.parametrize("sentence", TERMS)
def test_terms_within_bounds(sentence: str) -> None:
    changes, field = TERMS[sentence]
    if not field:
        made = overridden(RolloutTerms(), changes)
        assert overridden(RolloutTerms(), plain(made)) == made == checked(made)
        return
    with pytest.raises(RolloutTermsError) as caught:
        overridden(RolloutTerms(), changes)
    assert caught.value.field == field


def test_errors_name_the_next_command() -> None:
    with pytest.raises(ControlPlaneError) as caught:
        plans.withdrawn(at(S.ROLLING, stage=5), "no", 1)
    assert "release halt plan-3" in caught.value.next_step
