"""The wire as plain data, and what would break a peer that still speaks an older one.

``python -m tests.unit.wire.wire_schema`` writes the snapshot anew; it refuses when that would hide a breaking change.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

ROOT = Path(__file__).resolve().parents[3]
PROTO = ROOT / "proto" / "outpost_wire" / "v1"
SNAPSHOT = ROOT / "tests" / "vectors" / "wire" / "v1.json"
TYPES = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}

Schema = dict[str, dict[str, Any]]


def files() -> list[FileDescriptor]:
    """Descriptors of every .proto file that is there."""
    return [
        importlib.import_module(f"outpost_wire.v1.{path.stem}_pb2").DESCRIPTOR for path in sorted(PROTO.glob("*.proto"))
    ]


def messages(file: FileDescriptor) -> Iterator[Descriptor]:
    """Every message of a file, nested ones too."""
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_types)


def local_name(descriptor: Any) -> str:
    """Name inside the package."""
    return str(descriptor.full_name.removeprefix("outpost_wire.v1."))


def describe_field(field: FieldDescriptor) -> list[Any]:
    """Everything about a field that another implementation depends on."""
    named = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else ""
    return [
        field.name,
        TYPES[field.type],
        bool(field.is_repeated),
        local_name(named) if named else "",
        oneof,
    ]


def describe() -> Schema:
    """The whole wire, keyed by numbers where numbers are what travels."""
    schema: Schema = {"messages": {}, "enums": {}, "methods": {}}
    for file in files():
        for message in messages(file):
            schema["messages"][local_name(message)] = {str(f.number): describe_field(f) for f in message.fields}
        for enum in file.enum_types_by_name.values():
            schema["enums"][local_name(enum)] = {str(v.number): v.name for v in enum.values}
        for service in file.services_by_name.values():
            for method in service.methods:
                schema["methods"][f"{local_name(service)}.{method.name}"] = [
                    local_name(method.input_type),
                    local_name(method.output_type),
                    method.client_streaming,
                    method.server_streaming,
                ]
    return schema


def breaking_changes(before: Schema, after: Schema) -> list[str]:
    """One sentence for each thing of ``before`` that ``after`` lacks or says differently. Additions are fine."""
    found = []
    for kind in ("messages", "enums"):
        for name, members in before[kind].items():
            if name not in after[kind]:
                found.append(f"{name} is gone")
                continue
            for number, was in members.items():
                now = after[kind][name].get(number)
                if now != was:
                    found.append(f"{name} number {number} was {was}, is {now}")
    for name, was in before["methods"].items():
        if after["methods"].get(name) != was:
            found.append(f"method {name} was {was}, is {after['methods'].get(name)}")
    return found


def main() -> None:
    """Write the snapshot."""
    after = describe()
    if SNAPSHOT.exists() and (broken := breaking_changes(json.loads(SNAPSHOT.read_text()), after)):
        sys.exit("breaking changes; make a v2 package instead:\n" + "\n".join(broken))
    SNAPSHOT.parent.mkdir(parents=True, exist_ok=True)
    SNAPSHOT.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
