"""The one evaluator: gateway, simulator, dry run, replay and control plane all call `evaluate` on a program.

Order. First every required rule of the document by deny-overrides, whatever the chains say. Then the caller's chain:
his own packs, his groups' by name, the org's; each pack once, its rules by ascending sequence, combined as the document
says. When no terminal rule of the chain fired, its result is the document's default. The stricter of the two results
is the decision, the required one in a tie: so a required rule can never be weakened, and never weakens.
A required BLOCK ends the evaluation, since nothing is stricter. REDACT adds up on the way and decides nothing.
"""

from collections.abc import Sequence

from outpost.core.decision import Action, Decision, Features
from outpost.core.policy.compile import STRICTNESS, CompiledRule, Plan, Program, chain_of
from outpost.core.policy.document import Combining
from outpost.core.policy.judge import Entities, Judge, index_entities

# Ids of rules that one decision lists: 64 of 81 bytes fit the audit record twice over; the deciding rule is named in
# any case by pack and rule.
MAX_MATCHED = 64

_NONE = -1


def evaluate(program: Program, features: Features) -> Decision:
    """Judge one direction of one request. Total: it returns a decision for any features and never raises.

    Args:
        program: a compiled policy.
        features: what is known of the request; counts and confidences are whole numbers.
    """
    plan = program.plans[features.direction]
    entities = index_entities(features.entities)
    fired: list[int] = []
    redact: list[str] = []
    decider = _NONE
    if plan.required is not None:
        plan.required(features, entities, fired, redact)
        decider = _strictest(program.rules, fired)
        if decider != _NONE and program.rules[decider].strictness == STRICTNESS[Action.BLOCK]:
            return _decision(program.rules[decider].decision, program.rules, fired, redact)
    chain = plan.org_chain
    if program.document.user_chains:
        chain = _own_chain(program, plan, features)
    if program.document.combining is Combining.FIRST_APPLICABLE:
        chosen = _first(chain, features, entities, fired, redact)
    else:
        before = len(fired)
        for judge in chain:
            judge(features, entities, fired, redact)
        chosen = _strictest(program.rules, fired[before:])
    verdict = plan.default if chosen == _NONE else program.rules[chosen].decision
    if decider != _NONE and program.rules[decider].strictness >= STRICTNESS[verdict.action]:
        verdict = program.rules[decider].decision
    return _decision(verdict, program.rules, fired, redact) if fired else verdict


def _own_chain(program: Program, plan: Plan, features: Features) -> tuple[Judge, ...]:
    ids = chain_of(program.document, features.user, features.user_groups)
    return tuple(plan.packs[pack_id] for pack_id in ids if pack_id in plan.packs)


def _first(chain: Sequence[Judge], features: Features, entities: Entities, fired: list[int], redact: list[str]) -> int:
    for judge in chain:
        index = judge(features, entities, fired, redact)
        if index != _NONE:
            return index
    return _NONE


def _strictest(rules: Sequence[CompiledRule], fired: Sequence[int]) -> int:
    """Return the strictest terminal rule, the first in a tie, or -1."""
    best, strictness = _NONE, 0
    for index in fired:
        if rules[index].strictness > strictness:
            best, strictness = index, rules[index].strictness
    return best


def _decision(
    verdict: Decision, rules: Sequence[CompiledRule], fired: Sequence[int], redact: Sequence[str]
) -> Decision:
    """Complete a verdict with what else fired; redactions alone turn an allowing default into REDACT."""
    if redact and verdict.action is Action.ALLOW and not verdict.pack:
        verdict = next(rules[index].decision for index in fired if not rules[index].strictness)
    matched = tuple(rules[index].reference for index in fired[:MAX_MATCHED])
    if not redact and matched == verdict.matched:
        return verdict
    # Built directly: dataclasses.replace costs as much as thirty rules.
    return Decision(
        action=verdict.action,
        redact=tuple(dict.fromkeys(redact)),
        pack=verdict.pack,
        rule=verdict.rule,
        sequence=verdict.sequence,
        reason=verdict.reason,
        code=verdict.code,
        route_to=verdict.route_to,
        matched=matched,
    )
