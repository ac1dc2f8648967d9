"""All rows of the store, out of it and into an empty one, whatever the engine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from controlplane.domain.backup_items import Row, Section


class Dump(Protocol):
    """Everything of one space, at one moment."""

    def sections(self) -> Sequence[Section]:
        """Its tables, in an order in which rows find what they refer to."""
        ...

    def rows(self, section: Section) -> AsyncIterator[Sequence[Row]]:
        """Rows of a table, some at a time: never more than a few MiB are held."""
        ...


class Dumps(Protocol):
    """A store that is read whole, while it is used."""

    @property
    def revision(self) -> str:
        """Revision of the schema that the rows are of."""
        ...

    async def spaces(self) -> tuple[str, ...]:
        """Every org, the operator's own too, in order of creation."""
        ...

    def open(self, space: str) -> AbstractAsyncContextManager[Dump]:
        """One moment of a space; empty for what belongs to no org."""
        ...


class Landing(Protocol):
    """An empty store that is filled."""

    def require(self, section: Section) -> None:
        """Whether a table may come in. Raises BackupSchemaError: this program has no such table, or other columns."""
        ...

    async def put(self, section: Section, rows: Sequence[Row]) -> None:
        """Add rows of a table; the org's own row comes first of all.

        Raises:
            DatabaseRefusedError: they contradict each other.
            DatabaseError: the database failed.
        """
        ...
