"""Steps on SQLite files: ``user_version`` counts those that a file has seen, and each is a transaction of its own."""

import sqlite3
from enum import StrEnum

from controlplane.store.errors import SchemaError
from controlplane.store.migrations.listing import STEPS
from controlplane.store.migrations.step import Step, sqlite_down, sqlite_up

APPLICATION_ID = 0x4F504350  # "OPCP": tells our files from other SQLite files, and from those of first drafts


class FileKind(StrEnum):
    """What a file holds."""

    REGISTRY = "registry"
    ORG = "org"


def bring(link: sqlite3.Connection, kind: FileKind, name: str, steps: int = len(STEPS)) -> tuple[int, int]:
    """Bring a file to the schema after so many steps; several processes may try at once.

    Args:
        link: outside a transaction.
        kind: which part of each step is the file's.
        name: of the file, for errors.
        steps: up or down to these.

    Returns:
        Steps that the file had seen before, and those that it has seen now.

    Raises:
        SchemaError: the file was written by a newer version of this program, or is none of ours.
    """
    before = at = seen(link, name)
    while at != steps:
        up = at < steps
        step = STEPS[at if up else at - 1]
        _run(link, step, kind, up=up, expected=at)
        at = seen(link, name)
    return before, at


def seen(link: sqlite3.Connection, name: str) -> int:
    """Steps that a file has seen. Raises SchemaError."""
    version, application = (_pragma(link, pragma) for pragma in ("user_version", "application_id"))
    if version > len(STEPS):
        raise SchemaError(
            f"the database {name} was written by a newer version of this program",
            field=name,
            next_step="run the newer version, or go back with it first: controlplane migrate --to REVISION --down",
        )
    if version and application != APPLICATION_ID:
        raise SchemaError(
            f"the file {name} is no database of a control plane, or one of a version before the first release",
            field=name,
            next_step="make a new control plane: controlplane init --state DIR",
        )
    return version


def _run(link: sqlite3.Connection, step: Step, kind: FileKind, *, up: bool, expected: int) -> None:
    parts = step.registry if kind is FileKind.REGISTRY else step.org
    link.execute("BEGIN IMMEDIATE")
    try:
        if _pragma(link, "user_version") == expected:  # no other process was faster
            for statement in sqlite_up(parts) if up else sqlite_down(parts):
                link.execute(statement)
            link.execute(f"PRAGMA user_version={expected + (1 if up else -1):d}")
            link.execute(f"PRAGMA application_id={APPLICATION_ID:d}")
        link.execute("COMMIT")
    except BaseException:
        link.execute("ROLLBACK")
        raise


def _pragma(link: sqlite3.Connection, name: str) -> int:
    return int(link.execute(f"PRAGMA {name}").fetchone()[0])
