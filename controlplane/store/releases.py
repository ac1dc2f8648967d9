"""Signed sets: immutable, their files kept once by hash."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from collections.abc import Mapping, Sequence

from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.store.changes import bump
from controlplane.store.engine import Session, blob, integer

DELIVERY_COLUMNS = "outpost_id, number, revision, state, at_ms, code, message, resource"


class ReleaseTable:
    """Adapter of ``ports.Releases``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, release: SignedRelease, contents: Mapping[str, bytes]) -> None:
        """Store a set; a number is never used twice."""
        await self._session.execute(
            "INSERT INTO releases (number, revision, created_ms, timestamp_expires_ms) VALUES ($1, $2, $3, $4)",
            release.number,
            release.revision,
            release.created_ms,
            release.timestamp_expires_ms,
        )
        await self._session.execute_many(
            "INSERT INTO blobs (sha256, size, body) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING",
            [(file.sha256, file.size, contents[file.name]) for file in release.files],
        )
        await self._session.execute_many(
            "INSERT INTO release_files (number, name, sha256, metadata) VALUES ($1, $2, $3, $4)",
            [(release.number, file.name, file.sha256, int(file.metadata)) for file in release.files],
        )
        await bump(self._session)

    async def newest(self) -> SignedRelease | None:
        """The set with the highest number."""
        row = await self._session.fetch_one(
            "SELECT number, revision, created_ms, timestamp_expires_ms FROM releases ORDER BY number DESC LIMIT 1"
        )
        if row is None:
            return None
        files = await self._session.fetch(
            "SELECT f.name, f.sha256, b.size, f.metadata FROM release_files f"
            " JOIN blobs b ON b.sha256 = f.sha256 WHERE f.number = $1 ORDER BY f.name",
            row[0],
        )
        listed = tuple(SetFile(str(f[0]), blob(f[1]), integer(f[2]), bool(f[3])) for f in files)
        return SignedRelease(integer(row[0]), str(row[1]), integer(row[2]), integer(row[3]), listed)

    async def contents(self, release: SignedRelease) -> Mapping[str, bytes]:
        """All files of a set by name."""
        rows = await self._session.fetch(
            "SELECT f.name, b.body FROM release_files f JOIN blobs b ON b.sha256 = f.sha256 WHERE f.number = $1",
            release.number,
        )
        return {str(row[0]): blob(row[1]) for row in rows}

    async def size_of(self, sha256: bytes) -> int | None:
        """Size of a stored file."""
        row = await self._session.fetch_one("SELECT size FROM blobs WHERE sha256 = $1", sha256)
        return integer(row[0]) if row else None

    async def part(self, sha256: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``, without reading the rest of the file."""
        row = await self._session.fetch_one("SELECT rowid FROM blobs WHERE sha256 = $1", sha256)
        return await self._session.blob_part("blobs", "body", integer(row[0]), (offset, size)) if row else b""

    async def keep_delivery(self, delivery: Delivery) -> None:
        """Keep the newest word of an outpost."""
        await self.keep_deliveries([delivery])

    async def keep_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Keep the newest words of many outposts."""
        await self._session.execute_many(
            f"INSERT INTO deliveries ({DELIVERY_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            " ON CONFLICT (outpost_id) DO UPDATE SET number = excluded.number, revision = excluded.revision,"
            " state = excluded.state, at_ms = excluded.at_ms, code = excluded.code, message = "
            "excluded.message,"
            " resource = excluded.resource",
            [
                (
                    each.outpost_id,
                    each.number,
                    each.revision,
                    each.state.value,
                    each.at_ms,
                    each.code,
                    each.message,
                    each.resource,
                )
                for each in deliveries
            ],
        )

    async def deliveries(self) -> tuple[Delivery, ...]:
        """The newest word of each outpost."""
        rows = await self._session.fetch(f"SELECT {DELIVERY_COLUMNS} FROM deliveries ORDER BY outpost_id")
        return tuple(
            Delivery(
                str(row[0]),
                integer(row[1]),
                str(row[2]),
                DeliveryState(str(row[3])),
                integer(row[4]),
                *(str(value) for value in row[5:]),
            )
            for row in rows
        )
