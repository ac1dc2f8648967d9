"""A second, slow reading of docs/policy.md: it takes the document as plain data and shares no code with the product."""

import re
from collections.abc import Iterator
from typing import Any

from outpost.core.decision import Action, Decision, Features

Data = dict[str, Any]

WEAKEST_FIRST = ["ALLOW", "ROUTE_TO", "ALLOW_WITH_OVERRIDE", "PROMPT", "CANCEL", "BLOCK"]
CODE = {
    "ALLOW": "policy.allowed",
    "BLOCK": "policy.blocked",
    "CANCEL": "policy.cancelled",
    "REDACT": "policy.redacted",
    "ROUTE_TO": "policy.routed",
    "PROMPT": "policy.held",
    "ALLOW_WITH_OVERRIDE": "policy.override_required",
}


def counting(conditions: Data, features: Features) -> tuple[list[str], int]:
    """Types that count for a rule, in the order of the findings, and how many findings they have."""
    totals: dict[str, list[int]] = {}
    for entity in features.entities:
        if entity.count > 0:
            known = totals.setdefault(entity.entity_type, [0, 0])
            known[0] += entity.count
            known[1] = max(known[1], entity.confidence)
    wanted = conditions.get("entity_types")
    least = round(float(conditions.get("entity_confidence_min", 0)) * 100)
    types = [name for name, (_, sure) in totals.items() if sure >= least and (wanted is None or name in wanted)]
    return types, sum(totals[name][0] for name in types)


def holds(rule_id: str, conditions: Data, features: Features) -> bool:
    """Whether all conditions of a rule hold."""
    lists = {
        "agents": features.agent,
        "providers": features.provider,
        "channels": features.channel,
        "intents": features.intent,
        "countries": features.country.upper(),
        "data_classes": features.data_class,
    }
    for name, value in conditions.items():
        if name in lists and lists[name] not in value:
            return False
        if name == "user_groups" and not any(group in value for group in features.user_groups):
            return False
        if name == "models" and not any(glob(item, features.model) for item in value):
            return False
        if name == "content_regex" and rule_id not in features.content_matches:
            return False
        if name == "risk_min" and features.risk < value:
            return False
        if name == "tokens_min" and features.tokens < value:
            return False
        if name == "tokens_max" and features.tokens > value:
            return False
        if name == "anonymous_ip" and features.anonymous_ip != value:
            return False
    asks = (
        "entity_types" in conditions
        or "entity_count_min" in conditions
        or float(conditions.get("entity_confidence_min", 0)) > 0
    )
    return not asks or counting(conditions, features)[1] >= conditions.get("entity_count_min", 1)


def glob(pattern: str, text: str) -> bool:
    """Match with the standard library's engine."""
    return (
        re.fullmatch(".*".join(re.escape(part) for part in pattern.lower().split("*")), text.lower(), re.DOTALL)
        is not None
    )


def ordered(pack: Data, direction: str, *, required: bool) -> Iterator[tuple[str, Data]]:
    """Rules of a pack that take part, with their ids."""
    for rule in sorted(pack["rules"], key=lambda item: item["sequence"]):
        is_required = pack.get("required", False) or rule.get("required", False)
        if is_required is required and rule["applies_to"] in (direction, "both"):
            yield f"{pack['id']}/{rule['id']}", rule


def reference_decision(document: Data, features: Features) -> Decision:
    """Decide as docs/policy.md says."""
    fired: list[tuple[str, Data]] = []
    redacted: list[str] = []

    def ask(rule_id: str, rule: Data) -> bool:
        """Ask one rule; True when it is terminal and fired."""
        conditions = rule.get("conditions", {})
        if not holds(rule_id, conditions, features):
            return False
        if rule["action"] != "REDACT":
            fired.append((rule_id, rule))
            return True
        types = counting(conditions, features)[0]
        if types:
            fired.append((rule_id, rule))
            redacted.extend(name for name in types if name not in redacted)
        return False

    for rule_id, rule in required_rules(document, features):
        ask(rule_id, rule)
    must = strictest(fired)
    if must and must[1]["action"] == "BLOCK":
        return finished(must, fired, redacted)
    before = len(fired)
    chosen = None
    for rule_id, rule in chain(document, features):
        if ask(rule_id, rule) and document["combining"] == "first_applicable":
            chosen = (rule_id, rule)
            break
    if document["combining"] == "deny_overrides":
        chosen = strictest(fired[before:])
    action = chosen[1]["action"] if chosen else document["default"][features.direction.value]
    return combined(must, chosen, action, fired, redacted)


def required_rules(document: Data, features: Features) -> Iterator[tuple[str, Data]]:
    """Required rules of all packs."""
    for pack in document["packs"]:
        yield from ordered(pack, features.direction.value, required=True)


def combined(
    must: tuple[str, Data] | None,
    chosen: tuple[str, Data] | None,
    action: str,
    fired: list[tuple[str, Data]],
    redacted: list[str],
) -> Decision:
    """The stricter of the required result and the chain's."""
    if must and WEAKEST_FIRST.index(must[1]["action"]) >= WEAKEST_FIRST.index(action):
        chosen = must
    if chosen is None and action == "ALLOW" and redacted:
        chosen = next(item for item in fired if item[1]["action"] == "REDACT")
    return finished(chosen, fired, redacted) if chosen else default(action, fired, redacted)


def chain(document: Data, features: Features) -> Iterator[tuple[str, Data]]:
    """Rules of the caller's chain that are not required."""
    chains = document.get("user_chains", {})
    names = [f"user:{features.user}", *(f"group:{group}" for group in sorted(features.user_groups))]
    seen = []
    for pack_id in [item for name in names for item in chains.get(name, [])] + document["org_chain"]:
        if pack_id not in seen:
            seen.append(pack_id)
            (pack,) = [item for item in document["packs"] if item["id"] == pack_id]
            yield from ordered(pack, features.direction.value, required=False)


def strictest(fired: list[tuple[str, Data]]) -> tuple[str, Data] | None:
    """The strictest terminal rule, the first in a tie."""
    terminal = [item for item in fired if item[1]["action"] != "REDACT"]
    return max(terminal, key=lambda item: WEAKEST_FIRST.index(item[1]["action"]), default=None)


def finished(chosen: tuple[str, Data], fired: list[tuple[str, Data]], redacted: list[str]) -> Decision:
    """A decision by a rule; the reason is not compared."""
    pack, _, name = chosen[0].partition("/")
    action = chosen[1]["action"]
    return Decision(
        action=Action(action),
        redact=tuple(redacted),
        pack=pack,
        rule=name,
        sequence=chosen[1]["sequence"],
        code=CODE[action],
        route_to=chosen[1].get("route_to", ""),
        matched=tuple(rule_id for rule_id, _ in fired[:64]),
    )


def default(action: str, fired: list[tuple[str, Data]], redacted: list[str]) -> Decision:
    """A decision by the default."""
    code = "policy.allowed" if action == "ALLOW" else "policy.default_blocked"
    matched = tuple(rule_id for rule_id, _ in fired[:64])
    return Decision(action=Action(action), redact=tuple(redacted), code=code, matched=matched)
