"""The real store with a queue of failures in front of it, and a count of what was asked."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from controlplane.store.errors import DatabaseError


def full_disk() -> DatabaseError:
    return DatabaseError("the database acme.db refused (SQLITE_FULL)")


class UnsteadyStore:
    """Writes fail as long as ``failures`` holds some; afterwards whatever ``poison`` finds in a row fails for ever."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failures: deque[Exception] = deque()
        self.read_failures: deque[Exception] = deque()
        self.poison: Callable[[Any], bool] = lambda row: False
        self.writes = 0
        self.reads = 0
        self.counts = 0

    def for_org(self, org: str) -> "_Space":
        return _Space(self, self._store.for_org(org))

    async def heads(self, orgs: Any) -> Any:
        self.counts += 1
        if self.read_failures:
            raise self.read_failures.popleft()
        return await self._store.heads(orgs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Space:
    def __init__(self, owner: UnsteadyStore, space: Any) -> None:
        self._owner, self._space = owner, space
        self.org = space.org

    @asynccontextmanager
    async def write(self, *given: Any) -> AsyncIterator[Any]:
        self._owner.writes += 1
        async with self._space.write(*given) as transaction:
            yield _Transaction(self._owner, transaction)
            if self._owner.failures:
                raise self._owner.failures.popleft()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self._owner.reads += 1
        if self._owner.read_failures:
            raise self._owner.read_failures.popleft()
        async with self._space.read() as transaction:
            yield transaction


class _Transaction:
    def __init__(self, owner: UnsteadyStore, transaction: Any) -> None:
        self._transaction = transaction
        self.outposts = _Guarded(owner, transaction.outposts)
        self.releases = _Guarded(owner, transaction.releases)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)


class _Guarded:
    """A table that refuses poisoned rows."""

    def __init__(self, owner: UnsteadyStore, table: Any) -> None:
        self._owner, self._table = owner, table

    async def keep_statuses(self, rows: Any) -> None:
        await self._keep("keep_statuses", rows)

    async def keep_deliveries(self, rows: Any) -> None:
        await self._keep("keep_deliveries", rows)

    async def _keep(self, name: str, rows: Any) -> None:
        if any(map(self._owner.poison, rows)):
            raise full_disk()
        await getattr(self._table, name)(rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)
