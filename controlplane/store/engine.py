"""One SQLite file: one connection, one thread, one transaction at a time.

Every write is durable when it is acknowledged (WAL, synchronous=FULL). Other processes may use the same file:
writers queue on SQLite's lock for up to ``BUSY_SECONDS``, readers never wait. SQL text is written with ``$1``
parameters, as PostgreSQL wants them.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from controlplane.domain.errors import StateError

Value = str | int | float | bytes | None
Row = tuple[Value, ...]
BUSY_SECONDS = 5.0  # longest wait for another process's transaction
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA wal_autocheckpoint=1000",
)

_T = TypeVar("_T")


class DatabaseError(StateError):
    """SQLite refused: a full disk, a damaged file, or a lock held for too long."""

    code = "store.database"


class SchemaError(StateError):
    """The file was written by a newer version."""

    code = "store.schema"
    fatal = True


class Session:
    """SQL inside one transaction."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement.

        Returns:
            Rows changed.
        """
        return await self._database.run(lambda link: link.execute(sql, bound(values)).rowcount)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row."""
        batch = [bound(row) for row in rows]
        await self._database.run(lambda link: link.executemany(sql, batch))

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query."""
        return await self._database.run(lambda link: link.execute(sql, bound(values)).fetchall())

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def blob_part(self, table: str, column: str, rowid: int, span: tuple[int, int]) -> bytes:
        """Bytes ``offset`` and ``size`` (``span``) of a large value."""

        def read(link: sqlite3.Connection) -> bytes:
            with link.blobopen(table, column, rowid, readonly=True) as value:
                value.seek(min(span[0], len(value)))
                return value.read(span[1])

        return await self._database.run(read)


class Database:
    """A file with a migrated schema."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self._path = path
        self._migrations = migrations
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"store-{path.stem}")
        self._turn = asyncio.Lock()
        self._link: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something in the file's own thread.

        Raises:
            DatabaseError: SQLite refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._do, work)

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._link is None:
                self._link = open_file(self._path, self._migrations)
            return work(self._link)
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise DatabaseError(
                f"the database {self._path.name} refused ({name})",
                field=self._path.name,
                next_step="check free disk space and that no other program holds the file",
            ) from error

    @asynccontextmanager
    async def transaction(self, *, write: bool) -> AsyncIterator[Session]:
        """One transaction: committed at the end, rolled back on any exception or cancellation."""
        async with self._turn:
            try:
                await self.run(lambda link: link.execute("BEGIN IMMEDIATE" if write else "BEGIN"))
                yield Session(self)
            except BaseException:
                # the thread runs one job after another, so this also undoes a BEGIN whose waiter was
                # cancelled
                await asyncio.shield(self.run(_roll_back))
                raise
            await asyncio.shield(self.run(lambda link: link.execute("COMMIT")))

    async def fetch_alone(self, sql: str) -> list[Row]:
        """All rows of one query outside a transaction; it never sees another's unfinished work."""
        async with self._turn:
            return await self.run(lambda link: link.execute(sql).fetchall())

    async def close(self) -> None:
        """Close the file once its transaction has ended."""
        async with self._turn:
            if self._link is not None:
                await self.run(lambda link: link.close())
                self._link = None
        self._executor.shutdown(wait=True)


def bound(values: Sequence[Value]) -> dict[str, Value]:
    """Values for ``$1``, ``$2`` ..."""
    return {str(number): value for number, value in enumerate(values, start=1)}


def integer(value: Value) -> int:
    """An INTEGER column; STRICT tables hold nothing else there."""
    if not isinstance(value, int):
        raise TypeError("an integer column held something else")
    return value


def blob(value: Value) -> bytes:
    """A BLOB column."""
    if not isinstance(value, bytes):
        raise TypeError("a blob column held something else")
    return value


def open_file(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    """Open and migrate; the file and its folder are readable by their owner only.

    Raises:
        SchemaError: written by a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    link = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=True)
    for pragma in PRAGMAS:
        link.execute(pragma)
    migrate(link, migrations, path.name)
    return link


def migrate(link: sqlite3.Connection, migrations: Sequence[str], name: str) -> None:
    """Bring the schema to the newest version, each step in its own transaction.

    Raises:
        SchemaError: the file is newer than this program.
    """
    while (version := int(link.execute("PRAGMA user_version").fetchone()[0])) < len(migrations):
        link.execute("BEGIN IMMEDIATE")
        try:
            if int(link.execute("PRAGMA user_version").fetchone()[0]) == version:
                for statement in migrations[version].split(";"):
                    link.execute(statement)
                link.execute(f"PRAGMA user_version={version + 1:d}")
            link.execute("COMMIT")
        except BaseException:
            link.execute("ROLLBACK")
            raise
    if version > len(migrations):
        raise SchemaError(
            f"the database {name} was written by a newer version of this program",
            field=name,
            next_step="run the newer version",
        )


def _roll_back(link: sqlite3.Connection) -> None:
    if link.in_transaction:
        link.execute("ROLLBACK")
