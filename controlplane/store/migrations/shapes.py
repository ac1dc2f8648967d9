"""Tables as the steps leave them: names, columns and keys, read out of the steps themselves."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from controlplane.store.migrations.listing import STEPS, position
from controlplane.store.migrations.step import Change, Step, Table

_COLUMN = re.compile(r"(\w+) (?:TEXT|BIGINT|BYTEA)\b(.*)", re.DOTALL)
_KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)")
_ADDED = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+) ")
_ORG = "org"


@dataclass(frozen=True, slots=True)
class Shape:
    """A table.

    Attributes:
        columns: names, without the org.
        key: those of the primary key, in order, without the org.
        of_org: its rows belong to orgs.
        large: rows of many KiB.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    of_org: bool
    large: bool


@cache
def shapes_at(revision: str) -> tuple[Shape, ...]:
    """Every table after a revision, in an order in which rows find what they refer to. Raises LookupError."""
    found: dict[str, Shape] = {}
    for step in STEPS[: position(revision)]:
        for part in _parts(step):
            if isinstance(part, Table):
                found[part.name] = _shape(part)
            elif added := _ADDED.match(part.up):
                table = found[added[1]]
                found[added[1]] = replace(table, columns=(*table.columns, added[2]))
    return tuple(found.values())


def _parts(step: Step) -> Iterator[Table | Change]:
    return (part for part in (*step.registry, *step.org) if isinstance(part, Table | Change))


def _shape(table: Table) -> Shape:
    columns: list[str] = []
    key: list[str] = []
    for line in _lines(table.body):
        if column := _COLUMN.match(line):
            columns.append(column[1])
            if "PRIMARY KEY" in column[2]:
                key = [column[1]]
        elif named := _KEY.match(line):
            key = [name.strip() for name in named[1].split(",")]
    return Shape(table.name, _own(columns), _own(key), table.of_org, table.large)


def _own(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name != _ORG)


def _lines(body: str) -> Iterator[str]:
    """Columns and constraints of a table: parts between commas that stand in no bracket."""
    depth, start = 0, 0
    for at, character in enumerate(body):
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            yield body[start:at].strip()
            start = at + 1
    yield body[start:].strip()
