"""An agent of an org and its surroundings: a control plane in memory that issues real certificates, files on a disk."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outpost_wire.v1 import types_pb2

from certs import csr, keys, recover
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell.dev import Hierarchy
from certs.shell.signers import random_serial
from certs.shell.tls import ServerUnreachableError
from certs.spiffe import OutpostIdentity
from outpost import issuing, ports
from outpost.core.bundle.release import SignedSet, VerifiedSet
from outpost.core.errors import OutpostError, StoreError
from outpost.rpc.codec import ControlPlaneRefusedError, ControlPlaneUnreachableError
from outpost.sync import agent, tuf
from outpost.sync import identity as identities
from outpost.sync.files import IdentityFiles
from outpost.sync.install import Progress
from outpost.sync.knowledge import Knowledge, Parts, Report, Strangers, Timing
from tests.unit.core.bundle.samples import AUDIENCE, ORG, repository
from tests.unit.sync.enrolled import NOTHING, OUTPOST, TRUST_DOMAIN, Chance, Clock, Enrolled

NOW_MS = 1_790_000_000_000
PATIENCE = 5.0
MADE = Enrolled(NOW_MS)
SET = MADE.signed()
NEXT = repository(MADE.keys).refresh(SET, NOW_MS + 1000)
NONCE_KEY = bytes(32)


def verified(signed: SignedSet) -> VerifiedSet:
    return tuf.verify(SET.metadata["1.root.json"], signed, NOTHING, NOW_MS, AUDIENCE)


@dataclass
class Session:
    """A sync stream: messages go down a queue, answers are noted."""

    down: "asyncio.Queue[ports.ControlMessage | OutpostError | None]" = field(default_factory=asyncio.Queue)
    answers: "asyncio.Queue[tuple[Any, ...]]" = field(default_factory=asyncio.Queue)
    beats: "asyncio.Queue[ports.Heartbeat]" = field(default_factory=asyncio.Queue)
    taken: list[ports.Taken] = field(default_factory=list)  # how far each offer got

    async def receive(self) -> ports.ControlMessage | None:
        message = await self.down.get()
        if isinstance(message, OutpostError):
            raise message
        return message

    async def ack(self, nonce: str, revision: str, activated_ms: int, taken: ports.Taken) -> None:
        self.taken.append(taken)
        await self.answers.put(("ack", nonce, revision))

    async def nack(self, nonce: str, error: Mapping[str, str | bool], resource: str, taken: ports.Taken) -> None:
        self.taken.append(taken)
        await self.answers.put(("nack", nonce, error["code"], resource))

    async def status(self, heartbeat: ports.Heartbeat) -> None:
        await self.beats.put(heartbeat)


@dataclass
class Authority:
    """The half of a control plane that issues certificates: the same one for the same request.

    Attributes:
        asked: requests in the order in which they came, with the way that each took.
        failures: what is raised instead of an answer, one for each call; None answers.
        lost: answers that are made and lost on their way.
    """

    clock: Clock
    trust: Hierarchy = field(default_factory=lambda: MADE.trust)
    asked: list[tuple[str, bytes, int]] = field(default_factory=list)
    failures: list[OutpostError | None] = field(default_factory=list)
    lost: int = 0
    ahead_ms: int = 0
    issued: dict[bytes, issuing.RenewalAnswer] = field(default_factory=dict)

    def answer(self, way: str, csr_der: bytes, sequence: int) -> issuing.RenewalAnswer:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.asked.append((way, csr_der, sequence))
        if csr_der not in self.issued:
            self.issued[csr_der] = self._issue(csr_der, sequence)
        if self.lost:
            self.lost -= 1
            raise away()
        return self.issued[csr_der]

    def now_ms(self) -> int:
        return self.clock.now_ms() + self.ahead_ms

    def _issue(self, csr_der: bytes, sequence: int) -> issuing.RenewalAnswer:
        template = CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=TRUST_DOMAIN,
            public_key=csr.read_request(csr_der).public_key,
            serial=random_serial(),
            now=self.now_ms() // 1000,
            identity=OutpostIdentity(TRUST_DOMAIN, ORG, OUTPOST),
        )
        issued = sign(prepare(template, self.trust.outposts.certificate), self.trust.outposts.signer)
        issuer = keys.certificate_der(self.trust.outposts.certificate)
        chain = (keys.certificate_der(issued.certificate), issuer)
        return issuing.RenewalAnswer(
            chain, (keys.certificate_der(self.trust.root.certificate),), sequence + 1, (issuer,)
        )


def refused(code: str, *, fatal: bool = True) -> ControlPlaneRefusedError:
    """A typed refusal of the control plane."""
    return ControlPlaneRefusedError(types_pb2.ErrorDetail(code=code, message=f"refused: {code}", fatal=fatal))


def away() -> ControlPlaneUnreachableError:
    """Nobody answers."""
    return ControlPlaneUnreachableError("nobody answers")


@dataclass
class Plane:
    """``ports.ControlPlane`` of one connection."""

    session: Session
    hellos: list[ports.Hello]
    identity: identities.Identity
    authority: Authority
    failure: OutpostError | None = None
    closed: bool = False
    failure_lasts: int = 10**9  # attempts
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def open(self, hello: ports.Hello) -> Session:
        self.hellos.append(hello)
        self.opened.set()
        await self.gate.wait()
        if self.failure is not None and self.failure_lasts > 0:
            self.failure_lasts -= 1
            raise self.failure
        return self.session

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        raise AssertionError("everything is inline here")

    async def renew(self, request: issuing.RenewalRequest) -> issuing.RenewalAnswer:
        assert not self.closed
        return self.authority.answer("renew", request.csr_der, request.join_sequence)

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        raise AssertionError("the delivery of this test sends nothing")

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        raise AssertionError("the delivery of this test asks nothing")

    async def close(self) -> None:
        self.closed = True


@dataclass
class Desk:
    """``ports.RecoveryDesk``: the proof is checked as the control plane does."""

    authority: Authority
    identity: identities.Identity

    async def challenge(self, org: str, outpost_id: str) -> issuing.Challenge:
        failure = self.authority.failures.pop(0) if self.authority.failures else None
        if failure is not None:
            raise failure
        now_ms = self.authority.now_ms()
        return issuing.Challenge(recover.make_nonce(NONCE_KEY, org, outpost_id, now_ms), now_ms)

    async def recover(self, request: issuing.RecoveryRequest) -> issuing.RenewalAnswer:
        now_ms = self.authority.now_ms()
        recover.check_nonce(NONCE_KEY, request.nonce, request.org, request.outpost_id, now_ms)
        claim = recover.RecoverClaim(
            *(request.org, request.outpost_id, request.nonce, request.csr_der, request.join_sequence, request.boot_id)
        )
        key = keys.require_tls_key(self.identity.leaf.public_key())
        recover.verify_proof(key, recover.recover_message(claim), request.proof)
        assert request.serial == f"{self.identity.leaf.serial_number:x}"
        return self.authority.answer("recover", request.csr_der, request.join_sequence)

    async def close(self) -> None:
        return


@dataclass
class Installer:
    """Stands where the installer stands; what it does is tested in test_install."""

    result: VerifiedSet | Exception
    offers: list[ports.Offer] = field(default_factory=list)

    async def install(
        self, offered: ports.Offer, active: VerifiedSet | None, fetch: object, progress: Progress
    ) -> VerifiedSet:
        self.offers.append(offered)
        progress.downloaded_ms = NOW_MS - 5
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@dataclass
class Ledger:
    """Records as plain data; one that is full takes nothing."""

    records: list[dict[str, Any]] = field(default_factory=list)
    full: bool = False

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        if self.full:
            raise StoreError("full")
        self.records += [json.loads(record) for record in records]
        return range(len(records))

    @property
    def events(self) -> list[str]:
        return [record["event"] for record in self.records]


@dataclass
class Locker:
    """Obeys every order but those whose reason says otherwise."""

    locked: bool = False
    wiped: bool = False

    def is_locked(self) -> bool:
        return self.locked

    async def obey(self, order: ports.Locked, identity: identities.Identity, report: Report) -> bool:
        self.locked = order.reason != "forged"
        return self.locked

    async def wipe(self) -> None:
        self.wiped = True


class World:
    """An agent and everything around it."""

    def __init__(self, folder: Path, result: VerifiedSet | Exception | None = None) -> None:
        self.clock, self.chance = Clock(NOW_MS), Chance(0.0)
        self.files = IdentityFiles(folder / "identity", self.chance)
        identities.save(self.files.folder, MADE.identity(enroll_endpoint="127.0.0.1:1"))
        self.authority = Authority(self.clock)
        self.planes: list[Plane] = []
        self.hellos: list[ports.Hello] = []
        self.connected: asyncio.Queue[Plane] = asyncio.Queue()
        self.failures: list[OutpostError | None] = []
        self.failure_lasts = 10**9  # attempts on one connection
        self.shown: tuple[bytes, ...] = ()
        self.installer = Installer(result or verified(SET))
        self.ledger, self.locker = Ledger(), Locker()
        self.waits: list[float] = []
        self.changes = 0
        self.delivering: Callable[[ports.ControlPlane, Knowledge], Awaitable[None]] = self._deliver
        self.agent = agent.OrgAgent(ORG, self.parts(), "1.0")

    @property
    def identity(self) -> identities.Identity:
        return self.files.load()

    @property
    def known(self) -> Knowledge:
        return self.agent.knowledge

    def parts(self, heartbeat_seconds: float = 60.0) -> Parts:
        return Parts(
            identity=self.files,
            connect=self._connect,
            strangers=Strangers(lambda identity: Desk(self.authority, identity), self._presented),
            installer=self.installer,  # type: ignore[arg-type]
            deliver=self._run_delivery,
            ledger=self.ledger,
            heartbeat=self._heartbeat,
            changed=self._changed,
            clock=self.clock,
            chance=self.chance,
            settings=Timing(heartbeat_seconds, 60.0, check_seconds=0.005),
            locker=self.locker,
            sleep=self._sleep,
        )

    async def next_plane(self) -> Plane:
        return await asyncio.wait_for(self.connected.get(), PATIENCE)

    def age(self, share: float) -> None:
        """Move the clock to a share of the certificate's life."""
        starts, ends = self.identity.life
        self.clock.time_ms = int((starts + (ends - starts) * share) * 1000)

    def _connect(self, identity: identities.Identity, attempts: int) -> Plane:
        failure = self.failures.pop(0) if self.failures else None
        plane = Plane(Session(), self.hellos, identity, self.authority, failure, failure_lasts=self.failure_lasts)
        self.planes.append(plane)
        self.connected.put_nowait(plane)
        return plane

    async def _presented(self, host: str, port: int) -> tuple[bytes, ...]:
        if not self.shown:
            raise ServerUnreachableError("nobody there")
        return self.shown

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def _run_delivery(self, plane: ports.ControlPlane, known: Knowledge) -> None:
        await self.delivering(plane, known)

    async def _deliver(self, plane: ports.ControlPlane, known: Knowledge) -> None:
        await asyncio.Event().wait()

    def _heartbeat(self, known: Knowledge) -> ports.Heartbeat:
        told = (self.clock.now_ms(), "ACTIVE", dict(known.functions), known.revision)
        return ports.Heartbeat(*told, 0, 0, 0, (1,), 1, 1, "1.0")

    def _changed(self, known: Knowledge) -> None:
        self.changes += 1


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Plane]:
    """The agent runs; gives its first connection."""
    async with started(world):
        yield await world.next_plane()


@asynccontextmanager
async def started(world: World) -> AsyncIterator[None]:
    """The agent runs."""
    task = asyncio.create_task(world.agent.run())
    try:
        yield
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answer(plane: Plane) -> tuple[Any, ...]:
    return await asyncio.wait_for(plane.session.answers.get(), PATIENCE)


async def until(holds: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)
