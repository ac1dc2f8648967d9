"""One SQLite file: a connection that writes, one that reads, one that looks at single values; each has its thread.

Every write is durable when it is acknowledged (WAL, synchronous=FULL). Other processes may use the same file: writers
queue on SQLite's lock for up to ``BUSY_SECONDS``, readers never wait.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from controlplane.domain.errors import StateError
from controlplane.store.errors import DatabaseError, refused
from controlplane.store.migrations.sqlite_files import FileKind, bring, seen
from controlplane.store.session import PerEngine, Row, Value, refuse_broken, storable

BUSY_SECONDS = 5.0  # longest wait for another process's transaction
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA wal_autocheckpoint=1000",
)
NEVER_WORKS = (
    "SQLITE_CONSTRAINT",
    "SQLITE_ERROR",
    "SQLITE_MISMATCH",
    "SQLITE_RANGE",
    "SQLITE_READONLY",
    "SQLITE_TOOBIG",
)
"""Beginnings of the names of errors that a second try meets again."""

_T = TypeVar("_T")


class Link:
    """One connection, one thread, one transaction at a time."""

    def __init__(self, path: Path, kind: FileKind, *, write: bool) -> None:
        self.turn = asyncio.Lock()
        self._path = path
        self._kind = kind
        self._write = write
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"store-{path.stem}")
        self._link: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something in the link's own thread. Raises DatabaseError, DatabaseRefusedError, SchemaError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._do, work)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """One transaction: committed at the end, rolled back on any exception or cancellation."""
        begin = "BEGIN IMMEDIATE" if self._write else "BEGIN"
        async with self.turn:
            try:
                await self.run(lambda link: link.execute(begin))
                yield
            except BaseException:
                # the thread runs one job after another, so this also undoes a BEGIN whose waiter was cancelled
                await asyncio.shield(self.run(_roll_back))
                raise
            await asyncio.shield(self.run(_commit))

    async def close(self) -> None:
        """Close the file once its transaction has ended."""
        async with self.turn:
            if self._link is not None:
                await self.run(lambda link: link.close())
                self._link = None
        self._executor.shutdown(wait=True)

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with _translated(self._path):
            if self._link is None:
                self._link = _open(self._path)
                bring(self._link, self._kind, self._path.name)
                if not self._write:
                    self._link.execute("PRAGMA query_only=ON")
            return work(self._link)


class File:
    """A file with its links; each is opened when it is first used."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        self.path = path
        self.writer = Link(path, kind, write=True)
        self.reader = Link(path, kind, write=False)
        self._looker = Link(path, kind, write=False)

    @asynccontextmanager
    async def transaction(self, org: str, *, write: bool) -> AsyncIterator["SqliteSession"]:
        """A session in a transaction."""
        link = self.writer if write else self.reader
        async with link.transaction():
            session = SqliteSession(link, org)
            yield session
            refuse_broken(broken=session.broken)

    async def look(self, sql: str, org: str) -> Value:
        """One value, as it is committed now: neither a long reader nor a writer delays it."""
        async with self._looker.turn:
            row: Row = await self._looker.run(lambda link: link.execute(sql, {"1": org}).fetchone())
        return row[0]

    async def close(self) -> None:
        """Close all links."""
        for link in (self.reader, self._looker, self.writer):
            await link.close()


class SqliteSession:
    """Adapter of ``session.Session``."""

    def __init__(self, link: Link, org: str) -> None:
        self.org = org
        self.announced = False
        self.broken = False
        self._link = link
        self._first: tuple[Value, ...] = (org,) if org else ()

    def choose(self, text: PerEngine) -> str:
        """The text for SQLite."""
        return text.sqlite

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement."""
        named = self._bound(values)
        return await self._call(lambda link: link.execute(sql, named).rowcount)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row."""
        batch = [self._bound(row) for row in rows]
        await self._call(lambda link: link.executemany(sql, batch))

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query."""
        named = self._bound(values)
        return await self._call(lambda link: link.execute(sql, named).fetchall())

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query."""
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def announce(self) -> None:
        """Tell listeners once this commits; other processes find the change by looking."""
        self.announced = True

    def _bound(self, values: Sequence[Value]) -> dict[str, Value]:
        return {str(number): value for number, value in enumerate((*self._first, *storable(values)), start=1)}

    async def _call(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        refuse_broken(broken=self.broken)
        try:
            return await self._link.run(work)
        except StateError:
            self.broken = True
            raise


def bring_file(path: Path, kind: FileKind, steps: int) -> None:
    """Bring a file to the schema after so many steps; nobody else may use it."""
    with _translated(path), contextlib.closing(_open(path)) as link:
        bring(link, kind, path.name, steps)


def steps_seen(path: Path) -> int:
    """Steps that a file has seen."""
    with _translated(path), contextlib.closing(_open(path)) as link:
        return seen(link, path.name)


def _open(path: Path) -> sqlite3.Connection:
    """The file and its folder are readable by their owner only.

    A file that is there is never opened beside SQLite: closing it would give up the locks that this process holds on it
    (they belong to the process, not to a descriptor), and another process would take the file for unused.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    link = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=True)
    try:
        for pragma in PRAGMAS:
            link.execute(pragma)
    except BaseException:
        link.close()
        raise
    return link


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise our own errors for those of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name.startswith(NEVER_WORKS):
            raise refused(name, field=path.name) from error
        raise DatabaseError(
            f"the database {path.name} refused ({name})",
            field=path.name,
            next_step="check free disk space and that no other program holds the file",
        ) from error


def _commit(link: sqlite3.Connection) -> None:
    try:
        link.execute("COMMIT")
    except sqlite3.Error:
        _roll_back(link)
        raise


def _roll_back(link: sqlite3.Connection) -> None:
    if link.in_transaction:
        link.execute("ROLLBACK")
