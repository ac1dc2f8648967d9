"""What services need from the world outside them. Adapters are in ``store`` and ``bootstrap``."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cryptography import x509

from certs.issue import IssuanceIntent
from certs.keys import PrivateKey
from certs.signer import Signer
from controlplane.domain.join import JoinToken
from controlplane.domain.offers import SignedRelease
from controlplane.domain.orgs import Org
from controlplane.domain.outposts import Outpost
from controlplane.domain.records import CertificateRecord, Delivery, LogHead
from outpost.core.bundle.access import ClientKey


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...


class Chance(Protocol):
    """Randomness."""

    def token_bytes(self, size: int) -> bytes:
        """``size`` bytes fit for secrets."""
        ...


class Outposts(Protocol):
    """Outposts of one org."""

    async def add(self, outpost: Outpost) -> None:
        """Insert. Raises OutpostExistsError: the name is taken."""
        ...

    async def save(self, outpost: Outpost) -> None:
        """Replace the row of ``outpost.id``."""
        ...

    async def get(self, outpost_id: str) -> Outpost:
        """By id. Raises OutpostUnknownError."""
        ...

    async def named(self, name: str) -> Outpost | None:
        """By name, whatever its state."""
        ...

    async def find(self, name_or_id: str) -> Outpost:
        """By name or id. Raises OutpostUnknownError."""
        ...

    async def all(self) -> tuple[Outpost, ...]:
        """In order of registration."""
        ...

    async def status(self, outpost_id: str) -> Mapping[str, object]:
        """The newest heartbeat, plain JSON; empty when there was none."""
        ...

    async def statuses(self) -> Mapping[str, Mapping[str, object]]:
        """The newest heartbeat of each outpost that sent one, by id."""
        ...

    async def keep_status(self, outpost_id: str, status: Mapping[str, object], seen_ms: int) -> None:
        """Keep the newest heartbeat and when it came."""
        ...


class Tokens(Protocol):
    """Join tokens of one org."""

    async def add(self, token: JoinToken) -> None:
        """Insert."""
        ...

    async def match(self, digest: str) -> JoinToken | None:
        """The row with this keyed hash."""
        ...

    async def spend(self, token: JoinToken, csr_sha256: str, serial: str, now_ms: int) -> bool:
        """Compare-and-set: true when the token was unspent and alive, and is now this request's."""
        ...

    async def void(self, outpost_id: str) -> int:
        """End every unspent token of an outpost at once.

        Returns:
            How many there were.
        """
        ...


class Certificates(Protocol):
    """Issuances of one org."""

    async def intend(self, record: CertificateRecord) -> None:
        """Record what is about to be signed."""
        ...

    async def complete(self, serial: str, leaf_der: bytes) -> bytes:
        """Keep the leaf unless one is there already.

        Returns:
            The leaf that counts.
        """
        ...

    async def get(self, serial: str) -> CertificateRecord | None:
        """By serial."""
        ...

    async def of_outpost(self, outpost_id: str) -> tuple[CertificateRecord, ...]:
        """Newest first."""
        ...


class ClientKeys(Protocol):
    """Client keys of one org."""

    async def add(self, key: ClientKey) -> None:
        """Insert. Raises KeyExistsError: a live key has the name."""
        ...

    async def revoke(self, name_or_id: str) -> ClientKey:
        """Mark as revoked. Raises KeyUnknownError."""
        ...

    async def all(self) -> tuple[ClientKey, ...]:
        """In order of creation."""
        ...


class Releases(Protocol):
    """Signed sets of one org; a stored set never changes."""

    async def add(self, release: SignedRelease, contents: Mapping[str, bytes]) -> None:
        """Store a set: its files by name, with their exact bytes."""
        ...

    async def newest(self) -> SignedRelease | None:
        """The set with the highest number."""
        ...

    async def contents(self, release: SignedRelease) -> Mapping[str, bytes]:
        """All files of a set by name."""
        ...

    async def size_of(self, sha256: bytes) -> int | None:
        """Size of a stored file of any set, or None."""
        ...

    async def part(self, sha256: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes of a stored file from ``offset``."""
        ...

    async def keep_delivery(self, delivery: Delivery) -> None:
        """Keep the newest word of an outpost."""
        ...

    async def deliveries(self) -> tuple[Delivery, ...]:
        """The newest word of each outpost."""
        ...


class AuditEntries(Protocol):
    """Audit logs of the outposts of one org: exact bytes and leaf hashes."""

    async def head(self, outpost_id: str) -> LogHead | None:
        """What is held."""
        ...

    async def save_head(self, head: LogHead) -> None:
        """Replace what is held."""
        ...

    async def append(self, outpost_id: str, first: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> None:
        """Add entries and their leaf hashes at ``first``, which is the size held."""
        ...

    async def add_tile(self, outpost_id: str, index: int, root: bytes) -> None:
        """Keep the subtree root of a full tile."""
        ...

    async def tiles(self, outpost_id: str, count: int) -> tuple[bytes, ...]:
        """Subtree roots of the first ``count`` tiles."""
        ...

    async def leaves(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes from ``first``."""
        ...

    async def entries(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Exact entries from ``first``."""
        ...

    async def keep_checkpoint(self, outpost_id: str, size: int, cosigned: bytes, now_ms: int) -> None:
        """Keep a cosigned checkpoint for ever."""
        ...

    async def checkpoints(self, outpost_id: str) -> tuple[tuple[int, bytes], ...]:
        """All cosigned checkpoints, by size."""
        ...

    async def keep_refusal(self, outpost_id: str, status: int, size: int, now_ms: int) -> None:
        """Keep that the witness refused an upload."""
        ...

    async def refusals(self, outpost_id: str) -> tuple[tuple[int, int, int], ...]:
        """(status, size, time) of refusals, newest first."""
        ...


class OrgTransaction(Protocol):
    """One transaction on one org's data: everything in it happens, or nothing."""

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
    def audit(self) -> AuditEntries:
        """Audit logs."""
        ...


class OrgSpace(Protocol):
    """All data of one org, and nothing else."""

    @property
    def org(self) -> str:
        """Org id."""
        ...

    def read(self) -> AbstractAsyncContextManager[OrgTransaction]:
        """A consistent view."""
        ...

    def write(self) -> AbstractAsyncContextManager[OrgTransaction]:
        """A transaction: committed at the end, rolled back on any exception."""
        ...

    async def change_count(self) -> int:
        """A number that differs whenever outposts or releases may have changed, by whatever process."""
        ...


class Store(Protocol):
    """The only way to data."""

    def for_org(self, org: str) -> OrgSpace:
        """An org's own space. Raises OrgUnknownError."""
        ...

    async def orgs(self) -> tuple[Org, ...]:
        """All orgs."""
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

    async def close(self) -> None:
        """Close every file."""
        ...


class RoleKeys(Protocol):
    """Signing keys of an org's roles; private halves never leave the adapter."""

    def create(self, org: str, role: str, number: int) -> Signer:
        """Make one more Ed25519 key of a role; the one that is there when it was made before."""
        ...

    def of_role(self, org: str, role: str) -> tuple[Signer, ...]:
        """Keys of a role that are at hand, by number."""
        ...


class Drafts(Protocol):
    """Configuration that waits for signatures of keys that are elsewhere; one draft for each org."""

    def keep(self, org: str, data: bytes) -> None:
        """Keep a draft in the place of an older one."""
        ...

    def get(self, org: str) -> bytes | None:
        """The draft that waits."""
        ...

    def drop(self, org: str) -> None:
        """Forget it: it was published, or is not wanted any more."""
        ...


class Vault(Protocol):
    """Keys and certificates of the control plane itself."""

    def create_kek(self) -> None:
        """Make the key-encryption key. Raises PrivateFileExistsError."""
        ...

    def keep(self, name: str, key: PrivateKey) -> Signer:
        """Seal a new key. Raises PrivateFileExistsError."""
        ...

    def signer(self, name: str) -> Signer:
        """Open a sealed key. Raises KeyStoreError."""
        ...

    def keep_certificates(self, name: str, certificates: tuple[x509.Certificate, ...]) -> None:
        """Keep a certificate with its issuers."""
        ...

    def certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """A kept certificate with its issuers. Raises NotInitialisedError."""
        ...

    def keep_plain_key(self, name: str, key: PrivateKey) -> None:
        """Keep a key that TLS must read: unsealed, mode 0600."""
        ...

    def plain_key(self, name: str) -> bytes:
        """PEM of such a key."""
        ...
