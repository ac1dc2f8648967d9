"""One transaction on PostgreSQL that everything of a restore happens in: all of it is there afterwards, or nothing.

The store works on it as on any engine, org by org; what it opens and ends are not transactions then, but places in the
one. Row level security holds as always: the org is set anew at each place.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from controlplane.domain.orgs import checked_id
from controlplane.ports.store import Heard
from controlplane.store.postgres import HEADS, PostgresEngine, PostgresSession, lock_on
from controlplane.store.postgres_faults import CAUGHT, translate
from controlplane.store.session import Session, refuse_broken


class LandingEngine:
    """Adapter of ``session.Engine`` on one open transaction; ``landing`` makes it.

    Args:
        connection: of its own, with an open transaction.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @asynccontextmanager
    async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
        """A place in an org's space."""
        async with self._place(checked_id(org)) as session:
            yield session

    @asynccontextmanager
    async def named(self, org: str) -> AsyncIterator[Session]:
        """The same."""
        async with self._place(checked_id(org)) as session:
            yield session

    @asynccontextmanager
    async def registry(self, *, write: bool, org: str = "") -> AsyncIterator[Session]:
        """A place among what belongs to no org."""
        async with self._place(checked_id(org) if org else "") as session:
            yield session

    async def make_space(self, org: str) -> None:
        """Nothing: the row of the org is its space."""

    def beside(self) -> "LandingEngine":
        """Itself: only this transaction sees what it does."""
        return self

    async def heads(self, orgs: Sequence[str]) -> Mapping[str, int]:
        """Number of the newest change of each org."""
        rows = await self._connection.fetch(HEADS, list(orgs))
        return {str(row[0]): int(row[1]) for row in rows}

    async def listen(self, heard: Heard) -> None:
        """Nobody else sees what happens here."""
        heard("")

    async def close(self) -> None:
        """Nothing: who opened the transaction ends it."""

    @asynccontextmanager
    async def _place(self, org: str) -> AsyncIterator[PostgresSession]:
        session = PostgresSession(self._connection, org)
        await self._connection.execute(f"SET LOCAL app.org = '{org}'")
        yield session
        refuse_broken(broken=session.broken)


@asynccontextmanager
async def landing(engine: PostgresEngine) -> AsyncIterator[LandingEngine]:
    """One transaction: committed at the end, rolled back on any exception.

    Raises:
        StateError: the database failed; nothing is there.
    """
    connection = await engine.connect()
    try:
        await connection.execute(f"BEGIN; {lock_on('', 'registry')}; SET LOCAL idle_in_transaction_session_timeout = 0")
        yield LandingEngine(connection)
        await connection.execute("COMMIT")
    except CAUGHT as error:
        raise translate(error) from error
    finally:
        connection.terminate()
