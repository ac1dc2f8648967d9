"""The engine for several replicas: one PostgreSQL database.

Every transaction in an org's space sets ``app.org`` for its own length. Row level security, forced even on the owner of
the tables, lets out rows of that org only; that every statement says ``org = $1`` as well is the second lock, not the
first.

Writers of one scope follow each other by an advisory lock that ends with the transaction; within this process they
queue before they take a connection. Reads are REPEATABLE READ, so they see one moment.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

import asyncpg

from controlplane.domain.orgs import checked_id, unknown_org
from controlplane.ports.store import Heard
from controlplane.store.errors import CommitUnknownError, DatabaseError
from controlplane.store.guard import Guard
from controlplane.store.postgres_faults import CAUGHT, is_closed, is_lost, translate, translated
from controlplane.store.postgres_listening import CHANNEL, Listener
from controlplane.store.session import PerEngine, Row, Session, Value, refuse_broken, storable
from controlplane.store.turns import Turns

POOL = 10  # connections of one replica
POOL_BESIDE = 2  # beside them, for what may not queue behind bulk: the views, which deny when they are 5 s old
ACQUIRE_SECONDS = 10.0  # longest wait for one of them
CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30  # the server ends a statement that takes longer
LOCK_SECONDS = 10  # and one that waits longer for a lock; writers of one scope are done within milliseconds
IDLE_SECONDS = 30  # and a transaction in which nothing happens: its replica hangs, and others wait
ANSWER_SECONDS = STATEMENT_SECONDS + 5.0  # no answer at all: the server or the way to it is gone
ROLLBACK_SECONDS = 2.0
BEGINS = 3  # connections that are tried when they turn out to be dead; nothing happened on them yet
SETTINGS = {
    "application_name": "controlplane",
    "search_path": "public",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "jit": "off",  # statements here are short
}
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
HEADS = "SELECT org, number FROM public.newest_changes($1)"


def _read_of(org: str) -> tuple[str, str, str]:
    """How a view of an org begins; the last statement finds a row when the org exists."""
    own = f"SET LOCAL app.org = '{checked_id(org)}'"  # the pattern of ids has no quote
    return READ, own, f"SELECT 1 FROM orgs WHERE org = '{org}'"  # noqa: S608 -- as above


class PostgresEngine:
    """Adapter of ``session.Engine``.

    Args:
        address: URL of the database, with the application's role.
        pool: most connections.
    """

    def __init__(self, address: str, pool: int = POOL) -> None:
        self._address = address
        self._size = pool
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._guard = Guard()
        self._turns = Turns()
        self._beside: PostgresEngine | None = None

    @asynccontextmanager
    async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
        """A transaction in an org's space."""
        _, own, exists = reading = _read_of(org)
        begin = (WRITE, own, lock_on(org, scope), exists) if write else reading
        async with self._turn((org, scope) if write else None), self._transaction(begin, org) as (session, found):
            if not found:
                raise unknown_org()
            yield session

    @asynccontextmanager
    async def named(self, org: str) -> AsyncIterator[Session]:
        """A view of an org; where there is none, no row is seen."""
        async with self._transaction(_read_of(org), org) as (session, _):
            yield session

    @asynccontextmanager
    async def registry(self, *, write: bool, org: str = "") -> AsyncIterator[Session]:
        """A transaction on what belongs to no org."""
        own = (f"SET LOCAL app.org = '{checked_id(org)}'",) if org else ()
        begin = (WRITE, *own, lock_on("", "registry")) if write else (READ, *own)
        async with self._turn("registry" if write else None), self._transaction(begin, org) as (session, _):
            yield session

    async def make_space(self, org: str) -> None:
        """Nothing: the row of the org is its space."""

    def beside(self) -> "PostgresEngine":
        """The same database through a small pool of its own."""
        if self._beside is None:
            self._beside = PostgresEngine(self._address, POOL_BESIDE)
        return self._beside

    async def heads(self, orgs: Sequence[str]) -> Mapping[str, int]:
        """Number of the newest change of each org; asked again once when a connection was dead."""
        for attempt in range(BEGINS):
            connection = await self._acquire()
            try:
                rows = await connection.fetch(HEADS, list(orgs))
            except CAUGHT as error:
                if attempt + 1 == BEGINS or not is_lost(error, connection):
                    raise translate(error) from error
                await self._pool.expire_connections()
            else:
                return {str(row[0]): int(row[1]) for row in rows}
            finally:
                await self._release(connection)
        raise AssertionError("the last attempt answers or raises")

    async def listen(self, heard: Heard) -> None:
        """Tell of commits, until cancelled."""
        await Listener(self.connect, heard).run()

    async def connect(self) -> Any:
        """A connection of its own, beside the pool."""
        with translated():
            return await asyncpg.connect(
                self._address, timeout=CONNECT_SECONDS, command_timeout=ANSWER_SECONDS, server_settings=SETTINGS
            )

    async def close(self) -> None:
        """Close every connection."""
        if self._beside is not None:
            await self._beside.close()
        if self._pool is not None:
            self._pool.terminate() if self._is_busy() else await self._pool.close()
            self._pool = None

    @asynccontextmanager
    async def _turn(self, key: object | None) -> AsyncIterator[None]:
        """Be the one task of this process that writes to a scope, and in no other transaction."""
        with self._guard.entered():
            if key is None:
                yield
            else:
                async with self._turns.taken(key):
                    yield

    @asynccontextmanager
    async def _transaction(self, begin: Sequence[str], org: str) -> AsyncIterator[tuple["PostgresSession", bool]]:
        connection, found = await self._begin("; ".join(begin))
        session = PostgresSession(connection, org)
        try:
            yield session, found
            refuse_broken(broken=session.broken)
        except BaseException:
            await _to_the_end(self._roll_back(connection))
            raise
        await _to_the_end(self._commit(connection))

    async def _begin(self, text: str) -> tuple[Any, bool]:
        """A connection with an open transaction, and whether the last statement of its beginning found a row."""
        for attempt in range(BEGINS):
            connection = await self._acquire()
            try:
                status = await connection.execute(text)
            except CAUGHT as error:
                lost = is_lost(error, connection)
                await self._roll_back(connection)
                if attempt + 1 == BEGINS or not lost:
                    raise translate(error) from error
                await self._pool.expire_connections()  # the others that are idle died of the same
            except BaseException:  # cancelled
                await _to_the_end(self._roll_back(connection))
                raise
            else:
                return connection, status == "SELECT 1"
        raise AssertionError("the last attempt begins or raises")

    async def _commit(self, connection: Any) -> None:
        try:
            await connection.execute("COMMIT")
        except CAUGHT as error:
            if is_lost(error, connection) or isinstance(error, TimeoutError):
                raise CommitUnknownError(
                    "the connection to the database broke while a change was being stored",
                    field="database",
                    next_step="look whether it is there before you try again",
                ) from error
            raise translate(error) from error
        finally:
            await self._release(connection)

    async def _roll_back(self, connection: Any) -> None:
        """End a transaction; a connection that cannot do even that is thrown away."""
        try:
            if not is_closed(connection):
                await connection.execute("ROLLBACK", timeout=ROLLBACK_SECONDS)
        except CAUGHT:
            with contextlib.suppress(*CAUGHT):
                connection.terminate()
        finally:
            await self._release(connection)

    async def _acquire(self) -> Any:
        if self._pool is None:
            await self._open()
        with translated():
            try:
                return await self._pool.acquire(timeout=ACQUIRE_SECONDS)
            except TimeoutError as error:
                raise DatabaseError(
                    "there was no free connection to the database in time",
                    field="database",
                    next_step="check that the server is reached; if it is, and this happens often, raise database_pool",
                ) from error

    async def _open(self) -> None:
        async with self._opening:
            if self._pool is None:
                with translated():
                    self._pool = await asyncpg.create_pool(
                        self._address,
                        min_size=0,
                        max_size=self._size,
                        timeout=CONNECT_SECONDS,
                        command_timeout=ANSWER_SECONDS,
                        server_settings=SETTINGS,
                        statement_cache_size=256,
                        reset=_nothing_to_reset,
                    )

    async def _release(self, connection: Any) -> None:
        with contextlib.suppress(*CAUGHT):  # what cannot be given back is closed by the pool
            await self._pool.release(connection)

    def _is_busy(self) -> bool:
        return bool(self._pool.get_size() != self._pool.get_idle_size())


class PostgresSession:
    """Adapter of ``session.Session``."""

    def __init__(self, connection: Any, org: str) -> None:
        self.org = org
        self.broken = False
        self._connection = connection
        self._first: tuple[Value, ...] = (org,) if org else ()

    def choose(self, text: PerEngine) -> str:
        """The text for PostgreSQL."""
        return text.postgres

    async def execute(self, sql: str, *values: Value) -> int:
        """Run a statement."""
        status: str = await self._call(self._connection.execute, sql, *self._first, *storable(values))
        return int(status.rpartition(" ")[2])

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run a statement for each row."""
        batch = [(*self._first, *storable(row)) for row in rows]
        if batch:
            await self._call(self._connection.executemany, sql, batch)

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a query."""
        rows = await self._call(self._connection.fetch, sql, *self._first, *storable(values))
        return [tuple(row) for row in rows]

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a query."""
        row = await self._call(self._connection.fetchrow, sql, *self._first, *storable(values))
        return tuple(row) if row is not None else None

    async def announce(self) -> None:
        """Tell listeners of every process once this commits."""
        await self._call(self._connection.execute, f"SELECT pg_notify('{CHANNEL}', $1)", self.org)

    async def _call(self, method: Any, *arguments: Any) -> Any:
        refuse_broken(broken=self.broken)
        try:
            return await method(*arguments)
        except CAUGHT as error:
            self.broken = True
            raise translate(error) from error


def lock_on(org: str, scope: str) -> str:
    """The statement that waits for the writers of a scope before us; two scopes with one number only wait in vain."""
    digest = blake2b(f"{org}\x00{scope}".encode(), digest_size=8).digest()
    return f"SELECT pg_advisory_xact_lock({int.from_bytes(digest, 'big', signed=True)})"


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish what must not be left half done, even when this task is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    failed = task.exception()
    if cancelled is not None:
        raise cancelled
    if failed is not None:
        raise failed


async def _nothing_to_reset(connection: Any) -> None:
    """Everything that a transaction sets ends with it."""
