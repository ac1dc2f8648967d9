"""What the rooms need from the world outside them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from outpost import issuing


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

    def uniform(self) -> float:
        """A number in [0, 1) for jitter."""
        ...


class Secrets(Protocol):
    """Local secrets by name: provider keys, the wrapping key."""

    def get(self, name: str) -> bytes:
        """The secret.

        Raises:
            SecretMissingError: no such secret here; the message names the place, never a value.
        """
        ...


class Ledger(Protocol):
    """The audit log as the data path sees it."""

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        """Append record bodies (canonical JSON without ``_seq``).

        Returns:
            Sequence numbers, once every record is on disk (fdatasync).

        Raises:
            StoreError: not durable; no effect may follow.
        """
        ...


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call to a provider."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_seconds: float
    read_timeout_seconds: float


class UpstreamResponse(Protocol):
    """Head of a provider's reply; the body follows in pieces."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they arrive; raises PeerError leaves on time-out, reset or too much."""
        ...

    async def close(self) -> None:
        """Let the connection go."""
        ...


class Upstream(Protocol):
    """The way to providers."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send and wait for the head.

        Raises:
            PeerError: connect failed, reset, or time-out before the head.
        """
        ...


@dataclass(frozen=True, slots=True)
class OrgHealth:
    """What the agent knows of one org and workers do not: shown in health and status."""

    org: str
    state: str
    functions: Mapping[str, str] = field(default_factory=dict)  # function -> "ok" or an error code
    certificate_expires_ms: int = 0
    last_contact_ms: int = 0


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """One file of an offer.

    Attributes:
        name: metadata file name or target path.
        sha256: 32 bytes.
        size: bytes.
        metadata: TUF metadata, else a target.
        inline: its bytes; empty when it has to be fetched, is held already, or comes as a delta.
        delta: zstd frame that makes its bytes out of a held file, or empty.
        delta_sha256: that held file.
    """

    name: str
    sha256: bytes
    size: int
    metadata: bool
    inline: bytes
    delta: bytes = b""
    delta_sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class Offer:
    """A signed set by name and hash, complete or as changes of the held one.

    Attributes:
        nonce: returned in the answer.
        revision: for people.
        files: all files, or with a base those that differ from it.
        now_ms: clock of the control plane.
        base_sha256: identity of the held set that ``files`` change; empty: they are complete.
        removed: files of the base that the new set has not.
        withheld: code with which this outpost refused what is newer, so that it is not offered again; or empty.
    """

    nonce: str
    revision: str
    files: tuple[OfferedFile, ...]
    now_ms: int
    base_sha256: bytes = b""
    removed: tuple[str, ...] = ()
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Locked:
    """An order to wipe keys and configuration; untrusted until its signatures are verified.

    Attributes:
        reason: code, for people.
        order: exact signed bytes.
        signatures: key id and signature.
    """

    reason: str
    order: bytes = b""
    signatures: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class RotateNow:
    """Renew the certificate at a random moment within so many seconds."""

    spread_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Drain:
    """Reconnect at a random moment within so many seconds."""

    spread_seconds: int


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Every address at which the control plane may be called, host:port."""

    sync: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A control plane that was restored asks for files of the set in force that it lost; by SHA-256."""

    sha256s: tuple[bytes, ...]


ControlMessage = Offer | Locked | RotateNow | Drain | Endpoints | Wanted


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a sync stream; digests are empty when there is nothing.

    Attributes:
        held: name of each file of the active set to its SHA-256.
        trust_bundle_sha256: digest of the root CAs that are believed here.
        refused_revision: newest revision that was refused here, empty when none.
    """

    boot_id: str
    join_sequence: int
    software_version: str
    active_revision: str
    held: Mapping[str, bytes]
    set_sha256: bytes = b""
    trust_bundle_sha256: bytes = b""
    refused_revision: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """State of an outpost, every 10 seconds."""

    now_ms: int
    state: str
    functions: Mapping[str, str]  # function -> "ok" or an error code
    active_revision: str
    certificate_expires_ms: int
    audit_size: int
    audit_cosigned: int
    tiers: tuple[int, ...]
    workers: int
    workers_ready: int
    software_version: str
    trust_bundle_sha256: bytes = b""
    release: int = 0  # version that runs; so are the figures, since it became active
    requests: int = 0  # decided; of one worker
    failed: int = 0  # of those, by our own fault
    shadow: Mapping[str, Any] | None = None  # how the set's other release would have decided, as core.shadow.plain


@dataclass(frozen=True, slots=True)
class AppendAnswer:
    """Answer of the witness: 200, or 403, 404, 409, 422 as in C2SP tlog-witness."""

    status: int
    known_size: int
    cosigned_checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """How far an offer got here.

    Attributes:
        downloaded_ms: when every byte was there, Unix milliseconds; 0 when they never were, or nothing had to come.
        release: version of the release that runs now, or was refused; 0 while it could not be read.
    """

    downloaded_ms: int = 0
    release: int = 0


class SyncSession(Protocol):
    """An open sync stream."""

    async def receive(self) -> ControlMessage | None:
        """The next message, or None when the control plane closed the stream in order.

        Raises:
            PeerError: broken, refused.
        """
        ...

    async def ack(self, nonce: str, revision: str, activated_ms: int, taken: Taken = Taken()) -> None:
        """The offer is active."""
        ...

    async def nack(
        self,
        nonce: str,
        error: Mapping[str, str | bool],
        resource: str,
        taken: Taken = Taken(),
    ) -> None:
        """The offer was refused."""
        ...

    async def status(self, heartbeat: Heartbeat) -> None:
        """Tell how we are."""
        ...

    async def give_back(self, sha256: bytes, body: bytes) -> None:
        """Send a file that the control plane asked for; an empty body says that it is not given."""
        ...


class ControlPlane(Protocol):
    """The control plane as an enrolled outpost sees it (mTLS)."""

    async def open(self, hello: Hello) -> SyncSession:
        """Open the sync stream; returns when it is taken.

        Raises:
            PeerError: no connection, or refused; ``retry_after_seconds`` says that the connection is good, and when the
                stream may be asked for again.
        """
        ...

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        """Bytes of a file; length and hash are checked.

        Args:
            sha256: 32 bytes.
            size: bytes of the whole file.
            part: its first bytes, when some came before; what comes is added to it.

        Raises:
            PeerError: refused, unreachable, or other bytes than announced (fatal).
            DeltaError: a packed chunk is damaged.
        """
        ...

    async def renew(self, request: issuing.RenewalRequest) -> issuing.RenewalAnswer:
        """The next certificate; the same request may be repeated and gets the same one."""
        ...

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> AppendAnswer:
        """Deliver audit entries of one tile."""
        ...

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        """(known size, root at ``size``); the root is empty beyond the known size."""
        ...

    async def close(self) -> None:
        """Let the connection go."""
        ...


class RecoveryDesk(Protocol):
    """The control plane as it is seen without a certificate: server TLS only, the server being below a root of ours."""

    async def challenge(self, org: str, outpost_id: str) -> issuing.Challenge:
        """A nonce for a recovery."""
        ...

    async def recover(self, request: issuing.RecoveryRequest) -> issuing.RenewalAnswer:
        """The next certificate for a proof of the bound key; the same request may be repeated."""
        ...

    async def close(self) -> None:
        """Let the connection go."""
        ...
