"""The change feed's rows: noted while a transaction goes on, numbered and stored as its last act.

The row of ``heads`` is locked from then until the commit. So numbers are given out in the order of commits even between
transactions of different scopes, and a number that is never committed is given out again.
"""

from controlplane.domain.changes import KEPT_CHANGES, PRUNE_EVERY, Change, Changed, ChangeKind, changed
from controlplane.store.session import Session, integer

NEWEST = "SELECT COALESCE(MAX(number), 0) FROM heads WHERE org = $1"


class ChangeTable:
    """Adapter of ``ports.store.Changes``."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._noted: dict[Change, None] = {}  # in order, each once

    async def newest(self) -> int:
        """Number of the newest committed change."""
        row = await self._session.fetch_one(NEWEST)
        return integer(row[0]) if row else 0

    async def since(self, cursor: int) -> Changed:
        """What changed after a cursor."""
        newest = await self.newest()
        if newest == cursor:
            return Changed(newest)
        rows = await self._session.fetch(
            "SELECT kind, outpost_id FROM changes WHERE org = $1 AND number > $2 AND number <= $3 ORDER BY number",
            cursor,
            newest,
        )
        return changed(cursor, newest, [Change(ChangeKind(str(row[0])), str(row[1])) for row in rows])

    def note(self, change: Change) -> None:
        """Add a change to this transaction."""
        self._noted[change] = None

    async def store(self) -> None:
        """Number and store what was noted: the last act of a transaction."""
        if not self._noted:
            return
        row = await self._session.fetch_one(
            "UPDATE heads SET number = number + $2 WHERE org = $1 RETURNING number", len(self._noted)
        )
        if row is None:
            raise LookupError("an org without a head")
        last = integer(row[0])
        first = last - len(self._noted) + 1
        await self._session.execute_many(
            "INSERT INTO changes (org, number, kind, outpost_id) VALUES ($1, $2, $3, $4)",
            [(first + at, each.kind.value, each.outpost_id) for at, each in enumerate(self._noted)],
        )
        if last // PRUNE_EVERY != (first - 1) // PRUNE_EVERY:
            await self._session.execute("DELETE FROM changes WHERE org = $1 AND number <= $2", last - KEPT_CHANGES)
        self._noted.clear()
        await self._session.announce()
