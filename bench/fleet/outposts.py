"""A simulated outpost: the product's own sync agent, installer, verifier, cache and client, in a folder of its own.

Left out are the gateway's workers and the ledger (records stay in memory), and one compiled program is shared by all
outposts of a process that hold the same content. What happens is noted with the machine's monotonic clock, which all
processes share.
"""

import asyncio
import hashlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from outpost_wire.v1 import sync_pb2

from bench.fleet.probes import ABSENT, PROBE_SECONDS, until_revoked
from bench.fleet.wires import Wire
from certs import csr
from certs.shell.signers import generate_tls_key
from outpost import issuing, ports
from outpost.bootstrap import agents, enrollment, programs
from outpost.core.bundle.release import VerifiedSet
from outpost.core.detect.pattern import Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.core.errors import OutpostError
from outpost.core.inspection import TIERS
from outpost.core.program import build
from outpost.paths import StatePaths
from outpost.rpc.client import GrpcControlPlane
from outpost.settings import Settings
from outpost.sync import agent
from outpost.sync import identity as identities
from outpost.sync.enroll import Joining
from outpost.sync.files import IdentityFiles
from outpost.sync.install import Installer
from outpost.sync.knowledge import OK, Knowledge, Parts, Strangers, Timing
from outpost.sync.obey import StateLocker

SYNC_METHOD = "/outpost_wire.v1.Sync/Sync"


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class SystemChance:
    def token_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def uniform(self) -> float:
        return random.random()


class Programs:
    """Compiled programs by content."""

    def __init__(self) -> None:
        self._scanner = Scanner(compile_rules(RULES), RULES)
        self._made: dict[bytes, object] = {}
        self._lock = Lock()

    def attempt(self, verified: VerifiedSet) -> object:
        """Build a program and run its self-tests, once for each content."""
        digest = hashlib.sha256()
        for path in sorted(verified.documents):
            digest.update(path.encode() + b"\0" + hashlib.sha256(verified.documents[path]).digest())
        key = digest.digest() + verified.chosen.version.to_bytes(8, "big")  # of a set's two releases, the one that runs
        with self._lock:
            if key not in self._made:
                self._made[key] = build(verified, self._scanner)
            return self._made[key]


class Workers:
    """No workers: everything is prepared at once."""

    async def prepare(self, org: str, slot: str) -> None:
        return

    async def commit(self, org: str) -> None:
        return

    async def lock(self, org: str) -> None:
        return


class Ledger:
    """Records are counted, by event."""

    def __init__(self) -> None:
        self.count = 0
        self.events: Counter[str] = Counter()

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        self.count += len(records)
        self.events.update(str(json.loads(record)["event"]) for record in records)
        return range(self.count - len(records), self.count)


@dataclass(slots=True)
class Notes:
    """What happened to one outpost; times are monotonic seconds."""

    connected: list[float] = field(default_factory=list)  # first message of a stream came
    acked: list[tuple[str, float]] = field(default_factory=list)  # revision, when its Ack was written
    ended: list[tuple[str, float]] = field(default_factory=list)  # code with which a stream ended
    refused: list[tuple[str, float]] = field(default_factory=list)  # code of the next call on that connection
    waits: list[float] = field(default_factory=list)  # seconds between two connections, as the agent chose them
    ran: list[tuple[int, float]] = field(default_factory=list)  # release that was acknowledged, and when
    nacked: list[tuple[str, float]] = field(default_factory=list)  # code of a refusal, when it was written
    offered: list[tuple[str, int]] = field(default_factory=list)  # revision of an offer, and how many files it names
    beats: int = 0  # heartbeats that were written
    offers: int = 0
    offer_bytes: int = 0  # of the Offer messages on the wire
    bundle_bytes: int = 0  # of that, bytes of files; fetched ones too


class ObservedSession:
    """A session that notes what passes."""

    def __init__(self, session: Any, plane: "ObservedPlane") -> None:
        self._session = session
        self._plane = plane
        self._first = True

    async def receive(self) -> ports.ControlMessage | None:
        message: ports.ControlMessage | None = await self._plane.watched(self._session.receive())
        notes = self._plane.notes
        if self._first:
            self._first = False
            notes.connected.append(time.monotonic())
        if isinstance(message, ports.Offer):
            notes.offers += 1
            notes.offered.append((message.revision, len(message.files)))
            notes.bundle_bytes += sum(len(item.inline) + len(item.delta) for item in message.files)
        return message

    async def ack(self, *given: Any, **named: Any) -> None:
        await self._plane.watched(self._session.ack(*given, **named))
        self._plane.notes.acked.append((given[1], time.monotonic()))
        self._plane.notes.ran.append((given[3].release if len(given) > 3 else 0, time.monotonic()))

    async def nack(self, *given: Any, **named: Any) -> None:
        await self._plane.watched(self._session.nack(*given, **named))
        self._plane.notes.nacked.append((str(given[1]["code"]), time.monotonic()))

    async def status(self, heartbeat: ports.Heartbeat) -> None:
        await self._plane.watched(self._session.status(heartbeat))
        self._plane.notes.beats += 1


class ObservedPlane:
    """``ports.ControlPlane`` of the product, with notes."""

    def __init__(self, plane: GrpcControlPlane, notes: Notes, wire: Wire | None, *, probing: bool) -> None:
        self._plane = plane
        self._wire = wire
        self.notes = notes
        self._probing = probing
        self._probe: asyncio.Task[None] | None = None
        self._is_ended = False
        channel: Any = plane._channel
        plane._sync.Sync = channel.stream_stream(
            SYNC_METHOD,
            request_serializer=sync_pb2.SyncUp.SerializeToString,
            response_deserializer=self._read,
        )

    def _read(self, data: bytes) -> sync_pb2.SyncDown:
        message = sync_pb2.SyncDown.FromString(data)
        if message.WhichOneof("message") == "offer":
            self.notes.offer_bytes += len(data)
        return message

    async def open(self, hello: ports.Hello) -> ObservedSession:
        session = await self._plane.open(hello)
        self._strike("hello")
        return ObservedSession(session, self)

    async def renew(self, request: issuing.RenewalRequest) -> issuing.RenewalAnswer:
        answer = await self._plane.renew(request)
        self._strike("renewal")
        return answer

    def _strike(self, kind: str) -> None:
        if self._wire is not None:
            self._wire.strike(kind)

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        body = await self._plane.fetch(sha256, size, part)
        self.notes.bundle_bytes += len(body)
        return body

    async def watched(self, call: Awaitable[Any]) -> Any:
        """Make a call on the stream; the first that fails tells how the stream ended, and the probe begins at once."""
        try:
            return await call
        except OutpostError as error:
            if not self._is_ended:
                self._is_ended = True
                self.notes.ended.append((str(error.as_dict()["code"]), time.monotonic()))
                if self._probing:
                    self._probe = asyncio.create_task(self._call_once_more())
            raise

    async def _call_once_more(self) -> None:
        """One more call on the connection whose stream just ended."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._plane.fetch(ABSENT, 0)
            code = "answered"
        except TimeoutError:
            code = "timeout"
        except OutpostError as error:
            code = str(error.as_dict()["code"])
        self.notes.refused.append((code, time.monotonic()))

    async def close(self) -> None:
        if self._probe is not None:
            await self._probe
        await self._plane.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plane, name)


@dataclass(slots=True)
class Options:
    """How simulated outposts behave."""

    heartbeat_seconds: float = 10.0
    reconnect_cap_seconds: float = 60.0
    probing: bool = False  # call once more when a stream ends
    check_seconds: float = 5.0  # between two looks at the certificate
    sick_body_bytes: int = 0  # inspection fails its own test under a release with this bound


async def _never(plane: ports.ControlPlane, known: Knowledge) -> None:
    await asyncio.Event().wait()


class Outpost:
    """One simulated outpost on its state folder."""

    def __init__(self, folder: Path, org: str, shared: Programs, options: Options) -> None:
        self.notes = Notes()
        self.ledger = Ledger()
        self.told: Counter[str] = Counter()  # codes of functions that did not work, each time that one began
        self.wire: Wire | None = None  # between it and the control plane, where lines are cut
        self._address = ""
        self._functions: dict[str, str] = {}
        self._folder, self._org, self._shared = folder, org, shared
        self._options = options
        paths = StatePaths(folder)
        self._files = paths.org(org)
        clock, chance = SystemClock(), SystemChance()
        self._dialer = agents.Dialer(chance)
        cache = programs.open_cache(paths, org, paths.wrap_key.read_bytes(), chance)
        verifier = programs.open_verifier(paths, org)
        workers = Workers()
        installer = Installer(
            org=org,
            cache=cache,
            activator=workers,
            verify=verifier.verify,
            attempt=shared.attempt,
            clock=clock,
        )
        parts = Parts(
            identity=IdentityFiles(self._files.identity, chance),
            connect=self._connect,
            strangers=Strangers(agents.recovery_desk, agents.presented_chain),
            installer=installer,
            deliver=_never,
            ledger=self.ledger,
            heartbeat=self._heartbeat,
            changed=self._changed,
            clock=clock,
            chance=chance,
            settings=Timing(options.heartbeat_seconds, options.reconnect_cap_seconds, options.check_seconds),
            locker=StateLocker(paths, org, workers.lock, clock),
            sleep=self._sleep,
        )
        self.agent = agent.OrgAgent(org, parts, agents.VERSION)
        verified = programs.load_verified(verifier, cache, clock.now_ms())
        if verified is not None:
            self.agent.adopt(verified)

    def again(self) -> "Outpost":
        """The same machine after a restart, on the same wire."""
        made = Outpost(self._folder, self._org, self._shared, self._options)
        made.wire, made._address = self.wire, self._address
        return made

    def run(self) -> Awaitable[None]:
        """The product's agent, until cancelled."""
        return self.agent.run()

    def is_linked(self) -> bool:
        """Whether the stream is open, as the agent knows it."""
        return self.agent.knowledge.functions.get("control_link") == OK

    def _connect(self, identity: identities.Identity, attempts: int) -> ObservedPlane:
        if self.wire is not None:
            told = replace(identity.enrollment, sync_endpoint=self._address, sync_endpoints=())
            identity = replace(identity, enrollment=told)
        plane = self._dialer.connect(identity, attempts)
        return ObservedPlane(plane, self.notes, self.wire, probing=self._options.probing)

    async def put_on_wire(self, source: str) -> Wire:
        """From now on all bytes pass over a wire that can be cut, and come from an address."""
        self.wire = Wire(self.identity.enrollment.endpoints, source)
        self._address = await self.wire.start()
        return self.wire

    def is_settled(self) -> bool:
        """Whether it is linked, with the certificate that is on its disk."""
        return self.is_linked() and not self.agent._keeper.replaced.is_set()

    @property
    def sequence(self) -> int:
        """Join sequence of the certificate on the disk."""
        return self.identity.enrollment.join_sequence

    def rotate(self) -> None:
        """Renew now, as when the control plane asks for it."""
        self.agent._keeper.rotate(0)

    def look(self) -> None:
        """Look at the certificate now."""
        self.agent._keeper._poked.set()

    async def renew_once(self) -> None:
        """Ask for a certificate, once and without an agent: what a thief may do with a copy."""
        plane = self._connect(self.identity, 0)
        request = csr.build_request(generate_tls_key())
        try:
            await plane.renew(issuing.RenewalRequest(request, self.sequence, f"{0:032x}"))
        finally:
            await plane.close()

    def probes(self) -> list[Coroutine[Any, Any, float | None]]:
        """A call to each replica, again and again; the moment when it said that the outpost is revoked."""
        return [until_revoked(self._dialer, self.identity, each) for each in self.identity.enrollment.endpoints]

    @property
    def identity(self) -> identities.Identity:
        """As it is on the disk now."""
        return identities.load(self._files.identity)

    def _changed(self, known: Knowledge) -> None:
        for function, code in known.functions.items():
            if code not in (OK, self._functions.get(function)):
                self.told[f"{function} {code}"] += 1
        self._functions = dict(known.functions)

    async def _sleep(self, seconds: float) -> None:
        self.notes.waits.append(seconds)
        await asyncio.sleep(seconds)

    def _sickness(self, known: Knowledge) -> dict[str, str]:
        """What a gateway would say that cannot find what it must find under the release that runs."""
        running = known.active.release.max_body_bytes if known.active is not None else -1
        return {"inspection": "canary.failed"} if running == self._options.sick_body_bytes else {}

    def _heartbeat(self, known: Knowledge) -> ports.Heartbeat:
        return ports.Heartbeat(
            now_ms=time.time_ns() // 1_000_000,
            state="ACTIVE",
            functions={**known.functions, **self._sickness(known)},
            active_revision=known.revision,
            certificate_expires_ms=known.certificate_expires_ms,
            audit_size=known.audit_size,
            audit_cosigned=known.audit_cosigned,
            tiers=TIERS,
            workers=2,
            workers_ready=2,
            software_version=agents.VERSION,
            trust_bundle_sha256=known.trust_bundle_sha256,
            release=known.active.release.version if known.active is not None else 0,
        )


async def enrolled(folder: Path, token: str) -> None:
    """Spend a join token as ``outpost enroll`` does."""
    await enrollment.enroll(Settings(state=folder), token, Joining(agents.VERSION))
