"""Fields are only added: peers of version N and N-1 speak to each other."""

import copy
import json
from collections.abc import Callable

import pytest

from tests.unit.wire.wire_schema import SNAPSHOT, Schema, breaking_changes, describe


def test_the_wire_breaks_no_peer_that_speaks_the_snapshot() -> None:
    assert breaking_changes(json.loads(SNAPSHOT.read_text()), describe()) == []


def test_the_snapshot_is_complete() -> None:
    assert json.loads(SNAPSHOT.read_text()) == describe(), "python -m tests.unit.wire.wire_schema"


def _rename_field(schema: Schema) -> None:
    schema["messages"]["Hello"]["4"][0] = "boot"


def _move_field(schema: Schema) -> None:
    schema["messages"]["Hello"]["40"] = schema["messages"]["Hello"].pop("4")


def _retype_field(schema: Schema) -> None:
    schema["messages"]["Offer"]["4"][1] = "string"


def _unrepeat_field(schema: Schema) -> None:
    schema["messages"]["AppendRequest"]["3"][2] = False


def _leave_oneof(schema: Schema) -> None:
    schema["messages"]["SyncUp"]["2"][4] = ""


def _drop_message(schema: Schema) -> None:
    del schema["messages"]["Nack"]


def _renumber_status(schema: Schema) -> None:
    schema["enums"]["WitnessStatus"]["410"] = schema["enums"]["WitnessStatus"].pop("409")


def _drop_method(schema: Schema) -> None:
    del schema["methods"]["Audit.Root"]


def _stop_streaming(schema: Schema) -> None:
    schema["methods"]["Sync.Sync"][2] = False


PLANTED: dict[str, tuple[Callable[[Schema], None], str]] = {
    "a field gets another name": (_rename_field, "Hello number 4"),
    "a field gets another number": (_move_field, "Hello number 4"),
    "a field gets another type": (_retype_field, "Offer number 4"),
    "a repeated field becomes single": (_unrepeat_field, "AppendRequest number 3"),
    "a field leaves its oneof": (_leave_oneof, "SyncUp number 2"),
    "a message goes": (_drop_message, "Nack is gone"),
    "an enum value gets another number": (_renumber_status, "WitnessStatus number 409"),
    "a method goes": (_drop_method, "method Audit.Root"),
    "a stream becomes a call": (_stop_streaming, "method Sync.Sync"),
}


@pytest.mark.parametrize("change", PLANTED)
def test_a_planted_change_is_caught(change: str) -> None:
    plant, named = PLANTED[change]
    after = copy.deepcopy(describe())
    plant(after)
    found = breaking_changes(describe(), after)
    assert len(found) == 1
    assert found[0].startswith(named)


def test_an_added_field_message_and_method_break_nobody() -> None:
    after = copy.deepcopy(describe())
    after["messages"]["Hello"]["99"] = ["zone", "string", False, "", ""]
    after["messages"]["Extra"] = {}
    after["methods"]["Sync.Extra"] = ["Hello", "Offer", False, False]
    assert breaking_changes(describe(), after) == []
