"""What the agent of an org works with, and what it knows and tells."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from certs.errors import TrustError
from outpost import ports
from outpost.core.audit.identity_record import IdentityWithdrawn
from outpost.core.audit.record import RecordHead
from outpost.core.bundle.release import VerifiedSet
from outpost.core.errors import StoreError
from outpost.sync.files import IdentityFiles
from outpost.sync.identity import Identity
from outpost.sync.install import Installer
from outpost.telemetry import Event, emit

OK = "ok"
WITHDRAWN = frozenset({"outpost.revoked", "identity.locked"})  # codes after which only the audit tail is taken
MAX_OWED = 64  # records of what happened while the log took nothing; an outpost has few such in a year
MAX_COUNTED = 32  # codes of failed recoveries that are counted apart


class Recordable(Protocol):
    """An audit record that can be written."""

    def to_bytes(self) -> bytes:
        """Body without a sequence number."""
        ...


class Locker(Protocol):
    """What obeys a signed order to wipe; see ``sync.obey``."""

    def is_locked(self) -> bool:
        """Whether such an order was obeyed here, and nobody enrolled since."""
        ...

    async def obey(self, order: ports.Locked, identity: Identity, report: "Report") -> bool:
        """Verify an order and do what it says; the process stops serving before this returns.

        Returns:
            Whether it was obeyed; an order that is not acceptable changes nothing and is put on record.
        """
        ...

    async def wipe(self) -> None:
        """Remove keys and configuration; what a crash leaves is removed at the next start."""
        ...


@dataclass(frozen=True, slots=True)
class Strangers:
    """How the control plane is reached without a certificate.

    Attributes:
        desk: identity -> a connection with server TLS below the roots that it believes.
        presented_chain: (host, port) -> DER certificates that the server shows, not verified.
    """

    desk: Callable[[Identity], ports.RecoveryDesk]
    presented_chain: Callable[[str, int], Awaitable[tuple[bytes, ...]]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits, seconds.

    Attributes:
        check_seconds: between two looks at the certificate and the wall clock, which may step.
    """

    heartbeat_seconds: float
    reconnect_cap_seconds: float
    check_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the agent of one org works with.

    Attributes:
        identity: key, certificate and counters on the disk.
        connect: (identity, failed attempts) -> control plane.
        strangers: the control plane without a certificate.
        installer: makes offers active.
        deliver: (control plane, knowledge) runs the audit delivery until cancelled.
        ledger: where the agent records its own acts.
        heartbeat: health functions, state ... -> Heartbeat.
        changed: called whenever what the agent knows changes.
        locker: obeys lock orders.
        sleep: waits between two connections, and for a turn to fetch.
    """

    identity: IdentityFiles
    connect: Callable[[Identity, int], ports.ControlPlane]
    strangers: Strangers
    installer: Installer
    deliver: Callable[[ports.ControlPlane, "Knowledge"], Awaitable[None]]
    ledger: ports.Ledger
    heartbeat: Callable[["Knowledge"], ports.Heartbeat]
    changed: Callable[["Knowledge"], None]
    clock: ports.Clock
    chance: ports.Chance
    settings: Timing
    locker: Locker
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True)
class Knowledge:
    """What the agent knows; shown in health and status.

    Attributes:
        withdrawn: code with which the control plane refuses this identity for good, or empty.
        recoveries: certificates that were recovered since the start.
        failed_recoveries: attempts that failed since the start, by code.
    """

    org: str
    outpost: str = ""
    revision: str = ""
    last_contact_ms: int = 0
    certificate_expires_ms: int = 0
    trust_bundle_sha256: bytes = b""
    audit_size: int = 0
    audit_cosigned: int = 0
    attempts: int = 0
    active: VerifiedSet | None = None
    refused: str = ""  # newest revision that was refused
    withdrawn: str = ""
    recoveries: int = 0
    failed_recoveries: dict[str, int] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # function -> sentence for people


class Report:
    """Takes note of what happens, tells who watches, and puts on record what must be.

    Attributes:
        known: what is known.
    """

    def __init__(self, known: Knowledge, parts: Parts) -> None:
        self.known = known
        self._parts = parts
        self._owed: tuple[bytes, ...] = ()

    def set(self, function: str, code: str, note: str = "") -> None:
        """Note how a function does."""
        self.known.functions[function] = code
        self.known.notes[function] = note
        self._parts.changed(self.known)

    def head(self) -> RecordHead:
        """What every record says first."""
        return RecordHead(self._parts.clock.now_ms(), self.known.org, self.known.outpost)

    async def record(self, event: Recordable) -> None:
        """Put an act on record. Raises StoreError."""
        await self._parts.ledger.append(self.known.org, [event.to_bytes()])

    async def owe(self, event: Recordable) -> None:
        """Put on record what has happened already; when the log takes nothing now, it is put there later."""
        self._owed = (*self._owed, event.to_bytes())[-MAX_OWED:]
        await self.pay()

    async def pay(self) -> None:
        """Put on record what is owed, as far as the log takes it."""
        if self._owed:
            with contextlib.suppress(StoreError):  # its state is told by the function "audit"
                await self._parts.ledger.append(self.known.org, self._owed)
                self._owed = ()

    def held(self, identity: Identity) -> None:
        """Note which certificate is in use and whom we believe."""
        self.known.outpost = identity.enrollment.outpost_id
        self.known.certificate_expires_ms = identity.life[1] * 1000
        self.known.trust_bundle_sha256 = identity.trust_bundle_sha256

    async def withdrawn(self, code: str) -> None:
        """Note, once, that the control plane refuses this identity for good; the audit tail is still delivered."""
        if self.known.withdrawn == code:
            return
        self.known.withdrawn = code
        emit(Event.IDENTITY_WITHDRAWN, 40, org=self.known.org, code=code)
        self._parts.changed(self.known)
        with contextlib.suppress(TrustError):  # a restart then learns it anew from the control plane
            await asyncio.to_thread(self._parts.identity.note_withdrawn, code)
        await self.owe(IdentityWithdrawn(self.head(), code))

    async def accepted(self) -> None:
        """Note that the control plane takes this identity."""
        if self.known.withdrawn:
            self.known.withdrawn = ""
            await asyncio.to_thread(self._parts.identity.note_withdrawn, "")

    def failed_recovery(self, code: str) -> None:
        """Count an attempt to recover that failed."""
        counted = self.known.failed_recoveries
        if code in counted or len(counted) < MAX_COUNTED:
            counted[code] = counted.get(code, 0) + 1
