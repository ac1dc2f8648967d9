"""The store: every org's data behind a space of its own."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from certs.issue import IssuanceIntent
from controlplane.domain.changes import Change, Changed
from controlplane.domain.orgs import Org
from controlplane.domain.replicas import Replica
from controlplane.ports.admin import Acts, AdminRules, Approvals, Clients, Replies, TokenKeyRows, Users
from controlplane.ports.authorities import AuthorityRows, Ingresses
from controlplane.ports.fleet import Certificates, ClientKeys, Outposts, QuotaRows, Tokens
from controlplane.ports.logs import AuditEntries
from controlplane.ports.plans import Plans
from controlplane.ports.releases import Releases, RoleKeys
from controlplane.ports.restorations import Restorations, RestoredRow
from controlplane.ports.vault import Vault

Heard = Callable[[str], None]


class Changes(Protocol):
    """The change feed of one org; ``domain.changes`` says what it promises."""

    async def newest(self) -> int:
        """Number of the newest committed change, 0 when there is none."""
        ...

    async def since(self, cursor: int) -> Changed:
        """What changed after ``cursor``, without the changes of this transaction itself."""
        ...

    def note(self, change: Change) -> None:
        """Add a change to this transaction: numbered, and told to every listener, when it commits."""
        ...


class OrgTransaction(Protocol):
    """One transaction on one org's data: everything in it happens, or nothing."""

    @property
    def org(self) -> str:
        """Org id."""
        ...

    @property
    def changes(self) -> Changes:
        """The change feed."""
        ...

    @property
    def outposts(self) -> Outposts:
        """Outposts."""
        ...

    @property
    def tokens(self) -> Tokens:
        """Join tokens."""
        ...

    @property
    def certificates(self) -> Certificates:
        """Issuances."""
        ...

    @property
    def keys(self) -> ClientKeys:
        """Client keys."""
        ...

    @property
    def releases(self) -> Releases:
        """Signed sets."""
        ...

    @property
    def plans(self) -> Plans:
        """Releases on their way."""
        ...

    @property
    def audit(self) -> AuditEntries:
        """Audit logs."""
        ...

    @property
    def role_keys(self) -> RoleKeys:
        """Keys that sign the configuration."""
        ...

    @property
    def quotas(self) -> QuotaRows:
        """How much the org may use."""
        ...

    @property
    def users(self) -> Users:
        """Persons who administer."""
        ...

    @property
    def clients(self) -> Clients:
        """Machine clients."""
        ...

    @property
    def approvals(self) -> Approvals:
        """Acts that wait for a second person."""
        ...

    @property
    def acts(self) -> Acts:
        """The act log."""
        ...

    @property
    def replies(self) -> Replies:
        """Kept answers."""
        ...

    @property
    def restored(self) -> RestoredRow:
        """What is remembered of the newest restore."""
        ...

    @property
    def rules(self) -> AdminRules:
        """How the org wants to be administered."""
        ...

    @property
    def token_keys(self) -> TokenKeyRows:
        """Keys of access tokens; in the operator's space only."""
        ...


class OrgSpace(Protocol):
    """All data of one org, and nothing else."""

    @property
    def org(self) -> str:
        """Org id."""
        ...

    def read(self) -> AbstractAsyncContextManager[OrgTransaction]:
        """A consistent view. Entering raises OrgUnknownError."""
        ...

    def write(self, scope: str = "") -> AbstractAsyncContextManager[OrgTransaction]:
        """A transaction: committed at the end, rolled back on any exception and on cancellation.

        Transactions of one scope follow each other, in whatever process they run; what one of them reads, none of the
        others changes. A transaction opens no other one.

        Args:
            scope: empty for the org as a whole; another name for what only has to follow itself, such as the uploads
                of one outpost.

        Raises:
            OrgUnknownError: on entering: no such org.
            DatabaseError: nothing happened; a later try may pass.
            CommitUnknownError: the connection broke while committing: it happened, or it did not.
        """
        ...


class Replicas(Protocol):
    """Processes that serve this control plane."""

    async def now_ms(self, own_ms: int) -> int:
        """Time by the one clock that all of them share; ``own_ms``, the caller's, where they share a machine."""
        ...

    async def register(self, replica: Replica) -> None:
        """Say that a replica serves, or serves still."""
        ...

    async def remove(self, replica_id: str) -> None:
        """It ended."""
        ...

    async def expire(self, before_ms: int) -> int:
        """Remove those not seen since.

        Returns:
            How many there were.
        """
        ...

    async def live(self, since_ms: int) -> tuple[Replica, ...]:
        """Those seen since, by id."""
        ...


class Store(Protocol):
    """The only way to data."""

    @property
    def vault(self) -> Vault:
        """Keys and certificates of the control plane itself."""
        ...

    @property
    def replicas(self) -> Replicas:
        """Serving processes."""
        ...

    @property
    def authorities(self) -> AuthorityRows:
        """Generations of CAs."""
        ...

    @property
    def ingresses(self) -> Ingresses:
        """Certificates of ingresses."""
        ...

    @property
    def restorations(self) -> Restorations:
        """Restores of this control plane."""
        ...

    def for_org(self, org: str) -> OrgSpace:
        """An org's own space. Raises OrgNameError; whether the org exists, its transactions say."""
        ...

    def view_for_stranger(self, org: str) -> AbstractAsyncContextManager[OrgTransaction]:
        """A consistent view of an org that a stranger names.

        Where there is no such org, or no such name, it is an empty one, got at the same cost: neither what is answered
        nor how long it takes tells which orgs there are. Whether it is the org's, ``OrgTransaction.org`` says together
        with what is found in it.
        """
        ...

    async def orgs(self) -> tuple[Org, ...]:
        """All orgs but the operator's own, in order of creation."""
        ...

    async def add_org(self, org: str, now_ms: int) -> OrgSpace:
        """Register an org that is not ready yet. Raises OrgExistsError: a ready one exists."""
        ...

    async def make_ready(self, org: str) -> None:
        """The org's signed configuration exists."""
        ...

    async def record_issuance(self, intent: IssuanceIntent) -> None:
        """Record a CA or server certificate that is about to be signed."""
        ...

    async def heads(self, orgs: Collection[str]) -> Mapping[str, int]:
        """Number of the newest change of each org, in one question; an org that is not here is not named.

        What was committed before the call, by whatever process, is in the answer.
        """
        ...

    async def listen(self, heard: Heard) -> None:
        """Call ``heard(org)`` soon after each commit with changes, of whatever process, until cancelled.

        ``heard("")`` means that commits may have been missed, so that anything may have changed: once at the start, and
        whenever the connection was lost and is back. It is a hint that saves time; ``heads`` is the truth.
        """
        ...

    async def close(self) -> None:
        """Close every file and connection."""
        ...
