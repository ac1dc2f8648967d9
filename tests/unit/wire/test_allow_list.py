"""No message but those of inference.proto can carry prompt or answer text."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tests.unit.wire.wire_schema import PROTO, files, local_name, messages

ALLOW_LIST = Path(__file__).with_name("allow_list.toml")
CARRIES_TEXT = "outpost_wire/v1/inference.proto"  # the one exception: off by default, inside the customer's network
KINDS = frozenset(
    {
        *("address", "audit record", "certificate", "certificate request", "code", "digest", "field name"),
        *("identifier", "name", "one-time secret", "operator text", "public key", "random", "signature"),
        *("signed file", "signed metadata", "signed note", "signed order", "state", "version"),
    }
)
LARGEST_MAX = 65536  # bytes; a chunk of a fetched file. Anything larger goes by Fetch


def wire_fields() -> set[str]:
    """``Message.field`` of every string and bytes field outside inference.proto."""
    return {
        f"{local_name(message)}.{field.name}"
        for file in files()
        if file.name != CARRIES_TEXT
        for message in messages(file)
        for field in message.fields
        if field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
    }


def read_allow_list() -> dict[str, dict[str, Any]]:
    """``Message.field`` to its kind and maximum."""
    tables = tomllib.loads(ALLOW_LIST.read_text())
    return {f"{message}.{name}": entry for message, fields in tables.items() for name, entry in fields.items()}


def complaints(fields: set[str], allowed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What stands between the wire and the list."""
    found = [f"{name} is not listed" for name in sorted(fields - allowed.keys())]
    found += [f"{name} is listed but not on the wire" for name in sorted(allowed.keys() - fields)]
    for name, entry in allowed.items():
        if entry.get("kind") not in KINDS:
            found.append(f"{name} has an unknown kind")
        if not 0 < entry.get("max", 0) <= LARGEST_MAX:
            found.append(f"{name} has no sensible maximum")
    return found


def comment_of(message: str, field: str) -> str:
    """The comment beside a field in the source."""
    for path in sorted(PROTO.glob("*.proto")):
        body = re.search(rf"^message {message} \{{(.*?)^\}}", path.read_text(), re.DOTALL | re.MULTILINE)
        line = re.search(rf"\b{field} = \d+;\s*//(.*)", body[1]) if body else None
        if line:
            return line[1]
    return ""


def test_every_text_and_bytes_field_is_listed_and_no_entry_is_stale() -> None:
    assert complaints(wire_fields(), read_allow_list()) == []


@pytest.mark.parametrize("name", sorted(read_allow_list()))
def test_the_comment_in_the_source_states_the_maximum(name: str) -> None:
    message, field = name.split(".")
    assert str(read_allow_list()[name]["max"]) in re.findall(r"\d+", comment_of(message, field))


def test_a_field_that_nobody_listed_is_caught() -> None:
    assert complaints(wire_fields() | {"Status.last_prompt"}, read_allow_list()) == ["Status.last_prompt is not listed"]


def test_an_entry_without_a_field_is_caught() -> None:
    found = complaints(wire_fields() - {"Lock.reason"}, read_allow_list())
    assert found == ["Lock.reason is listed but not on the wire"]


def test_a_kind_for_prompts_is_caught() -> None:
    allowed = {**read_allow_list(), "Lock.reason": {"kind": "prompt text", "max": 64}}
    assert complaints(wire_fields(), allowed) == ["Lock.reason has an unknown kind"]


def test_a_field_without_a_bound_is_caught() -> None:
    allowed = {**read_allow_list(), "Lock.reason": {"kind": "code"}}
    assert complaints(wire_fields(), allowed) == ["Lock.reason has no sensible maximum"]
