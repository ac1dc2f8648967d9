"""The agent of one org: keeps the sync stream, installs offers, renews the certificate, delivers the audit log.

Four loops share one connection; when one fails, all end, and the agent connects anew after a wait with full jitter,
kept at the cap. Nothing here is needed for enforcement: workers judge with what is on disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from certs import csr, keys, rotation
from certs.errors import TrustError
from outpost import ports
from outpost.core.audit import record
from outpost.core.bundle.delta import set_identity
from outpost.core.bundle.release import VerifiedSet
from outpost.core.errors import OutpostError, PeerError
from outpost.sync import identity as identities
from outpost.sync.install import Installer, Progress
from outpost.telemetry import Event, emit

RECONNECT_BASE_SECONDS = 0.5
RENEW_CHECK_SECONDS = 5.0
WITHDRAWN = frozenset({"outpost.revoked", "identity.locked"})  # codes that say the identity holds no more
MAX_REVISION_CHARS = 32  # sync.proto, Hello.refused_revision
LONGEST_TURN_SECONDS = 15.0  # a longer wait for our turn is not spent on an idle connection
LONGEST_ASKED_SECONDS = 300.0  # of a wait that the control plane asks for: whatever it says, we come back
OK = "ok"


class StreamEndedError(PeerError):
    """The control plane ended the stream, or asked us to come back with another identity."""

    code = "controlplane.closed"

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the agent of one org works with.

    Attributes:
        load_identity: reads the identity; asked again at each connection.
        save_identity: stores a renewed one.
        connect: (identity, failed attempts) -> control plane.
        installer: makes offers active.
        deliver: (control plane, report) runs the audit delivery until cancelled.
        ledger: where the agent records its own acts.
        heartbeat: health functions, state ... -> Heartbeat.
        changed: called whenever what the agent knows changes.
        sleep: the wait between two connections.
    """

    load_identity: Callable[[], identities.Identity]
    save_identity: Callable[[identities.Identity], None]
    connect: Callable[[identities.Identity, int], ports.ControlPlane]
    installer: Installer
    deliver: Callable[[ports.ControlPlane, "Knowledge"], Awaitable[None]]
    ledger: ports.Ledger
    heartbeat: Callable[["Knowledge"], ports.Heartbeat]
    changed: Callable[["Knowledge"], None]
    clock: ports.Clock
    chance: ports.Chance
    settings: "Timing"
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Recordable(Protocol):
    """An audit record that can be written."""

    def to_bytes(self) -> bytes:
        """Body without a sequence number."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits, seconds."""

    heartbeat_seconds: float
    reconnect_cap_seconds: float


@dataclass(slots=True)
class Knowledge:
    """What the agent knows; shown in health and status."""

    org: str
    outpost: str = ""
    revision: str = ""
    revoked: str = ""  # what the control plane says of our identity when it is withdrawn, else empty
    refused: str = ""  # newest revision that was offered and refused since the last one that was accepted
    last_contact_ms: int = 0
    certificate_expires_ms: int = 0
    audit_size: int = 0
    audit_cosigned: int = 0
    attempts: int = 0
    active: VerifiedSet | None = None
    functions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)  # function -> sentence for people


class OrgAgent:
    """See the module docstring."""

    def __init__(self, org: str, parts: Parts, boot_id: str, version: str) -> None:
        self._org = org
        self._parts = parts
        self._boot_id = boot_id
        self._version = version
        self.knowledge = Knowledge(org=org)
        self._set("control_link", "controlplane.connecting")

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            asked = 0.0
            try:
                await self._session()
            except (OutpostError, TrustError) as error:
                self._lost(error)
                if isinstance(error, PeerError):
                    asked = min(error.retry_after_seconds, LONGEST_ASKED_SECONDS)
                    if error.as_dict()["fatal"]:  # asking soon again is of no use, and thousands may have been told so
                        self.knowledge.attempts = max(self.knowledge.attempts, rotation.MAX_DOUBLINGS)
            await self._wait(asked)

    async def _session(self) -> None:
        identity = self._parts.load_identity()
        peer = identity.verify(self._parts.clock.now_ms() // 1000)
        self.knowledge.outpost = identity.enrollment.outpost_id
        self.knowledge.certificate_expires_ms = peer.not_after * 1000
        self._set("certificate", OK)
        plane = self._parts.connect(identity, self.knowledge.attempts)
        try:
            session = await self._open(plane, identity)
            renew_at = rotation.renew_at(peer.not_before, peer.not_after, self._parts.chance.uniform())
            await first_of(
                self._receive(plane, session),
                self._beat(session),
                self._renew(plane, renew_at),
                self._parts.deliver(plane, self.knowledge),
            )
        finally:
            await plane.close()

    async def _open(self, plane: ports.ControlPlane, identity: identities.Identity) -> ports.SyncSession:
        """Open the stream; when others come at the same time, wait for our turn on the connection that is there."""
        while True:
            try:
                return await plane.open(self._hello(identity))
            except PeerError as error:
                if not 0 < error.retry_after_seconds <= LONGEST_TURN_SECONDS:
                    raise
                self._lost(error)
                await self._wait(error.retry_after_seconds)

    async def _wait(self, asked_seconds: float) -> None:
        """Wait as long as we were asked to, and then any time below a bound that doubles up to the cap."""
        cap, chance = self._parts.settings.reconnect_cap_seconds, self._parts.chance.uniform()
        jitter = rotation.backoff_seconds(self.knowledge.attempts, RECONNECT_BASE_SECONDS, cap, chance)
        self.knowledge.attempts += 1
        await self._parts.sleep(asked_seconds + jitter)

    def _hello(self, identity: identities.Identity) -> ports.Hello:
        return ports.Hello(
            boot_id=self._boot_id,
            join_sequence=identity.enrollment.join_sequence,
            software_version=self._version,
            active_revision=self.knowledge.revision,
            held=dict(self.knowledge.active.listing) if self.knowledge.active is not None else {},
            set_sha256=set_identity(self.knowledge.active.listing) if self.knowledge.active is not None else b"",
            refused_revision=self.knowledge.refused,
        )

    async def _receive(self, plane: ports.ControlPlane, session: ports.SyncSession) -> None:
        while True:
            message = await session.receive()
            if message is None:
                raise StreamEndedError("the control plane ended the stream")
            self._contact()
            if isinstance(message, ports.Offer):
                await self._offer(plane, session, message)
            elif isinstance(message, ports.Locked):
                self.knowledge.revoked = "outpost.revoked"
                self._set("control_link", "outpost.revoked")
            elif isinstance(message, ports.RotateNow):
                await self._rotate(plane, self._parts.load_identity())
            elif isinstance(message, ports.Endpoints):
                self._learn(message)
            else:
                wait = message.spread_seconds * self._parts.chance.uniform()
                raise StreamEndedError("the control plane asked us to connect again", wait)

    def _contact(self) -> None:
        if self.knowledge.functions.get("control_link") != OK:
            emit(Event.SYNC_CONNECTED, org=self._org)
        self.knowledge.attempts = 0
        self.knowledge.last_contact_ms = self._parts.clock.now_ms()
        self._set("control_link", OK)

    def _learn(self, told: ports.Endpoints) -> None:
        """Keep where the control plane may be called; one of the addresses is chosen at each connection."""
        identity = self._parts.load_identity()
        if told.sync and told.sync != identity.enrollment.sync_endpoints:
            self._parts.save_identity(identities.with_endpoints(identity, told.sync))

    async def _offer(self, plane: ports.ControlPlane, session: ports.SyncSession, offer: ports.Offer) -> None:
        known = self.knowledge
        known.revoked = ""  # who gets an offer is in good standing
        if offer.withheld:  # no offer, only why there is none: there is nothing to answer
            self._set("policy", offer.withheld, "the newest configuration was refused here and is not offered again")
            return
        offered = {item.name: item.sha256 for item in offer.files}
        # An offer without files says that what we told in Hello is the newest set.
        if known.active is not None and not offer.removed and (not offered or offered == known.active.listing):
            running = ports.Taken(release=known.active.release.version)
            await session.ack(offer.nonce, known.revision, self._parts.clock.now_ms(), running)
            return
        progress = Progress()
        try:
            verified = await self._parts.installer.install(offer, known.active, plane.fetch, progress)
        except OutpostError as error:
            if isinstance(error, PeerError) and not error.as_dict()["fatal"]:
                raise  # the line broke: the same offer comes again with the next connection
            await self._refuse(session, offer, error, progress)
            return
        now_ms = self._parts.clock.now_ms()
        # Not yet adopted: what the ledger did not take is offered, installed and recorded once more.
        await self._record(record.BundleActivated(self._head(now_ms), verified.revision, known.revision))
        self.adopt(verified)
        emit(Event.BUNDLE_ACTIVATED, org=self._org, revision=verified.revision)
        await session.ack(offer.nonce, verified.revision, now_ms, progress.taken())

    def adopt(self, verified: VerifiedSet) -> None:
        """Take note of the set that is active."""
        self.knowledge.active = verified
        self.knowledge.revision = verified.revision
        self.knowledge.refused = ""
        self._set("policy", OK)

    async def _refuse(
        self, session: ports.SyncSession, offer: ports.Offer, error: OutpostError, progress: Progress
    ) -> None:
        emit(Event.BUNDLE_REFUSED, 30, org=self._org, code=error.code, message=error.message)
        self._set("policy", error.code, error.message)
        self.knowledge.refused = offer.revision[:MAX_REVISION_CHARS]
        now_ms = self._parts.clock.now_ms()
        await self._record(record.BundleRefused(self._head(now_ms), self.knowledge.refused, error.code, error.message))
        await session.nack(offer.nonce, error.as_dict(), error.field, progress.taken())

    async def _beat(self, session: ports.SyncSession) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.heartbeat_seconds)
            # The stream is open and keepalive pings are answered, else the transport would have ended it.
            self.knowledge.last_contact_ms = self._parts.clock.now_ms()
            await session.status(self._parts.heartbeat(self.knowledge))
            self._parts.changed(self.knowledge)

    async def _renew(self, plane: ports.ControlPlane, renew_at: int) -> None:
        while self._parts.clock.now_ms() // 1000 < renew_at:  # noqa: ASYNC110 - the wall clock may step; no event tells
            await asyncio.sleep(RENEW_CHECK_SECONDS)
        await self._rotate(plane, self._parts.load_identity())

    async def _rotate(self, plane: ports.ControlPlane, identity: identities.Identity) -> None:
        """Fresh key, fresh leaf, stored before it is used; then connect again with it."""
        key, key_pem = identities.new_key()
        chain, bundle, sequence = await plane.renew(csr.build_request(key), identity.enrollment.join_sequence)
        certificates = (
            keys.certificates_pem([keys.certificate_from_der(der) for der in chain]),
            keys.certificates_pem([keys.certificate_from_der(der) for der in bundle]),
        )
        renewed = identities.with_renewed(identity, key_pem, certificates, sequence)
        now_ms = self._parts.clock.now_ms()
        peer = renewed.verify(now_ms // 1000)
        self._parts.save_identity(renewed)
        await self._record(record.CertificateRenewed(self._head(now_ms), f"{peer.serial:x}", peer.not_after))
        emit(Event.CERTIFICATE_RENEWED, org=self._org, expires_ms=peer.not_after * 1000)
        raise StreamEndedError("connecting again with the renewed certificate")

    def _lost(self, error: OutpostError | TrustError) -> None:
        fields: Mapping[str, Any] = error.as_dict()
        code = str(fields["code"])
        if code in WITHDRAWN:
            self.knowledge.revoked = code
        if code != self.knowledge.functions.get("control_link"):
            emit(Event.SYNC_LOST, 30, org=self._org, code=code, message=str(fields["message"]))
        self._set("certificate" if isinstance(error, TrustError) else "control_link", code, str(fields["message"]))

    def _head(self, now_ms: int) -> record.RecordHead:
        return record.RecordHead(now_ms, self._org, self.knowledge.outpost)

    async def _record(self, event: "Recordable") -> None:
        await self._parts.ledger.append(self._org, [event.to_bytes()])

    def _set(self, function: str, code: str, note: str = "") -> None:
        self.knowledge.functions[function] = code
        self.knowledge.notes[function] = note
        self._parts.changed(self.knowledge)


async def first_of(*jobs: Coroutine[Any, Any, None] | Awaitable[None]) -> None:
    """Run jobs side by side until one ends; the others are cancelled, and the first error is raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        await task
