"""Canonical JSON: one value, one sequence of bytes.

UTF-8, keys sorted by code point, no white space, no floats, no duplicate keys. What is not in this form is refused,
not normalised: then a file cannot be altered in any byte without it being another file.

A text that repeats a key, writes a number or a character in another way, or has bytes too many gives other bytes when
it is written again; so the comparison at the end finds all of that, and only floats, size and depth are looked for.
"""

from collections.abc import Mapping

import orjson

from outpost.core.bundle.errors import MalformedError
from outpost.core.bundle.limits import MAX_INTEGER, MAX_JSON_DEPTH

_NEXT_STEP = "Publish the document again with the control plane of this version."


def encode(value: Mapping[str, object]) -> bytes:
    """Bytes of a JSON object. Values: objects, arrays, strings, integers, booleans, null."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def decode(data: bytes, name: str) -> dict[str, object]:
    """Read one canonical JSON object from untrusted bytes. The caller has bounded their size.

    Args:
        data: bytes as received.
        name: file to blame in errors.

    Raises:
        MalformedError: not UTF-8, not JSON, not an object, not canonical, too deep, or a number out of range.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _malformed(name, "it is not JSON") from None
    if not isinstance(value, dict):
        raise _malformed(name, "it is not a JSON object")
    fault = _fault(value)
    if fault:
        raise _malformed(name, fault)
    if encode(value) != data:
        raise _malformed(name, "it is JSON, but not in canonical form")
    return value


def _malformed(name: str, cause: str) -> MalformedError:
    return MalformedError(f"{name} cannot be read: {cause}.", field=name, next_step=_NEXT_STEP)


def _fault(value: dict[str, object]) -> str:
    """What no document may hold: a float, an integer out of range, too deep a nesting."""
    level: list[dict[str, object] | list[object]] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            return "it is nested too deeply"
        below: list[dict[str, object] | list[object]] = []
        for parent in level:
            for child in parent.values() if isinstance(parent, dict) else parent:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)  # type: ignore[arg-type]
                elif kind is float or (kind is int and abs(child) > MAX_INTEGER):  # type: ignore[arg-type]
                    return "it holds a number that is not an integer of at most 53 bits"
        level = below
    return ""
