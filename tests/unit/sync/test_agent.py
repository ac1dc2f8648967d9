"""The agent of an org against a control plane in memory: offers, refusals, renewals, waits. Nothing sleeps for long."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from certs import csr, keys
from certs.issue import CertificateTemplate, prepare, sign
from certs.profiles import CertificateKind
from certs.shell.signers import random_serial
from certs.spiffe import OutpostIdentity
from outpost import ports
from outpost.core.bundle.errors import RollbackError
from outpost.core.bundle.release import SignedSet, VerifiedSet
from outpost.core.errors import InternalError, OutpostError, PeerError
from outpost.sync import agent, tuf
from outpost.sync import identity as identities
from outpost.sync.install import Progress
from tests.unit.core.bundle.samples import AUDIENCE, ORG, repository
from tests.unit.sync.enrolled import NOTHING, OUTPOST, TRUST_DOMAIN, Chance, Clock, Enrolled, offer

NOW_MS = 1_790_000_000_000
PATIENCE = 5.0
MADE = Enrolled(NOW_MS)
SET = MADE.signed()
NEXT = repository(MADE.keys).refresh(SET, NOW_MS + 1000)


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
class Plane:
    """``ports.ControlPlane`` of one connection."""

    session: Session
    hellos: list[ports.Hello]
    identity: identities.Identity
    failure: OutpostError | None = None
    closed: bool = False
    failure_lasts: int = 10**9  # attempts

    async def open(self, hello: ports.Hello) -> Session:
        self.hellos.append(hello)
        if self.failure is not None and self.failure_lasts > 0:
            self.failure_lasts -= 1
            raise self.failure
        return self.session

    async def fetch(self, sha256: bytes, size: int) -> bytes:
        raise AssertionError("everything is inline here")

    async def renew(self, csr_der: bytes, join_sequence: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...], int]:
        template = CertificateTemplate(
            kind=CertificateKind.OUTPOST,
            trust_domain=TRUST_DOMAIN,
            public_key=csr.read_request(csr_der).public_key,
            serial=random_serial(),
            now=NOW_MS // 1000,
            identity=OutpostIdentity(TRUST_DOMAIN, ORG, OUTPOST),
        )
        issued = sign(prepare(template, MADE.trust.outposts.certificate), MADE.trust.outposts.signer)
        chain = (keys.certificate_der(issued.certificate), keys.certificate_der(MADE.trust.outposts.certificate))
        return chain, (keys.certificate_der(MADE.trust.root.certificate),), join_sequence + 1

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        raise AssertionError("the delivery of this test sends nothing")

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        raise AssertionError("the delivery of this test asks nothing")

    async def close(self) -> None:
        self.closed = True


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
    """Records as plain data."""

    records: list[dict[str, Any]] = field(default_factory=list)

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        self.records += [json.loads(record) for record in records]
        return range(len(records))

    @property
    def events(self) -> list[str]:
        return [record["event"] for record in self.records]


class World:
    """An agent and everything around it."""

    def __init__(self, result: VerifiedSet | Exception | None = None) -> None:
        self.clock, self.chance = Clock(NOW_MS), Chance(0.0)
        self.identity = MADE.identity()
        self.saved: list[identities.Identity] = []
        self.planes: list[Plane] = []
        self.hellos: list[ports.Hello] = []
        self.connected: asyncio.Queue[Plane] = asyncio.Queue()
        self.failures: list[OutpostError | None] = []
        self.failure_lasts = 10**9  # attempts on one connection
        self.installer = Installer(result or verified(SET))
        self.ledger = Ledger()
        self.changes = 0
        self.delivering: Callable[[ports.ControlPlane, agent.Knowledge], Awaitable[None]] = self._deliver
        self.agent = agent.OrgAgent(ORG, self.parts(), "boot", "1.0")

    def parts(self, heartbeat_seconds: float = 60.0) -> agent.Parts:
        return agent.Parts(
            load_identity=lambda: self.identity,
            save_identity=self._save,
            connect=self._connect,
            installer=self.installer,  # type: ignore[arg-type]
            deliver=self._run_delivery,
            ledger=self.ledger,
            heartbeat=self._heartbeat,
            changed=self._changed,
            clock=self.clock,
            chance=self.chance,
            settings=agent.Timing(heartbeat_seconds, 60.0),
        )

    def _save(self, identity: identities.Identity) -> None:
        self.identity = identity
        self.saved.append(identity)

    def _connect(self, identity: identities.Identity, attempts: int) -> Plane:
        failure = self.failures.pop(0) if self.failures else None
        plane = Plane(Session(), self.hellos, identity, failure, failure_lasts=self.failure_lasts)
        self.planes.append(plane)
        self.connected.put_nowait(plane)
        return plane

    async def _run_delivery(self, plane: ports.ControlPlane, known: agent.Knowledge) -> None:
        await self.delivering(plane, known)

    async def _deliver(self, plane: ports.ControlPlane, known: agent.Knowledge) -> None:
        await asyncio.Event().wait()

    def _heartbeat(self, known: agent.Knowledge) -> ports.Heartbeat:
        return ports.Heartbeat(
            self.clock.now_ms(), "ACTIVE", dict(known.functions), known.revision, 0, 0, 0, (1,), 1, 1, "1.0"
        )

    def _changed(self, known: agent.Knowledge) -> None:
        self.changes += 1

    async def next_plane(self) -> Plane:
        return await asyncio.wait_for(self.connected.get(), PATIENCE)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Plane]:
    """The agent runs; gives its first connection."""
    task = asyncio.create_task(world.agent.run())
    try:
        yield await world.next_plane()
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answer(plane: Plane) -> tuple[Any, ...]:
    return await asyncio.wait_for(plane.session.answers.get(), PATIENCE)


async def test_an_offer_is_installed_recorded_and_acknowledged() -> None:
    world = World()
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET, "n-7"))
        assert await answer(plane) == ("ack", "n-7", "1.1")
        known = world.agent.knowledge
        assert (known.revision, known.active) == ("1.1", verified(SET))
        assert known.functions == {"control_link": "ok", "certificate": "ok", "policy": "ok"}
        assert known.last_contact_ms == NOW_MS
        assert world.ledger.events == ["bundle.activated"]
        assert plane.session.taken == [ports.Taken(NOW_MS - 5, 0)]


async def test_the_same_set_again_is_acknowledged_without_work() -> None:
    world = World()
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET, "n-1"))
        assert await answer(plane) == ("ack", "n-1", "1.1")
        plane.session.down.put_nowait(ports.Offer("n-2", "1.1", (), 0))  # "what you hold is the newest"
        assert await answer(plane) == ("ack", "n-2", "1.1")
        assert world.installer.offers == []
        assert world.ledger.events == []


REFUSALS: dict[str, tuple[OutpostError, str]] = {
    "a set that cannot be believed": (RollbackError("older", field="snapshot"), "snapshot"),
    "a fault of our own": (InternalError("a worker refuses", field="slot"), "slot"),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refused_offer_is_told_and_the_last_good_set_stays(what: str) -> None:
    error, resource = REFUSALS[what]
    world = World(error)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(NEXT, "n-9"))
        assert await answer(plane) == ("nack", "n-9", error.code, resource)
        known = world.agent.knowledge
        assert (known.active, known.functions["policy"]) == (verified(SET), error.code)
        assert world.ledger.events == ["bundle.refused"]
        world.installer.result = verified(NEXT)
        plane.session.down.put_nowait(offer(NEXT, "n-10"))
        assert (await answer(plane))[0] == "ack"
        assert known.functions["policy"] == "ok"


async def test_hello_tells_who_we_are_and_what_we_hold() -> None:
    world = World()
    world.agent.adopt(verified(SET))
    async with running(world):
        hello = world.hellos[0]
        assert (hello.boot_id, hello.join_sequence, hello.active_revision) == ("boot", 1, "1.1")
        assert set(hello.held) == {*SET.metadata, *SET.targets}


async def test_heartbeats_are_sent_and_count_as_contact() -> None:
    world = World()
    world.agent = agent.OrgAgent(ORG, world.parts(heartbeat_seconds=0.01), "boot", "1.0")
    async with running(world) as plane:
        beat = await asyncio.wait_for(plane.session.beats.get(), PATIENCE)
        assert beat.functions["certificate"] == "ok"
        assert world.agent.knowledge.last_contact_ms == NOW_MS


BREAKS: dict[str, Callable[[Plane], None]] = {
    "the stream breaks": lambda plane: plane.session.down.put_nowait(PeerError("reset")),
    "the control plane ends it": lambda plane: plane.session.down.put_nowait(None),
    "the control plane asks to come back": lambda plane: plane.session.down.put_nowait(ports.Drain(0)),
}


@pytest.mark.parametrize("what", BREAKS)
async def test_the_agent_connects_again_when(what: str) -> None:
    world = World()
    async with running(world) as plane:
        BREAKS[what](plane)
        again = await world.next_plane()
        assert plane.closed
        again.session.down.put_nowait(offer(SET))
        assert (await answer(again))[0] == "ack"
        assert world.agent.knowledge.attempts == 0


async def test_a_delivery_that_breaks_ends_the_connection() -> None:
    world = World()
    gate = asyncio.Event()

    async def deliver(plane: ports.ControlPlane, known: agent.Knowledge) -> None:
        await gate.wait()
        raise PeerError("reset")

    world.delivering = deliver
    async with running(world) as plane:
        gate.set()
        await world.next_plane()
        assert plane.closed


async def test_attempts_are_counted_until_somebody_answers() -> None:
    world = World()
    world.failures = [PeerError("refused"), PeerError("refused"), PeerError("refused"), None]
    async with running(world):
        for _ in range(3):
            last = await world.next_plane()
        known = world.agent.knowledge
        assert (known.attempts, known.functions["control_link"]) == (3, "peer.failed")
        assert all(plane.closed for plane in world.planes[:3])
        last.session.down.put_nowait(offer(SET))
        assert (await answer(last))[0] == "ack"
        assert (known.attempts, known.functions["control_link"]) == (0, "ok")


async def test_rotate_now_renews_and_connects_with_the_fresh_certificate() -> None:
    world = World()
    before = world.identity
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.RotateNow())
        again = await world.next_plane()
        assert [saved.enrollment.join_sequence for saved in world.saved] == [2]
        assert again.identity == world.identity
        assert again.identity.key_pem != before.key_pem
        assert world.hellos[-1].join_sequence == 2
        assert world.ledger.events == ["certificate.renewed"]


async def test_a_certificate_is_renewed_at_half_of_its_life() -> None:
    world = World()
    world.chance.number = 0.5
    peer = world.identity.verify(NOW_MS // 1000)
    world.clock.time_ms = (peer.not_before + peer.not_after) // 2 * 1000 + 1000
    async with running(world):
        await asyncio.wait_for(until(lambda: len(world.saved) == 1), PATIENCE)


async def test_an_expired_certificate_is_told_by_its_own_function() -> None:
    world = World()
    world.clock.time_ms = NOW_MS + 30 * 24 * 3600 * 1000
    task = asyncio.create_task(world.agent.run())
    await asyncio.wait_for(until(lambda: "certificate" in world.agent.knowledge.functions), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.agent.knowledge.functions["certificate"].startswith("chain.")
    assert world.planes == []


async def test_a_lock_is_shown_and_the_stream_stays() -> None:
    world = World()
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Locked("revoked"))
        await asyncio.wait_for(until(lambda: world.agent.knowledge.functions["control_link"] != "ok"), PATIENCE)
        await asyncio.wait_for(until(plane.session.down.empty), PATIENCE)
        assert world.agent.knowledge.functions["control_link"] == "outpost.revoked"
        assert not plane.closed


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    while not holds():
        await asyncio.sleep(0)
