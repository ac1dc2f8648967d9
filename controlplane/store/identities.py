"""Join tokens and issuances."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from controlplane.domain.join import JoinToken
from controlplane.domain.records import CertificateRecord
from controlplane.store.session import Row, Session, integer


class TokenTable:
    """Adapter of ``ports.Tokens``: rows hold keyed hashes of secrets, never a secret."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, token: JoinToken) -> None:
        """Insert."""
        await self._session.execute(
            "INSERT INTO tokens (org, digest, outpost_id, created_ms, expires_ms, spent_ms, csr_sha256, serial,"
            " network, anew, offline) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            token.digest,
            token.outpost_id,
            token.created_ms,
            token.expires_ms,
            token.spent_ms,
            token.csr_sha256,
            token.serial,
            token.network,
            int(token.anew),
            int(token.offline),
        )

    async def match(self, digest: str) -> JoinToken | None:
        """The row with this keyed hash."""
        row = await self._session.fetch_one(
            "SELECT digest, outpost_id, created_ms, expires_ms, spent_ms, csr_sha256, serial, network, anew, offline"
            " FROM tokens WHERE org = $1 AND digest = $2",
            digest,
        )
        return JoinToken(*row[:-2], anew=bool(row[-2]), offline=bool(row[-1])) if row else None  # type: ignore[arg-type, misc]

    async def spend(self, token: JoinToken, csr_sha256: str, serial: str, now_ms: int) -> bool:
        """Compare-and-set."""
        changed = await self._session.execute(
            "UPDATE tokens SET spent_ms = $2, csr_sha256 = $3, serial = $4"
            " WHERE org = $1 AND digest = $5 AND spent_ms = 0 AND expires_ms > $2",
            now_ms,
            csr_sha256,
            serial,
            token.digest,
        )
        return changed == 1

    async def void(self, outpost_id: str) -> int:
        """A void token ended when it began: no clock, however late, finds it valid."""
        return await self._session.execute(
            "UPDATE tokens SET expires_ms = created_ms WHERE org = $1 AND outpost_id = $2 AND spent_ms = 0", outpost_id
        )

    async def void_all(self) -> int:
        """The same for every outpost."""
        return await self._session.execute(
            "UPDATE tokens SET expires_ms = created_ms WHERE org = $1 AND spent_ms = 0 AND expires_ms > created_ms"
        )


class CertificateTable:
    """Adapter of ``ports.Certificates``."""

    COLUMNS = (
        "serial, outpost_id, csr_sha256, spki_sha256, tbs_sha256, issued_s, not_after_s, leaf_der, sequence, source,"
        " issuer"
    )

    def __init__(self, session: Session) -> None:
        self._session = session

    async def intend(self, record: CertificateRecord) -> None:
        """Record what is about to be signed."""
        await self._session.execute(
            f"INSERT INTO certificates (org, {self.COLUMNS})"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            record.serial,
            record.outpost_id,
            record.csr_sha256,
            record.spki_sha256,
            record.tbs_sha256,
            record.issued_s,
            record.not_after_s,
            record.leaf_der,
            record.sequence,
            record.source,
            record.issuer,
        )

    async def complete(self, serial: str, leaf_der: bytes) -> bytes:
        """Keep the leaf unless one is there already."""
        await self._session.execute(
            "UPDATE certificates SET leaf_der = $2 WHERE org = $1 AND serial = $3 AND length(leaf_der) = 0",
            leaf_der,
            serial,
        )
        row = await self._session.fetch_one("SELECT leaf_der FROM certificates WHERE org = $1 AND serial = $2", serial)
        if row is None or not isinstance(row[0], bytes):
            raise LookupError("the issuance was not recorded before it was signed")
        return row[0]

    async def get(self, serial: str) -> CertificateRecord | None:
        """By serial."""
        row = await self._session.fetch_one(
            f"SELECT {self.COLUMNS} FROM certificates WHERE org = $1 AND serial = $2",
            serial,
        )
        return _record(row) if row else None

    async def answered(self, outpost_id: str, csr_sha256: str) -> CertificateRecord | None:
        """The newest one for a request of an outpost."""
        row = await self._session.fetch_one(
            f"SELECT {self.COLUMNS} FROM certificates WHERE org = $1 AND outpost_id = $2 AND csr_sha256 = $3"
            " ORDER BY issued_s DESC, sequence DESC, serial LIMIT 1",
            outpost_id,
            csr_sha256,
        )
        return _record(row) if row else None

    async def count_since(self, outpost_id: str, since_s: int) -> int:
        """How many an outpost was issued since."""
        row = await self._session.fetch_one(
            "SELECT COUNT(*) FROM certificates WHERE org = $1 AND outpost_id = $2 AND issued_s >= $3",
            outpost_id,
            since_s,
        )
        return integer(row[0]) if row else 0

    async def alive(self, now_s: int) -> tuple[CertificateRecord, ...]:
        """All that are not over, by outpost."""
        rows = await self._session.fetch(
            f"SELECT {self.COLUMNS} FROM certificates WHERE org = $1 AND not_after_s > $2"
            " ORDER BY outpost_id, issued_s",
            now_s,
        )
        return tuple(_record(row) for row in rows)

    async def of_outpost(self, outpost_id: str) -> tuple[CertificateRecord, ...]:
        """Newest first."""
        rows = await self._session.fetch(
            f"SELECT {self.COLUMNS} FROM certificates WHERE org = $1 AND outpost_id = $2"
            " ORDER BY issued_s DESC, serial",
            outpost_id,
        )
        return tuple(_record(row) for row in rows)


def _record(row: Row) -> CertificateRecord:
    return CertificateRecord(*row)  # type: ignore[arg-type]
