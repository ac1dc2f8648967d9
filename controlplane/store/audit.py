"""Audit logs of outposts: exact entries, leaf hashes, roots of full tiles, and every cosigned checkpoint."""

from collections.abc import Sequence

from controlplane.domain.records import LogHead
from controlplane.store.session import Session, blob, integer

HASH_BYTES = 32  # SHA-256
KEPT_REFUSALS = 1000  # a tampered log is refused again and again; the newest tell enough


class AuditTable:
    """Adapter of ``ports.AuditEntries``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def head(self, outpost_id: str) -> LogHead | None:
        """What is held."""
        row = await self._session.fetch_one(
            "SELECT outpost_id, origin, size, frontier, cosigned_size, cosigned FROM log_heads"
            " WHERE org = $1 AND outpost_id = $2",
            outpost_id,
        )
        if row is None:
            return None
        packed = blob(row[3])
        frontier = tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))
        return LogHead(str(row[0]), str(row[1]), integer(row[2]), frontier, integer(row[4]), blob(row[5]))

    async def save_head(self, head: LogHead) -> None:
        """Replace what is held."""
        await self._session.execute(
            "INSERT INTO log_heads (org, outpost_id, origin, size, frontier, cosigned_size, cosigned)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, outpost_id) DO UPDATE SET size = excluded.size,"
            " frontier = excluded.frontier, cosigned_size = excluded.cosigned_size, cosigned = excluded.cosigned",
            head.outpost_id,
            head.origin,
            head.size,
            b"".join(head.frontier),
            head.cosigned_size,
            head.cosigned,
        )

    async def append(self, outpost_id: str, first: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> None:
        """Add entries; a sequence number is never written twice."""
        await self._session.execute_many(
            "INSERT INTO log_entries (org, outpost_id, sequence, leaf, entry) VALUES ($1, $2, $3, $4, $5)",
            [
                (outpost_id, first + position, leaf, entry)
                for position, (leaf, entry) in enumerate(zip(leaves, entries, strict=True))
            ],
        )

    async def add_tile(self, outpost_id: str, index: int, root: bytes) -> None:
        """Keep the subtree root of a full tile."""
        await self._session.execute(
            "INSERT INTO log_tiles (org, outpost_id, tile, root) VALUES ($1, $2, $3, $4)", outpost_id, index, root
        )

    async def tiles(self, outpost_id: str, count: int) -> tuple[bytes, ...]:
        """Subtree roots of the first tiles."""
        return await self._column(
            "SELECT root FROM log_tiles WHERE org = $1 AND outpost_id = $2 AND tile >= $3 AND tile < $4 ORDER BY tile",
            outpost_id,
            0,
            count,
        )

    async def leaves(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes from ``first``."""
        return await self._column(
            "SELECT leaf FROM log_entries WHERE org = $1 AND outpost_id = $2 AND sequence >= $3 AND sequence < $4"
            " ORDER BY sequence",
            outpost_id,
            first,
            first + count,
        )

    async def entries(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Exact entries from ``first``."""
        return await self._column(
            "SELECT entry FROM log_entries WHERE org = $1 AND outpost_id = $2 AND sequence >= $3 AND sequence < $4"
            " ORDER BY sequence",
            outpost_id,
            first,
            first + count,
        )

    async def keep_checkpoint(self, outpost_id: str, size: int, cosigned: bytes, now_ms: int) -> None:
        """Keep a cosigned checkpoint for ever; the newest signature over one size counts."""
        await self._session.execute(
            "INSERT INTO log_checkpoints (org, outpost_id, size, at_ms, cosigned) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (org, outpost_id, size) DO UPDATE SET at_ms = excluded.at_ms, cosigned = excluded.cosigned",
            outpost_id,
            size,
            now_ms,
            cosigned,
        )

    async def checkpoints(self, outpost_id: str) -> tuple[tuple[int, bytes], ...]:
        """All cosigned checkpoints, by size."""
        rows = await self._session.fetch(
            "SELECT size, cosigned FROM log_checkpoints WHERE org = $1 AND outpost_id = $2 ORDER BY size", outpost_id
        )
        return tuple((integer(row[0]), blob(row[1])) for row in rows)

    async def keep_refusal(self, outpost_id: str, status: int, size: int, now_ms: int) -> None:
        """Keep that the witness refused an upload."""
        row = await self._session.fetch_one(
            "SELECT COALESCE(MAX(position), 0) + 1 FROM log_refusals WHERE org = $1 AND outpost_id = $2", outpost_id
        )
        position = integer(row[0]) if row else 1
        await self._session.execute(
            "INSERT INTO log_refusals (org, outpost_id, position, at_ms, status, size) VALUES ($1, $2, $3, $4, $5, $6)",
            outpost_id,
            position,
            now_ms,
            status,
            size,
        )
        await self._session.execute(
            "DELETE FROM log_refusals WHERE org = $1 AND outpost_id = $2 AND position <= $3",
            outpost_id,
            position - KEPT_REFUSALS,
        )

    async def refusals(self, outpost_id: str) -> tuple[tuple[int, int, int], ...]:
        """Newest first."""
        rows = await self._session.fetch(
            "SELECT status, size, at_ms FROM log_refusals WHERE org = $1 AND outpost_id = $2 ORDER BY position DESC",
            outpost_id,
        )
        return tuple((integer(row[0]), integer(row[1]), integer(row[2])) for row in rows)

    async def _column(self, sql: str, outpost_id: str, low: int, high: int) -> tuple[bytes, ...]:
        rows = await self._session.fetch(sql, outpost_id, low, high)
        return tuple(blob(row[0]) for row in rows)
