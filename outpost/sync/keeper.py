"""Keeps the certificate of one org alive: renews it in time, and recovers it when it has expired.

Rules
- Key and request are on the disk before anybody is asked, and the same request is sent until it is answered.
- Asked is over the sync connection, or over one of our own when there is none. A certificate that has expired, or has
  minutes left and could not be renewed, is recovered at the listener for strangers.
- Waits have full jitter and are bounded; nothing here ever gives up. What is refused for good is asked slowly.
- The server's clock counts: when ours is far off, that is said, and a certificate is judged by the time of whoever
  will judge it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys, recover, rotation
from certs.errors import TrustError
from outpost import issuing, ports
from outpost.core.audit.identity_record import CertificateRecovered
from outpost.core.audit.record import CertificateRenewed
from outpost.core.errors import OutpostError, PeerError
from outpost.sync import schedule
from outpost.sync.adoption import adopt
from outpost.sync.answers import accepted
from outpost.sync.identity import Identity
from outpost.sync.knowledge import OK, WITHDRAWN, Parts, Report
from outpost.sync.pending import PendingRequest
from outpost.telemetry import Event, emit

RETRY_BASE_SECONDS = 1.0
RETRY_CAP_SECONDS = 30.0  # an outpost whose certificate ended in an outage is back within a minute of the outage's end
REFUSED_SECONDS = 600.0  # between two attempts while we are refused for good
LONGEST_ASKED_SECONDS = 300.0  # of a wait that the control plane asks for: whatever it says, we come back
LOOK_SECONDS = 60.0  # between two looks at what a server that cannot be connected to shows
SKEW_LIMIT_MS = 300_000  # leaf certificates are backdated by as much (docs/design.md)


class RecoveryPlaceError(PeerError):
    """It is not known where certificates are recovered: the identity was made by an older version."""

    code = "recover.endpoint"
    fatal = True


class Keeper:
    """See the module docstring.

    Args:
        line: the connection of the moment, None when there is none.

    Attributes:
        replaced: set when another certificate is on the disk than the one that is connected with.
        ready: clear while the certificate is good for nothing.
    """

    def __init__(
        self, parts: Parts, report: Report, version: str, line: Callable[[], ports.ControlPlane | None]
    ) -> None:
        self._parts = parts
        self._report = report
        self._version = version
        self._line = line
        self._poked = asyncio.Event()
        self._scheduled = (0, 0)  # serial of a certificate, and when it is due
        self._rotate_by = 0  # when it is due at the latest, because we were asked; 0 = we were not
        self._recovered_at = 0
        self._skew_ms = 0
        self._measured_ms = 0  # our clock less the monotonic one when the skew was measured
        self._failures = 0
        self._looked = float("-inf")
        self.replaced = asyncio.Event()
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Keep the certificate until cancelled."""
        with contextlib.suppress(OutpostError, TrustError):  # what cannot be read is told by the first step
            await asyncio.to_thread(self._parts.identity.tidy)
        while True:
            wait = self._parts.settings.check_seconds
            try:
                await self._step()
                self._failures = 0
            except (OutpostError, TrustError) as error:
                wait = await self._failed(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._poked.wait()
            self._poked.clear()

    def rotate(self, spread_seconds: int) -> None:
        """Renew at a random moment within so many seconds."""
        self._rotate_by = self._now() + int(spread_seconds * self._parts.chance.uniform())
        self._poked.set()

    def told_time(self, now_ms: int) -> None:
        """Take note of the server's clock."""
        skew_ms = now_ms - self._parts.clock.now_ms()
        if abs(skew_ms) <= SKEW_LIMIT_MS:
            self._skew_ms = 0
            if self._report.known.functions.get("clock", OK) != OK:
                self._report.set("clock", OK)
            return
        self._skew_ms, self._measured_ms = skew_ms, self._drift_ms()
        side = "behind" if skew_ms > 0 else "ahead of"
        note = f"this machine's clock is {abs(skew_ms) // 1000} s {side} the control plane's"
        self._report.set("clock", "clock.skew", note)

    async def look(self, identity: Identity) -> None:
        """Find out why a server cannot be connected to: a root that we do not know yet, or the clocks.

        At most once a minute.

        Raises:
            OutpostError: nothing could be found out.
            TrustError: the server belongs to another control plane.
        """
        moment = self._parts.clock.monotonic()
        if moment - self._looked < LOOK_SECONDS:
            return
        self._looked = moment
        if await adopt(self._parts, self._report, identity, self._now()):
            self._poked.set()
        elif identity.enrollment.enroll_endpoint:
            async with closing(self._parts.strangers.desk(identity)) as desk:
                challenge = await desk.challenge(identity.enrollment.org, identity.enrollment.outpost_id)
            self.told_time(challenge.now_ms)
            self._poked.set()

    async def _step(self) -> None:
        """Look at the certificate, and do what is due."""
        await self._report.pay()
        identity = await asyncio.to_thread(self._parts.identity.load)
        life, now = identity.life, self._now()
        self._report.held(identity)
        self._judge(life)
        if schedule.is_over(life, now) or (schedule.is_dying(life, now) and self._failures):
            await self._recover(identity)
        elif self._is_due(identity, now) and not self._report.known.withdrawn and not self.replaced.is_set():
            asked, self._rotate_by = self._rotate_by, 0  # what is asked from here on is asked of the next certificate
            try:
                await self._renew(identity)
            except BaseException:
                self._rotate_by = self._rotate_by or asked
                raise

    def _is_due(self, identity: Identity, now: int) -> bool:
        serial = identity.leaf.serial_number
        if self._scheduled[0] != serial:
            due = schedule.due_at(identity.life, self._parts.chance.uniform(), self._recovered_at)
            self._scheduled = (serial, due)
        return now >= self._scheduled[1] or bool(self._rotate_by and now >= self._rotate_by)

    async def _renew(self, identity: Identity) -> None:
        """Fresh key, fresh leaf, over the connection that stands or one of our own."""
        request, boot_id = await asyncio.to_thread(self._prepared, identity)
        asked = issuing.RenewalRequest(request.csr_der, request.sequence, boot_id)
        line = self._line()
        if line is not None:
            answer = await line.renew(asked)
        else:
            async with closing(self._parts.connect(identity, self._failures)) as plane:
                answer = await plane.renew(asked)
        renewed = await self._take(identity, request, answer)
        serial, end = f"{renewed.leaf.serial_number:x}", renewed.life[1]
        await self._report.owe(CertificateRenewed(self._report.head(), serial, end))
        emit(Event.CERTIFICATE_RENEWED, org=self._report.known.org, expires_ms=end * 1000)

    async def _recover(self, identity: Identity) -> None:
        """Get another certificate, and count how that went."""
        known = self._report.known
        try:
            renewed = await self._asked_strangers(identity)
        except (OutpostError, TrustError) as error:
            self._report.failed_recovery(str(error.as_dict()["code"]))
            if is_unreachable(error):
                await self.look(identity)
            raise
        if renewed is None:
            return
        known.recoveries += 1
        serial, end = f"{renewed.leaf.serial_number:x}", renewed.life[1]
        sequence = renewed.enrollment.join_sequence
        await self._report.owe(CertificateRecovered(self._report.head(), serial, end, identity.life[1], sequence))
        emit(Event.CERTIFICATE_RECOVERED, org=known.org, expires_ms=end * 1000)

    async def _asked_strangers(self, identity: Identity) -> Identity | None:
        """Prove the bound key to the listener for strangers; None when the server says that the certificate is good."""
        told = identity.enrollment
        if not told.enroll_endpoint:
            raise RecoveryPlaceError(
                "the certificate has expired, and it is not known where to recover it",
                next_step="enroll anew: controlplane outpost reenroll NAME --org ORG",
            )
        async with closing(self._parts.strangers.desk(identity)) as desk:
            challenge = await desk.challenge(told.org, told.outpost_id)
            self.told_time(challenge.now_ms)
            if not schedule.is_dying(identity.life, self._now()):
                self._judge(identity.life)
                return None
            request, boot_id = await asyncio.to_thread(self._prepared, identity)
            answer = await desk.recover(self._proved(identity, request, challenge.nonce, boot_id))
        self._recovered_at, self._rotate_by = self._now(), 0
        return await self._take(identity, request, answer)

    def _prepared(self, identity: Identity) -> tuple[PendingRequest, str]:
        """What must be on the disk before anybody is asked."""
        return self._parts.identity.request(identity.enrollment.join_sequence), self._parts.identity.boot_id()

    def _proved(
        self, identity: Identity, request: PendingRequest, nonce: bytes, boot_id: str
    ) -> issuing.RecoveryRequest:
        told = identity.enrollment
        claim = recover.RecoverClaim(told.org, told.outpost_id, nonce, request.csr_der, request.sequence, boot_id)
        key = keys.private_key_from_pem(identity.key_pem)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return issuing.RecoveryRequest(
            org=told.org,
            outpost_id=told.outpost_id,
            nonce=nonce,
            csr_der=request.csr_der,
            join_sequence=request.sequence,
            serial=f"{identity.leaf.serial_number:x}",
            proof=key.sign(recover.recover_message(claim), ec.ECDSA(hashes.SHA256())),
            boot_id=boot_id,
            now_ms=self._parts.clock.now_ms(),
            software_version=self._version,
            leaf_der=keys.certificate_der(identity.leaf),
        )

    async def _take(self, identity: Identity, request: PendingRequest, answer: issuing.RenewalAnswer) -> Identity:
        """Store a new certificate before it is used."""
        renewed = accepted(identity, request, answer, self._now())
        await asyncio.to_thread(self._parts.identity.save, renewed)
        self._report.held(renewed)
        self._report.set("certificate", OK)
        self._judge(renewed.life)
        self.replaced.set()
        return renewed

    def _judge(self, life: schedule.Life) -> None:
        """Say how the certificate does; a failure of ours that stands there stays until it is over."""
        code = schedule.condition(life, self._now())
        if code == schedule.EXPIRED:
            self.ready.clear()
        else:
            self.ready.set()
        before = self._report.known.functions.get("certificate", "")
        if before == code or (code == OK and before not in ("", schedule.LATE, schedule.EXPIRED)):
            return
        self._report.set("certificate", code, self._report.known.notes.get("certificate", "") if code != OK else "")
        if code != OK:
            emit(Event.CERTIFICATE_FAILED, 30, org=self._report.known.org, code=code, expires_ms=life[1] * 1000)

    async def _failed(self, error: OutpostError | TrustError) -> float:
        """Take note of a failure; returns how long to wait."""
        told, known = error.as_dict(), self._report.known
        code, message = str(told["code"]), str(told["message"])
        if code in WITHDRAWN:
            await self._report.withdrawn(code)
        before = known.functions.get("certificate", OK)
        if before == OK and not isinstance(error, PeerError):  # a server that is away is the link's matter
            before = code
        self._report.set("certificate", before, f"the last attempt failed: {message} ({code})")
        self._failures += 1
        emit(Event.CERTIFICATE_FAILED, 30, org=known.org, code=code, message=message, attempts=self._failures)
        chance = self._parts.chance.uniform()
        wait = rotation.backoff_seconds(self._failures - 1, RETRY_BASE_SECONDS, RETRY_CAP_SECONDS, chance)
        if told["fatal"] and isinstance(error, PeerError):
            wait += REFUSED_SECONDS * chance
        return wait + min(getattr(error, "retry_after_seconds", 0.0), LONGEST_ASKED_SECONDS)

    def _now(self) -> int:
        """Unix seconds, by the clock of whoever judges certificates."""
        if self._skew_ms and abs(self._drift_ms() - self._measured_ms) > SKEW_LIMIT_MS:  # somebody set our clock since
            self._skew_ms = 0
            self._report.set("clock", OK)
        return (self._parts.clock.now_ms() + self._skew_ms) // 1000

    def _drift_ms(self) -> int:
        """Our clock less the monotonic one: changes when our clock is set."""
        return self._parts.clock.now_ms() - int(self._parts.clock.monotonic() * 1000)


class _Closes(Protocol):
    async def close(self) -> None: ...


_Connection = TypeVar("_Connection", bound=_Closes)


@contextlib.asynccontextmanager
async def closing(connection: _Connection) -> AsyncIterator[_Connection]:
    """A connection that is let go at the end."""
    try:
        yield connection
    finally:
        await connection.close()


def is_unreachable(error: OutpostError | TrustError) -> bool:
    """Whether nobody answered: the server may be away, or not be believed."""
    return str(error.as_dict()["code"]) == "controlplane.unreachable"
