"""The act log of an org: exact records, leaf hashes, signed heads."""

from controlplane.domain.acts import Act, ActFilter, ActHead, ActRow
from controlplane.store.session import Session, blob, integer
from outpost.core.audit.merkle import HASH_BYTES


class ActTable:
    """Adapter of ``ports.admin.Acts``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def head(self) -> ActHead:
        """What is held."""
        row = await self._session.fetch_one("SELECT size, frontier, signed_size, note FROM act_heads WHERE org = $1")
        if row is None:
            return ActHead()
        packed = blob(row[1])
        frontier = tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))
        return ActHead(integer(row[0]), frontier, integer(row[2]), blob(row[3]))

    async def append(self, act: Act, row: ActRow, leaf: bytes, frontier: tuple[bytes, ...]) -> None:
        """Add a record; a sequence number is never written twice."""
        await self._session.execute(
            "INSERT INTO acts (org, sequence, at_ms, operation, principal, outcome, leaf, entry)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            row.sequence,
            act.time_ms,
            act.operation,
            act.principal.id,
            act.outcome.value,
            leaf,
            row.entry,
        )
        await self._session.execute(
            "INSERT INTO act_heads (org, size, frontier, signed_size, note) VALUES ($1, $2, $3, 0, $4)"
            " ON CONFLICT (org) DO UPDATE SET size = excluded.size, frontier = excluded.frontier",
            row.sequence + 1,
            b"".join(frontier),
            b"",
        )

    async def sign(self, size: int, note: bytes, now_ms: int) -> None:
        """Keep a signed head for ever."""
        await self._session.execute(
            "INSERT INTO act_checkpoints (org, size, at_ms, note) VALUES ($1, $2, $3, $4)", size, now_ms, note
        )
        await self._session.execute("UPDATE act_heads SET signed_size = $2, note = $3 WHERE org = $1", size, note)

    async def entries(self, first: int, count: int) -> tuple[bytes, ...]:
        """Exact records."""
        rows = await self._session.fetch(
            "SELECT entry FROM acts WHERE org = $1 AND sequence >= $2 AND sequence < $3 ORDER BY sequence",
            first,
            first + count,
        )
        return tuple(blob(row[0]) for row in rows)

    async def leaves(self, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes."""
        rows = await self._session.fetch(
            "SELECT leaf FROM acts WHERE org = $1 AND sequence >= $2 AND sequence < $3 ORDER BY sequence",
            first,
            first + count,
        )
        return tuple(blob(row[0]) for row in rows)

    async def newest(self, chosen: ActFilter, before: int, limit: int) -> tuple[ActRow, ...]:
        """Newest first."""
        rows = await self._session.fetch(
            "SELECT sequence, entry FROM acts WHERE org = $1 AND sequence < $2 AND ($3 = '' OR operation = $3)"
            " AND ($4 = '' OR principal = $4) AND ($5 = '' OR outcome = $5) ORDER BY sequence DESC LIMIT $6",
            before,
            chosen.operation,
            chosen.principal,
            chosen.outcome,
            limit,
        )
        return tuple(ActRow(integer(row[0]), blob(row[1])) for row in rows)

    async def checkpoints(self) -> tuple[tuple[int, bytes], ...]:
        """All signed heads, by size."""
        rows = await self._session.fetch("SELECT size, note FROM act_checkpoints WHERE org = $1 ORDER BY size")
        return tuple((integer(row[0]), blob(row[1])) for row in rows)

    async def checkpoint(self, size: int) -> bytes | None:
        """The signed head of a size."""
        row = await self._session.fetch_one("SELECT note FROM act_checkpoints WHERE org = $1 AND size = $2", size)
        return blob(row[0]) if row else None
