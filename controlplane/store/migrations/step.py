"""A step of the schema as data: what to do on both engines, and how to undo it.

The text is written once, with the types TEXT, BIGINT and BYTEA. For SQLite they become TEXT, INTEGER and BLOB in
STRICT tables; on PostgreSQL every table with a column ``org`` gets row level security, whether or not its author
thought of it.

Rule of steps: expand, then contract. Programs of the version before must work on the schema after a step: columns are
added with a default, nothing that they use is renamed or removed. A step that removes names in ``oldest`` the first
revision whose programs do not miss it, and comes at least one version later.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SQLITE_TYPES = {"BIGINT": "INTEGER", "BYTEA": "BLOB"}
ORG_COLUMN = re.compile(r"\s*org TEXT NOT NULL\b")
CURRENT_ORG = "nullif(current_setting('app.org', true), '')"
"""Org of the transaction; NULL, which equals nothing, when none was set."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a step adds.

    Attributes:
        body: columns and constraints; ``org TEXT NOT NULL`` comes first in tables of orgs.
        large: rows of many KiB; SQLite keeps them apart from the key.
        append_only: the application may add rows and read them, never change or remove them.
    """

    name: str
    body: str
    large: bool = False
    append_only: bool = False

    @property
    def of_org(self) -> bool:
        """Whether its rows belong to orgs."""
        return ORG_COLUMN.match(self.body) is not None

    def sqlite(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Statements that make and remove it."""
        body = re.sub(r"\b(BIGINT|BYTEA)\b", lambda found: SQLITE_TYPES[found[1]], self.body)
        kind = "STRICT" if self.large else "STRICT, WITHOUT ROWID"
        return (f"CREATE TABLE {self.name} ({body}) {kind}",), (f"DROP TABLE {self.name}",)

    def postgres(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Statements that make and remove it."""
        up = [f"CREATE TABLE {self.name} ({self.body})"]
        if self.of_org:
            up += [
                f"ALTER TABLE {self.name} ENABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {self.name} FORCE ROW LEVEL SECURITY",
                f"CREATE POLICY own_org ON {self.name} USING (org = {CURRENT_ORG}) WITH CHECK (org = {CURRENT_ORG})",
            ]
        return tuple(up), (f"DROP TABLE {self.name}",)


@dataclass(frozen=True, slots=True)
class Change:
    """Any other statement, the same on both engines: an index, a column."""

    up: str
    down: str

    def sqlite(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Statements that do and undo it."""
        types = re.compile(r"\b(BIGINT|BYTEA)\b")
        up, down = (types.sub(lambda found: SQLITE_TYPES[found[1]], text) for text in (self.up, self.down))
        return (up,), (down,)

    def postgres(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Statements that do and undo it."""
        return (self.up,), (self.down,)


@dataclass(frozen=True, slots=True)
class OnPostgres:
    """A statement for PostgreSQL alone: a function, a policy, a storage setting."""

    up: str
    down: str = ""

    def sqlite(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Nothing."""
        return (), ()

    def postgres(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Statements that do and undo it."""
        return (self.up,), (self.down,) if self.down else ()


def lookup(name: str, arguments: str, result: str, query: str) -> OnPostgres:
    """A look-up over all orgs, on PostgreSQL a function that runs as the owner of the schema.

    Args:
        name: of the function; ``tests/contract/test_store_security.py`` lists those that may be.
        arguments: with types.
        result: columns with types.
        query: reads tables as ``public.name``, whose policies must admit the owner (``owner_reads``).
    """
    return OnPostgres(
        f"CREATE FUNCTION public.{name}({arguments}) RETURNS TABLE ({result}) LANGUAGE sql STABLE SECURITY DEFINER"
        f" SET search_path = pg_catalog, pg_temp AS $lookup${query}$lookup$",
        f"DROP FUNCTION public.{name}",
    )


def owner_reads(table: str) -> OnPostgres:
    """Let the owner's look-ups read a table of all orgs; for everybody else nothing changes."""
    return OnPostgres(f"CREATE POLICY owner_reads ON {table} FOR SELECT TO CURRENT_USER USING (true)")


Part = Table | Change | OnPostgres


@dataclass(frozen=True, slots=True)
class Step:
    """One revision of the schema.

    Attributes:
        revision: four digits, one more than the step before.
        title: what it is for.
        registry: what belongs to no org, and the list of orgs.
        org: what belongs to orgs.
        oldest: programs that know this revision or a newer one work on the schema after the step.
    """

    revision: str
    title: str
    registry: tuple[Part, ...] = ()
    org: tuple[Part, ...] = ()
    oldest: str = "0001"

    def tables(self) -> Iterator[Table]:
        """Tables that the step adds."""
        return (part for part in (*self.registry, *self.org) if isinstance(part, Table))

    def postgres_up(self) -> tuple[str, ...]:
        """Statements for PostgreSQL, in order."""
        return tuple(text for part in (*self.registry, *self.org) for text in part.postgres()[0])

    def postgres_down(self) -> tuple[str, ...]:
        """Statements that undo the step on PostgreSQL."""
        return tuple(text for part in reversed((*self.registry, *self.org)) for text in part.postgres()[1])


def sqlite_up(parts: Sequence[Part]) -> tuple[str, ...]:
    """Statements of one file's part of a step, in order."""
    return tuple(text for part in parts for text in part.sqlite()[0])


def sqlite_down(parts: Sequence[Part]) -> tuple[str, ...]:
    """Statements that undo it."""
    return tuple(text for part in reversed(parts) for text in part.sqlite()[1])
