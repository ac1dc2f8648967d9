"""Why a decision came out: every rule in the order of evaluation, and what kept it from firing.

The decision is `evaluate`'s own. The steps are read from the document condition by condition, which is slow and uses
no generated code, so a disagreement between the two would show (tests/property/test_policy_laws.py).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from outpost.core.decision import Action, Decision, Direction, Features
from outpost.core.policy.compile import Program, chain_of, in_sequence, is_required, reference
from outpost.core.policy.document import Combining, Conditions, Pack, PolicyDocument, Rule
from outpost.core.policy.evaluate import evaluate
from outpost.core.policy.globs import glob_matches, model_key
from outpost.core.policy.judge import Entities, counted_types, index_entities


class Outcome(StrEnum):
    """What became of one rule."""

    FIRED = "fired"
    NOT_MATCHED = "not_matched"
    NOTHING_TO_REDACT = "nothing_to_redact"
    OTHER_DIRECTION = "other_direction"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Step:
    """One rule in a trace.

    Attributes:
        failed: names of the conditions that did not hold, when the outcome is NOT_MATCHED; never their values.
    """

    pack: str
    rule: str
    sequence: int
    action: Action
    required: bool
    outcome: Outcome
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A decision with the steps that led to it.

    Attributes:
        digest: of the policy that decided.
        chain: pack ids of the caller's chain, in order.
        steps: required rules first, then the rules of the chain, whether reached or not.
    """

    direction: Direction
    digest: str
    chain: tuple[str, ...]
    steps: tuple[Step, ...]
    decision: Decision


def explain(program: Program, features: Features) -> Trace:
    """Evaluate and tell the way. Total, as `evaluate` is; about twenty times slower."""
    chain = chain_of(program.document, features.user, features.user_groups)
    return Trace(
        direction=features.direction,
        digest=program.digest,
        chain=chain,
        steps=tuple(_steps(program.document, chain, features)),
        decision=evaluate(program, features),
    )


def _steps(document: PolicyDocument, chain: tuple[str, ...], features: Features) -> Iterator[Step]:
    entities = index_entities(features.entities)
    ended = False
    for pack in document.packs:
        for rule in in_sequence(pack):
            if is_required(pack, rule):
                step = _step(pack, rule, features, entities)
                ended = ended or (step.outcome is Outcome.FIRED and rule.action is Action.BLOCK)
                yield step
    first_applicable = document.combining is Combining.FIRST_APPLICABLE
    packs = {pack.id: pack for pack in document.packs}
    for pack_id in chain:
        pack = packs[pack_id]
        for rule in in_sequence(pack):
            if is_required(pack, rule):
                continue
            if ended:
                yield _outcome(pack, rule, Outcome.NOT_REACHED)
                continue
            step = _step(pack, rule, features, entities)
            terminal = rule.action is not Action.REDACT
            ended = first_applicable and terminal and step.outcome is Outcome.FIRED
            yield step


def _step(pack: Pack, rule: Rule, features: Features, entities: Entities) -> Step:
    if not rule.applies_to.covers(features.direction):
        return _outcome(pack, rule, Outcome.OTHER_DIRECTION)
    failed = failed_conditions(rule.conditions, features, entities, reference(pack, rule))
    if failed:
        return _outcome(pack, rule, Outcome.NOT_MATCHED, failed)
    if rule.action is Action.REDACT and not entities:
        return _outcome(pack, rule, Outcome.NOTHING_TO_REDACT)
    return _outcome(pack, rule, Outcome.FIRED)


def _outcome(pack: Pack, rule: Rule, outcome: Outcome, failed: tuple[str, ...] = ()) -> Step:
    return Step(pack.id, rule.id, rule.sequence, rule.action, is_required(pack, rule), outcome, failed)


def failed_conditions(
    conditions: Conditions, features: Features, entities: Entities, reference_id: str
) -> tuple[str, ...]:
    """Return the names of the conditions that do not hold, in the order of the document's fields."""
    failed = [
        name
        for name, holds in _CONDITIONS.items()
        if getattr(conditions, name) is not None and not holds(conditions, features)
    ]
    if conditions.content_regex and reference_id not in features.content_matches:
        failed.append("content_regex")
    return (*failed, *_failed_entities(conditions, entities))


def _failed_entities(conditions: Conditions, entities: Entities) -> tuple[str, ...]:
    """Name the first of the three entity fields that left too few findings."""
    if not conditions.needs_entities:
        return ()
    types = frozenset(conditions.entity_types) if conditions.entity_types else None
    if not counted_types(entities, types, 0, 1):
        return ("entity_types",)
    if not counted_types(entities, types, conditions.confidence_percent, 1):
        return ("entity_confidence_min",)
    if not counted_types(entities, types, conditions.confidence_percent, conditions.entity_count_min or 1):
        return ("entity_count_min",)
    return ()


def _model_holds(conditions: Conditions, features: Features) -> bool:
    return any(glob_matches(glob, model_key(features.model)) for glob in conditions.models or ())


_CONDITIONS: Mapping[str, Callable[[Conditions, Features], bool]] = {
    "user_groups": lambda c, f: bool(set(c.user_groups or ()) & set(f.user_groups)),
    "agents": lambda c, f: f.agent in (c.agents or ()),
    "providers": lambda c, f: f.provider in (c.providers or ()),
    "models": _model_holds,
    "channels": lambda c, f: f.channel in (c.channels or ()),
    "risk_min": lambda c, f: f.risk >= (c.risk_min or 0),
    "intents": lambda c, f: f.intent in (c.intents or ()),
    "countries": lambda c, f: f.country.upper() in (c.countries or ()),
    "anonymous_ip": lambda c, f: f.anonymous_ip is c.anonymous_ip,
    "data_classes": lambda c, f: f.data_class in (c.data_classes or ()),
    "tokens_min": lambda c, f: f.tokens >= (c.tokens_min or 0),
    "tokens_max": lambda c, f: f.tokens <= (c.tokens_max or 0),
}
