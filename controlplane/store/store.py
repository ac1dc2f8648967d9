"""All data on SQLite: ``registry.db`` knows the orgs, each org has a file of its own.

``Store.for_org(org)`` is the only way to data. What it returns holds one file, so nothing that is done with
it can reach another org.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from certs.issue import IssuanceIntent
from controlplane.domain.orgs import Org, OrgExistsError, OrgUnknownError, checked_id
from controlplane.store import schema
from controlplane.store.audit import AuditTable
from controlplane.store.changes import COUNT
from controlplane.store.engine import Database, Session, integer
from controlplane.store.identities import CertificateTable, TokenTable
from controlplane.store.keys import KeyTable
from controlplane.store.outposts import OutpostTable
from controlplane.store.releases import ReleaseTable


class SqliteTransaction:
    """Adapter of ``ports.OrgTransaction``."""

    def __init__(self, session: Session) -> None:
        self.outposts = OutpostTable(session)
        self.tokens = TokenTable(session)
        self.certificates = CertificateTable(session)
        self.keys = KeyTable(session)
        self.releases = ReleaseTable(session)
        self.audit = AuditTable(session)


class SqliteOrgSpace:
    """Adapter of ``ports.OrgSpace``: one file."""

    def __init__(self, org: str, database: Database) -> None:
        self.org = org
        self._database = database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqliteTransaction]:
        """A consistent view."""
        async with self._database.transaction(write=False) as session:
            yield SqliteTransaction(session)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqliteTransaction]:
        """A transaction."""
        async with self._database.transaction(write=True) as session:
            yield SqliteTransaction(session)

    async def change_count(self) -> int:
        """Differs whenever outposts or releases may have changed."""
        return integer((await self._database.fetch_alone(COUNT))[0][0])


class SqliteStore:
    """Adapter of ``ports.Store``.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registry = Database(folder / "registry.db", schema.REGISTRY)
        self._spaces: dict[str, SqliteOrgSpace] = {}
        self._databases: list[Database] = [self._registry]

    def for_org(self, org: str) -> SqliteOrgSpace:
        """An org's own space.

        Raises:
            OrgUnknownError: no such org.
        """
        space = self._spaces.get(org)
        if space is not None:
            return space
        if not self._path(org).is_file():
            raise OrgUnknownError(
                "this control plane has no such org", field="org", next_step="create it: controlplane org create ORG"
            )
        return self._open(org)

    async def orgs(self) -> tuple[Org, ...]:
        """All orgs."""
        async with self._registry.transaction(write=False) as session:
            rows = await session.fetch("SELECT id, created_ms, ready FROM orgs ORDER BY created_ms, id")
        return tuple(Org(str(row[0]), integer(row[1]), bool(row[2])) for row in rows)

    async def add_org(self, org: str, now_ms: int) -> SqliteOrgSpace:
        """Register an org; one that a crash left unready is taken up again.

        Raises:
            OrgExistsError: a ready one exists.
        """
        checked_id(org)
        async with self._registry.transaction(write=True) as session:
            row = await session.fetch_one("SELECT ready FROM orgs WHERE id = $1", org)
            if row is not None and row[0]:
                raise OrgExistsError(f"org {org} exists already", field="org", next_step="choose another id")
            await session.execute(
                "INSERT INTO orgs (id, created_ms, ready) VALUES ($1, $2, 0) ON CONFLICT (id) DO NOTHING", org, now_ms
            )
        space = self._spaces.get(org) or self._open(org)
        await space.change_count()  # makes the file
        return space

    async def make_ready(self, org: str) -> None:
        """The org's signed configuration exists."""
        async with self._registry.transaction(write=True) as session:
            await session.execute("UPDATE orgs SET ready = 1 WHERE id = $1", org)

    async def record_issuance(self, intent: IssuanceIntent) -> None:
        """Record a CA or server certificate that is about to be signed."""
        async with self._registry.transaction(write=True) as session:
            await session.execute(
                "INSERT INTO issuances (serial, kind, spiffe_id, spki_sha256, issuer_spki_sha256,"
                " not_before_s, not_after_s, tbs_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                f"{intent.serial:x}",
                intent.kind.value,
                intent.spiffe_id,
                intent.spki_sha256,
                intent.issuer_spki_sha256,
                intent.not_before,
                intent.not_after,
                intent.tbs_sha256,
            )

    async def close(self) -> None:
        """Close every file."""
        for database in self._databases:
            await database.close()
        self._databases.clear()
        self._spaces.clear()

    def _path(self, org: str) -> Path:
        return self._folder / "orgs" / f"{checked_id(org)}.db"

    def _open(self, org: str) -> SqliteOrgSpace:
        database = Database(self._path(org), schema.ORG)
        self._databases.append(database)
        space = SqliteOrgSpace(org, database)
        self._spaces[org] = space
        return space
