"""Canonical JSON: one value, one sequence of bytes.

UTF-8, keys sorted by code point, no white space, no floats, no duplicate keys. What is not in this form is refused,
not normalised: then a file cannot be altered in any byte without it being another file.
"""

import json
from collections.abc import Mapping, Sequence

from outpost.core.bundle.errors import MalformedError
from outpost.core.bundle.limits import MAX_INTEGER, MAX_JSON_DEPTH

_NEXT_STEP = "Publish the document again with the control plane of this version."


def encode(value: Mapping[str, object]) -> bytes:
    """Bytes of a JSON object. Values: objects, arrays, strings, integers, booleans, null."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(data: bytes, name: str) -> dict[str, object]:
    """Read one canonical JSON object from untrusted bytes. The caller has bounded their size.

    Args:
        data: bytes as received.
        name: file to blame in errors.

    Raises:
        MalformedError: not UTF-8, not JSON, not an object, not canonical, too deep, or a number out of range.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
            parse_int=_bounded,
        )
        if not isinstance(value, dict):
            raise _malformed(name, "it is not a JSON object")
        _check_depth(value, name)
        canonical = encode(value) == data
    except RecursionError:
        raise _malformed(name, "it is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeError and our own hooks
        raise _malformed(name, f"it is not JSON of the expected kind ({type(error).__name__})") from None
    if not canonical:
        raise _malformed(name, "it is JSON, but not in canonical form")
    return value


def _malformed(name: str, cause: str) -> MalformedError:
    return MalformedError(f"{name} cannot be read: {cause}.", field=name, next_step=_NEXT_STEP)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _refuse_number(text: str) -> object:
    raise ValueError("number that is not an integer")


def _bounded(text: str) -> int:
    if len(text) > 17:  # sign and 16 digits: MAX_INTEGER has 16
        raise ValueError("integer too long")
    number = int(text)
    if abs(number) > MAX_INTEGER:
        raise ValueError("integer out of range")
    return number


def _check_depth(value: object, name: str) -> None:
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise _malformed(name, "it is nested too deeply")
        level = [child for parent in level for child in _children(parent)]


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return [child for child in value.values() if isinstance(child, dict | list)]
    if isinstance(value, list):
        return [child for child in value if isinstance(child, dict | list)]
    return []
