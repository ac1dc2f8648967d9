"""A store whose transactions are all the one that an act has open: services that are given it take part in the act.

So a service keeps opening its own transactions, as it does everywhere else, and what it does commits together with the
act's record, or not at all. Another org's space is out of reach.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from controlplane.ports.store import OrgTransaction, Store


class ForeignSpaceError(RuntimeError):
    """An act reached for another org than its own: a fault of ours."""


class Unit:
    """The transaction of one act.

    Attributes:
        broken: a service's transaction ended with an exception, so nothing of the act may be committed.
    """

    def __init__(self, store: Store, org: str, transaction: OrgTransaction) -> None:
        self.transaction = transaction
        self.broken = False
        self.store: Store = JoinedStore(store, org, self)


class JoinedSpace:
    """The act's org."""

    def __init__(self, org: str, unit: Unit) -> None:
        self.org = org
        self._unit = unit

    @asynccontextmanager
    async def read(self) -> AsyncIterator[OrgTransaction]:
        """The act's transaction."""
        yield self._unit.transaction

    @asynccontextmanager
    async def write(self, scope: str = "") -> AsyncIterator[OrgTransaction]:
        """The act's transaction; the act commits it."""
        try:
            yield self._unit.transaction
        except BaseException:
            self._unit.broken = True
            raise


class JoinedStore:
    """The store as an act sees it; what belongs to no org it sees as it is."""

    def __init__(self, store: Store, org: str, unit: Unit) -> None:
        self._store = store
        self._space = JoinedSpace(org, unit)

    def for_org(self, org: str) -> JoinedSpace:
        """The act's org only."""
        if org != self._space.org:
            raise ForeignSpaceError(f"an act of {self._space.org} reached for another org")
        return self._space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
