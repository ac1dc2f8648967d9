"""Rules become one generated Python function.

Why generate: thirty rules cost a few microseconds as straight code, and several times that as closures or as data that
is interpreted. Why this is safe: the source is built from fixed fragments, indexes and bounded integers only; every
text of the document is bound as a constant in the function's namespace, which holds no built-in, so no document can
become code.

A generated function has the type `Judge`. It appends to ``fired`` the index of each rule that fired and to ``redact``
the entity types to replace. With ``stop_at_first`` it returns the index of the first terminal rule that fired,
otherwise it runs through; it returns -1 when it reached the end. It cannot raise for any `Features`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from outpost.core.decision import Action, EntityCount, Features
from outpost.core.policy.document import Conditions, Rule
from outpost.core.policy.globs import glob_matches, model_key

Entities = Mapping[str, EntityCount]
Judge = Callable[[Features, Entities, list[int], list[str]], int]

# Rules with so many types or fewer ask for each by itself: measured, a look-up costs a tenth of the loop's call.
_UNROLLED_TYPES = 8


@dataclass(frozen=True, slots=True)
class NumberedRule:
    """A rule with its index in the program and its id "pack/rule", under which content matches are reported."""

    index: int
    reference: str
    rule: Rule


def index_entities(entities: Sequence[EntityCount]) -> dict[str, EntityCount]:
    """Index findings by type; several entries of one type add up, types without a finding are left out."""
    index = {entity.entity_type: entity for entity in entities if entity.count > 0}
    if len(index) == len(entities):
        return index
    index = {}
    for entity in entities:
        if entity.count > 0:
            known = index.get(entity.entity_type, EntityCount(entity.entity_type, 0, 0))
            count, confidence = known.count + entity.count, max(known.confidence, entity.confidence)
            index[entity.entity_type] = EntityCount(entity.entity_type, count, confidence)
    return index


def counted_types(entities: Entities, types: frozenset[str] | None, percent: int, least: int) -> list[str]:
    """Return the found types that a rule counts, or none when fewer than ``least`` findings of them are there.

    Args:
        entities: found entities by type.
        types: types the rule names, None for every type.
        percent: least confidence.
        least: findings needed in total over the counted types.
    """
    total = 0
    counted = []
    for entity_type, entity in entities.items():
        if entity.confidence >= percent and (types is None or entity_type in types):
            counted.append(entity_type)
            total += entity.count
    return counted if total >= least else []


def generate(rules: Sequence[NumberedRule], *, stop_at_first: bool) -> Judge:
    """Compile rules, in the order given, to one function."""
    constants = _Constants()
    lines = ["def judge(f, entities, fired, redact):"]
    if any(numbered.rule.conditions.models for numbered in rules):
        lines.append("    model = model_key(f.model)")
    for numbered in rules:
        tests, effect = _tests(numbered, constants), ""
        if numbered.rule.action is Action.REDACT:
            test, effect = _redaction(numbered.rule.conditions, constants)
            tests.append(test)
        elif numbered.rule.conditions.needs_entities:
            tests.append(_entity_test(numbered.rule.conditions, constants))
        if stop_at_first and not effect:
            effect = f"return {numbered.index:d}"
        lines.append(f"    if {' and '.join(tests) or 'True'}:")
        lines.append(f"        fired.append({numbered.index:d})")
        if effect:
            lines.append(f"        {effect}")
    lines.append("    return -1")
    # Nothing but the fragments above and decimal integers is in the source.
    exec(compile("\n".join(lines), "<policy>", "exec"), constants.namespace)  # noqa: S102
    return cast(Judge, constants.namespace["judge"])


class _Constants:
    """The namespace of a generated function: texts of the document are bound here, never written into the source."""

    def __init__(self) -> None:
        self.namespace: dict[str, object] = {"__builtins__": {}, "counted_types": counted_types, "model_key": model_key}

    def bind(self, value: object) -> str:
        """Bind a value to a fresh name and return the name."""
        name = f"C{len(self.namespace)}"
        self.namespace[name] = value
        return name


def _tests(numbered: NumberedRule, constants: _Constants) -> list[str]:
    """Return the tests of all conditions but the entities, cheap ones first."""
    conditions = numbered.rule.conditions
    tests = [
        f"{field} {operator} {bound:d}"
        for field, operator, bound in (
            ("f.risk", ">=", conditions.risk_min),
            ("f.tokens", ">=", conditions.tokens_min),
            ("f.tokens", "<=", conditions.tokens_max),
        )
        if bound is not None
    ]
    if conditions.anonymous_ip is not None:
        tests.append("f.anonymous_ip" if conditions.anonymous_ip else "not f.anonymous_ip")
    tests += [
        f"{field} in {constants.bind(frozenset(values))}"
        for field, values in (
            ("f.channel", conditions.channels),
            ("f.data_class", conditions.data_classes),
            ("f.provider", conditions.providers),
            ("f.agent", conditions.agents),
            ("f.intent", conditions.intents),
            ("f.country.upper()", conditions.countries),
        )
        if values
    ]
    if conditions.models:
        tests.append(_model_test(conditions.models, constants))
    if conditions.user_groups:
        tests.append(f"not {constants.bind(frozenset(conditions.user_groups))}.isdisjoint(f.user_groups)")
    if conditions.content_regex:
        tests.append(f"{constants.bind(numbered.reference)} in f.content_matches")
    return tests


def _model_test(globs: Sequence[str], constants: _Constants) -> str:
    """Return the test of the model, in the cheapest form that the globs allow."""
    if not any("*" in glob for glob in globs):
        return f"model in {constants.bind(frozenset(globs))}"
    if all(glob.find("*") == len(glob) - 1 for glob in globs):
        return f"model.startswith({constants.bind(tuple(glob[:-1] for glob in globs))})"

    def matches_one(model: str) -> bool:
        return any(glob_matches(glob, model) for glob in globs)

    return f"{constants.bind(matches_one)}(model)"


def _entity_test(conditions: Conditions, constants: _Constants) -> str:
    """Return the test of the entities; the common forms avoid a call into Python."""
    types, percent = conditions.entity_types, conditions.confidence_percent
    least = conditions.entity_count_min or 1
    if least == 1 and not percent:
        return _present(conditions, constants)
    distinct = list(dict.fromkeys(types or ()))
    if len(distinct) == 1 or (least == 1 and 1 < len(distinct) <= _UNROLLED_TYPES):
        return "(" + " or ".join(_type_test(name, percent, least, constants) for name in distinct) + ")"
    return f"{_present(conditions, constants)} and {_counted(conditions, constants)}"


def _type_test(name: str, percent: int, least: int, constants: _Constants) -> str:
    counted = f" and e.count >= {least:d}" if least > 1 else ""
    return f"(e := entities.get({constants.bind(name)})) is not None and e.confidence >= {percent:d}{counted}"


def _redaction(conditions: Conditions, constants: _Constants) -> tuple[str, str]:
    """Return the test of the entities and the statement that notes what to redact."""
    types = conditions.entity_types
    if types and len(set(types)) == 1:
        return _entity_test(conditions, constants), f"redact.append({constants.bind(types[0])})"
    return f"{_present(conditions, constants)} and (types := {_counted(conditions, constants)})", "redact += types"


def _present(conditions: Conditions, constants: _Constants) -> str:
    """Return the test that any finding of a rule's types is there: most rules find none."""
    types = conditions.entity_types
    return f"not {constants.bind(frozenset(types))}.isdisjoint(entities)" if types else "entities"


def _counted(conditions: Conditions, constants: _Constants) -> str:
    types = constants.bind(frozenset(conditions.entity_types)) if conditions.entity_types else "None"
    least = conditions.entity_count_min or 1
    return f"counted_types(entities, {types}, {conditions.confidence_percent:d}, {least:d})"
