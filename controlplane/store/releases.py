"""Signed sets, the files that they hold, and what outposts answered."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from collections.abc import Mapping, Sequence
from typing import Any

from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.store.blobs import BlobTable, assembled
from controlplane.store.changes import ChangeTable
from controlplane.store.session import Row, Session, blob, integer

DELIVERY_NAMES = (
    *("outpost_id", "number", "revision", "state", "at_ms", "code", "message", "resource"),
    *("release", "downloaded_ms", "activated_ms"),
)
DELIVERY_COLUMNS = ", ".join(DELIVERY_NAMES)
DELIVERY_MARKS = ", ".join(f"${number}" for number in range(1, len(DELIVERY_NAMES) + 2))
DELIVERY_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in DELIVERY_NAMES if name != "outpost_id")
# Words of two replicas may arrive in another order than they were said in, and clocks of replicas differ: a set that
# took effect goes before the offer of it, whatever the times say.
OFFER_THEN_ACTIVE = f"deliveries.state = '{DeliveryState.OFFERED}' AND excluded.state = '{DeliveryState.ACTIVE}'"
ACTIVE_THEN_OFFER = f"deliveries.state = '{DeliveryState.ACTIVE}' AND excluded.state = '{DeliveryState.OFFERED}'"


class ReleaseTable:
    """Adapter of ``ports.releases.Releases``."""

    def __init__(self, session: Session, changes: ChangeTable) -> None:
        self._session = session
        self._changes = changes
        self._blobs = BlobTable(session)

    async def add(self, release: SignedRelease, contents: Mapping[str, bytes]) -> None:
        """Store a set; a number is never used twice."""
        await self._session.execute(
            "INSERT INTO releases (org, number, revision, created_ms, timestamp_expires_ms)"
            " VALUES ($1, $2, $3, $4, $5)",
            release.number,
            release.revision,
            release.created_ms,
            release.timestamp_expires_ms,
        )
        await self._blobs.add({file.sha256: contents[file.name] for file in release.files})
        await self._session.execute_many(
            "INSERT INTO release_files (org, number, name, sha256, metadata) VALUES ($1, $2, $3, $4, $5)",
            [(release.number, file.name, file.sha256, int(file.metadata)) for file in release.files],
        )
        self._changes.note(Change(ChangeKind.RELEASE))

    async def newest(self) -> SignedRelease | None:
        """The set with the highest number."""
        row = await self._session.fetch_one(
            "SELECT number, revision, created_ms, timestamp_expires_ms FROM releases WHERE org = $1"
            " ORDER BY number DESC LIMIT 1"
        )
        return await self._listed(row) if row is not None else None

    async def holding(self, name: str) -> SignedRelease | None:
        """The newest set with a file of this name."""
        row = await self._session.fetch_one(
            "SELECT r.number, r.revision, r.created_ms, r.timestamp_expires_ms FROM releases r WHERE r.org = $1"
            " AND r.number = (SELECT max(f.number) FROM release_files f WHERE f.org = $1 AND f.name = $2)",
            name,
        )
        return await self._listed(row) if row is not None else None

    async def _listed(self, row: Row) -> SignedRelease:
        """A set with its files."""
        files = await self._session.fetch(
            "SELECT f.name, f.sha256, b.size, f.metadata FROM release_files f"
            " JOIN blobs b ON b.org = $1 AND b.sha256 = f.sha256 WHERE f.org = $1 AND f.number = $2 ORDER BY f.name",
            row[0],
        )
        listed = tuple(SetFile(str(f[0]), blob(f[1]), integer(f[2]), bool(f[3])) for f in files)
        return SignedRelease(integer(row[0]), str(row[1]), integer(row[2]), integer(row[3]), listed)

    async def contents(self, release: SignedRelease) -> Mapping[str, bytes]:
        """All files of a set by name; an empty file has no chunk."""
        rows = await self._session.fetch(
            "SELECT f.name, c.body FROM release_files f JOIN blob_chunks c ON c.org = $1 AND c.sha256 = f.sha256"
            " WHERE f.org = $1 AND f.number = $2 ORDER BY f.name, c.number",
            release.number,
        )
        found = assembled([(str(row[0]), blob(row[1])) for row in rows])
        return {**{file.name: b"" for file in release.files if not file.size}, **found}

    async def size_of(self, sha256: bytes) -> int | None:
        """Size of a stored file."""
        return await self._blobs.size_of(sha256)

    async def part(self, sha256: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``, without reading the rest of the file."""
        return await self._blobs.part(sha256, offset, size)

    async def keep_deliveries(self, words: Sequence[Delivery]) -> None:
        """Keep the newest word of each outpost: not an older one, nor one of an outpost that is not here."""
        await self._session.execute_many(
            f"INSERT INTO deliveries (org, {DELIVERY_COLUMNS}) SELECT {DELIVERY_MARKS}"
            " WHERE EXISTS (SELECT 1 FROM outposts o WHERE o.org = $1 AND o.id = $2)"
            f" ON CONFLICT (org, outpost_id) DO UPDATE SET {DELIVERY_CHANGES}"
            " WHERE deliveries.number < excluded.number OR (deliveries.number = excluded.number"
            f" AND ({OFFER_THEN_ACTIVE} OR deliveries.at_ms <= excluded.at_ms AND NOT ({ACTIVE_THEN_OFFER}))"
            " AND NOT (deliveries.state = excluded.state AND excluded.downloaded_ms = 0 AND excluded.code = ''))",
            [tuple(getattr(word, name) for name in DELIVERY_NAMES) for word in words],
        )

    async def forgive(self, outpost_id: str) -> bool:
        """Turn a refusal into an offer that is not answered yet; its reason stays to be looked at."""
        changed = await self._session.execute(
            "UPDATE deliveries SET state = $3 WHERE org = $1 AND outpost_id = $2 AND state = $4",
            outpost_id,
            DeliveryState.OFFERED.value,
            DeliveryState.REFUSED.value,
        )
        return changed > 0

    async def refusals(self, number: int) -> Mapping[str, str]:
        """Code of the refusal by outpost."""
        rows = await self._session.fetch(
            "SELECT outpost_id, code FROM deliveries WHERE org = $1 AND number = $2 AND state = $3",
            number,
            DeliveryState.REFUSED.value,
        )
        return {str(row[0]): str(row[1]) for row in rows}

    async def deliveries(self) -> tuple[Delivery, ...]:
        """The newest word of each outpost."""
        rows = await self._session.fetch(
            f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE org = $1 ORDER BY outpost_id"
        )
        return tuple(_delivery(row) for row in rows)


def _delivery(row: Row) -> Delivery:
    values: dict[str, Any] = dict(zip(DELIVERY_NAMES, row, strict=True))
    return Delivery(**{**values, "state": DeliveryState(str(values["state"]))})
