"""What the tables work on: SQL inside one transaction, the same text for both engines.

Parameters are written ``$1``, ``$2`` ... In the space of an org, ``$1`` is always the org: the session binds it itself
and callers give the values from ``$2`` on. So every statement on an org's table says ``org = $1``, and none can be
given another org by mistake. Sessions without an org (the registry's) take all values from the caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from controlplane.ports.store import Heard
from controlplane.store.errors import ValueUnstorableError, refused

Value = str | int | bytes | None
Row = tuple[Value, ...]
MOST_INTEGER = (1 << 63) - 1  # BIGINT of both engines
NUL = "\x00"


@dataclass(frozen=True, slots=True)
class PerEngine:
    """A statement or a part of one that cannot be the same on both engines; ``statements`` names them all."""

    sqlite: str
    postgres: str


class Session(Protocol):
    """SQL inside one transaction."""

    @property
    def org(self) -> str:
        """What ``$1`` is bound to; empty in the registry."""
        ...

    def choose(self, text: PerEngine) -> str:
        """The text for this engine."""
        ...

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement.

        Returns:
            Rows changed.
        """
        ...

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row, in one exchange with the database."""
        ...

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query, or of a statement with RETURNING."""
        ...

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query."""
        ...

    async def announce(self) -> None:
        """Tell listeners of every process, once this transaction commits, that the org changed."""
        ...


class Engine(Protocol):
    """A database: transactions with sessions, and how to hear of commits."""

    def org(self, org: str, *, write: bool, scope: str = "") -> AbstractAsyncContextManager[Session]:
        """A transaction in an org's space, as ``ports.store.OrgSpace`` promises. Raises OrgUnknownError."""
        ...

    def named(self, org: str) -> AbstractAsyncContextManager[Session]:
        """A view of an org that a stranger names: an empty one, at the same cost, when there is no such org."""
        ...

    def registry(self, *, write: bool, org: str = "") -> AbstractAsyncContextManager[Session]:
        """A transaction on what belongs to no org; with ``org`` on the registry's rows of that one, existing or not."""
        ...

    async def make_space(self, org: str) -> None:
        """Make room for a new org; nothing happens when it is there."""
        ...

    def beside(self) -> "Engine":
        """The same data, by connections that the work of this engine never keeps busy; closed with it."""
        ...

    async def heads(self, orgs: Sequence[str]) -> Mapping[str, int]:
        """As ``ports.store.Store``."""
        ...

    async def listen(self, heard: Heard) -> None:
        """As ``ports.store.Store``."""
        ...

    async def close(self) -> None:
        """Close every file and connection."""
        ...


def integer(value: Value) -> int:
    """An integer column."""
    if not isinstance(value, int):
        raise TypeError("an integer column held something else")
    return value


def blob(value: Value) -> bytes:
    """A column of bytes."""
    if not isinstance(value, bytes):
        raise TypeError("a column of bytes held something else")
    return value


def storable(values: Sequence[Value]) -> Sequence[Value]:
    """The values, or ValueUnstorableError: both engines take the same, so that neither shows what the other hides."""
    for value in values:
        if isinstance(value, str):
            if NUL in value or (not value.isascii() and _is_torn(value)):
                raise _unstorable("a text with a NUL character or half a surrogate pair")
        elif isinstance(value, int) and not -MOST_INTEGER - 1 <= value <= MOST_INTEGER:
            raise _unstorable("a number of more than 64 bits")
    return values


def refuse_broken(*, broken: bool) -> None:
    """A transaction in which a statement failed does nothing more, and is never committed. Raises DatabaseRefusedError.

    PostgreSQL has it so; the embedded engine does the same, so that neither allows what the other forbids.
    """
    if broken:
        raise refused("an earlier statement of this transaction failed")


def _is_torn(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _unstorable(what: str) -> ValueUnstorableError:
    return ValueUnstorableError(f"{what} cannot be stored", next_step="correct the value and try again")
