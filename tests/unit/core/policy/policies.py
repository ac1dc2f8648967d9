"""Small policies as plain data, for tests to change."""

import json
from typing import Any

from outpost.core.decision import Direction, EntityCount, Features
from outpost.core.policy.compile import Program, compile_document
from outpost.core.policy.document import PolicyDocument, parse_document

Data = dict[str, Any]


def rule(rule_id: str, action: str, **fields: Any) -> Data:
    """One rule for both directions; keyword arguments that are conditions go there."""
    own = {"sequence", "applies_to", "message", "route_to", "required"}
    made: Data = {"id": rule_id, "sequence": 10, "applies_to": "both", "action": action}
    made |= {name: value for name, value in fields.items() if name in own}
    conditions = {name: value for name, value in fields.items() if name not in own}
    return made | ({"conditions": conditions} if conditions else {})


def pack(pack_id: str, *rules: Data, kind: str = "custom", **fields: Any) -> Data:
    """One pack; rules get the sequences 10, 20 ... unless they say another."""
    numbered = [
        item | {"sequence": 10 * (place + 1)} if item["sequence"] == 10 else item for place, item in enumerate(rules)
    ]
    return {"id": pack_id, "name": pack_id.title(), "kind": kind, "rules": numbered} | fields


def policy(*packs: Data, **fields: Any) -> Data:
    """One document; every pack is in the org's chain unless ``org_chain`` is given."""
    return {
        "schema": "outpost.policy/1",
        "org": "acme",
        "default": {"input": "ALLOW", "output": "ALLOW"},
        "combining": "first_applicable",
        "packs": list(packs),
        "org_chain": [item["id"] for item in packs],
    } | fields


def parsed(data: Data) -> PolicyDocument:
    """Parse a document given as data."""
    return parse_document(json.dumps(data).encode())


def compiled(data: Data) -> Program:
    """Parse and compile a document given as data."""
    return compile_document(parsed(data))


def asked(direction: str = "input", *found: tuple[str, int, int], **fields: Any) -> Features:
    """Features; findings are (type, count, confidence)."""
    entities = tuple(EntityCount(*item) for item in found)
    return Features(direction=Direction(direction), entities=entities, **fields)
