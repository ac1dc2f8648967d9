"""All data, on either engine.

``DatabaseStore.for_org(org)`` is the only way to an org's data. Its sessions are bound to that org: on SQLite to its
own file, on PostgreSQL to rows that no policy lets out to anybody else.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from certs.issue import IssuanceIntent
from controlplane.domain.orgs import OPERATOR, Org, OrgNameError, checked_id
from controlplane.ports.store import Heard
from controlplane.store import registry
from controlplane.store.acts import ActTable
from controlplane.store.approvals import ApprovalTable
from controlplane.store.audit import AuditTable
from controlplane.store.authorities import AuthorityTable, IngressTable
from controlplane.store.changes import ChangeTable
from controlplane.store.clients import ClientTable
from controlplane.store.dumping import StoreDumps
from controlplane.store.identities import CertificateTable, TokenTable
from controlplane.store.keys import KeyTable
from controlplane.store.outposts import OutpostTable
from controlplane.store.plans import PlanTable
from controlplane.store.quotas import QuotaTable
from controlplane.store.releases import ReleaseTable
from controlplane.store.replicas import ReplicaTable
from controlplane.store.replies import ReplyTable, RuleTable
from controlplane.store.restorations import RestorationTable, RestoredTable
from controlplane.store.role_keys import RoleKeyTable
from controlplane.store.sealing import Keyring
from controlplane.store.session import Engine, Session
from controlplane.store.token_keys import TokenKeyTable
from controlplane.store.users import UserTable
from controlplane.store.vault import Opener, VaultTable


class Transaction:
    """Adapter of ``ports.store.OrgTransaction``."""

    def __init__(self, session: Session, keyring: Keyring) -> None:
        self.org = session.org
        self.changes = ChangeTable(session)
        self.outposts = OutpostTable(session, self.changes)
        self.tokens = TokenTable(session)
        self.certificates = CertificateTable(session)
        self.keys = KeyTable(session)
        self.releases = ReleaseTable(session, self.changes)
        self.plans = PlanTable(session)
        self.role_keys = RoleKeyTable(session, keyring)
        self.audit = AuditTable(session)
        self.quotas = QuotaTable(session, self.changes)
        self.users = UserTable(session)
        self.clients = ClientTable(session)
        self.approvals = ApprovalTable(session)
        self.acts = ActTable(session)
        self.replies = ReplyTable(session)
        self.rules = RuleTable(session)
        self.restored = RestoredTable(session)
        self.token_keys = TokenKeyTable(session)


class DatabaseOrgSpace:
    """Adapter of ``ports.store.OrgSpace``."""

    def __init__(self, org: str, engine: Engine, keyring: Keyring) -> None:
        self.org = org
        self._engine = engine
        self._keyring = keyring

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A consistent view."""
        async with self._engine.org(self.org, write=False) as session:
            yield Transaction(session, self._keyring)

    @asynccontextmanager
    async def write(self, scope: str = "") -> AsyncIterator[Transaction]:
        """A transaction."""
        async with self._engine.org(self.org, write=True, scope=scope) as session:
            transaction = Transaction(session, self._keyring)
            yield transaction
            await transaction.changes.store()


class DatabaseStore:
    """Adapter of ``ports.store.Store``.

    Args:
        openers: how to reach keys of the vault that lie in modules, by kind.
    """

    def __init__(self, engine: Engine, keyring: Keyring, openers: Mapping[str, Opener] | None = None) -> None:
        self.keyring = keyring
        self.vault = VaultTable(engine, keyring, openers or {})
        self.replicas = ReplicaTable(engine)
        self.authorities = AuthorityTable(engine, self.vault)
        self.ingresses = IngressTable(engine)
        self.restorations = RestorationTable(engine)
        self.dumps = StoreDumps(engine)
        self._engine = engine
        self._orgs = registry.OrgList(engine)

    def beside(self) -> "DatabaseStore":
        """The same data, by connections that nothing else keeps busy; closed with this store."""
        engine = self._engine.beside()
        return self if engine is self._engine else DatabaseStore(engine, self.keyring)

    def for_org(self, org: str) -> DatabaseOrgSpace:
        """An org's own space."""
        return DatabaseOrgSpace(checked_id(org), self._engine, self.keyring)

    @asynccontextmanager
    async def view_for_stranger(self, org: str) -> AsyncIterator[Transaction]:
        """A view of an org that a stranger names."""
        try:
            name = checked_id(org)
        except OrgNameError:
            name = OPERATOR
        async with self._engine.named(name) as session:
            yield Transaction(session, self.keyring)

    async def orgs(self) -> tuple[Org, ...]:
        """All orgs but the operator's own."""
        return await self._orgs.all()

    async def add_org(self, org: str, now_ms: int) -> DatabaseOrgSpace:
        """Register an org that is not ready yet."""
        await self._orgs.add(org, now_ms)
        return self.for_org(org)

    async def make_ready(self, org: str) -> None:
        """The org's signed configuration exists."""
        await self._orgs.make_ready(org)

    async def record_issuance(self, intent: IssuanceIntent) -> None:
        """Record a CA or server certificate that is about to be signed."""
        await registry.record_issuance(self._engine, intent)

    async def heads(self, orgs: Collection[str]) -> Mapping[str, int]:
        """Number of the newest change of each org."""
        return await self._engine.heads(tuple(orgs))

    async def listen(self, heard: Heard) -> None:
        """Tell of commits until cancelled."""
        await self._engine.listen(heard)

    async def close(self) -> None:
        """Close every file and connection."""
        await self._engine.close()
