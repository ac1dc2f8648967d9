"""The agent of one org: keeps the sync stream, installs offers, delivers the audit log; a keeper beside it keeps the
certificate.

Loops share one connection; when one fails, all end, and the agent connects anew after a wait with full jitter, kept at
the cap. When the certificate was replaced, a new connection is made while the old one stands (``line``). An identity
that the control plane refuses for good delivers its audit tail while it waits, and asks again at the cap. Nothing here
is needed for enforcement: workers judge with what is on disk.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from certs import rotation
from certs.errors import TrustError
from outpost import ports
from outpost.core.audit import record
from outpost.core.bundle.archive import unpack_archive
from outpost.core.bundle.delta import set_identity
from outpost.core.bundle.release import VerifiedSet
from outpost.core.bundle.trust import State
from outpost.core.errors import OutpostError, PeerError, StoreError
from outpost.sync.downloads import Downloads
from outpost.sync.identity import Identity
from outpost.sync.install import Progress, brought, held_files, nothing_more
from outpost.sync.keeper import LONGEST_ASKED_SECONDS, Keeper, closing, is_unreachable
from outpost.sync.knowledge import OK, WITHDRAWN, Knowledge, Parts, Report
from outpost.sync.line import Line
from outpost.telemetry import Event, emit

RECONNECT_BASE_SECONDS = 0.5
LONGEST_TURN_SECONDS = 15.0  # a longer wait for our turn is not spent on an idle connection
LOOK_ATTEMPTS = 3  # connections that failed before it is looked at why
SLOW = frozenset({"identity.superseded", *WITHDRAWN})  # refusals that pass, if at all, by an act of a person
MAX_REVISION_CHARS = 32  # sync.proto: Hello.refused_revision
TELL_SECONDS = 1.0  # between two looks for what is told before the next heartbeat is due
LOCKED = "outpost.locked"  # code of a link that is none any more
MOVE_RETRY_SECONDS = 30.0  # between two attempts to change to a new certificate while the old connection stands


class StreamEndedError(PeerError):
    """The control plane ended the stream, or asked us to come back later."""

    code = "controlplane.closed"

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class _ObeyedError(Exception):
    """A signed order was obeyed: there is no identity any more."""


class OrgAgent:
    """See the module docstring."""

    def __init__(self, org: str, parts: Parts, version: str) -> None:
        self._org = org
        self._parts = parts
        self._version = version
        self.knowledge = Knowledge(org=org, withdrawn=parts.identity.withdrawn())
        self._report = Report(self.knowledge, parts)
        self._line: Line | None = None
        self._keeper = Keeper(parts, self._report, version, lambda: self._line)
        self._downloads = Downloads(parts)
        self._working = asyncio.Lock()  # an offer is being installed
        self._report.set("control_link", "controlplane.connecting")

    async def run(self) -> None:
        """Stay connected until cancelled."""
        if not await asyncio.to_thread(self._parts.locker.is_locked):
            if await asyncio.to_thread(self._is_by_courier):
                self.knowledge.functions.pop("control_link", None)  # there is none that could fail
                self._parts.changed(self.knowledge)
                await asyncio.Event().wait()
            try:
                await first_of(self._stay_connected(), self._keeper.run())
            except _ObeyedError:
                emit(Event.OUTPOST_LOCKED, 40, org=self._org)
            finally:
                self._parts.identity.close()
        self._report.set("control_link", LOCKED)
        await asyncio.Event().wait()  # only a new enrollment, and a new start, lead on from here

    def _is_by_courier(self) -> bool:
        """Whether no network leads to the control plane. An identity that cannot be read is the link's matter."""
        try:
            identity = self._parts.identity.load()
        except (OutpostError, TrustError):
            return False
        self._report.held(identity)
        return not identity.enrollment.endpoints

    async def bring(self, data: bytes) -> None:
        """Take up a bundle that was brought in a file; a refusal is told and put on record, and changes nothing.

        Raises:
            StoreError: the log does not take what happened; the bundle is to be brought again.
        """
        try:
            async with self._working:
                offer = brought(unpack_archive(data, self._org))
                await self._take_up(await self._parts.installer.install(offer, self.knowledge.active, nothing_more))
        except StoreError:
            raise
        except OutpostError as error:
            await self._note_refused("", error)

    async def _stay_connected(self) -> None:
        while True:
            await self._keeper.ready.wait()
            try:
                await self._session()
            except (OutpostError, TrustError) as error:
                code = await self._lost(error)
                asked = min(getattr(error, "retry_after_seconds", 0.0), LONGEST_ASKED_SECONDS)
                final = isinstance(error, PeerError) and bool(error.as_dict()["fatal"])
                wait = asked + self._jitter(at_cap=final or code in SLOW)
                await (self._drain(wait) if code in WITHDRAWN else self._parts.sleep(wait))

    async def _session(self) -> None:
        """One connection, from its start to its end; certificates may change under it."""
        self._keeper.replaced.clear()
        identity, hello = await self._hello()
        async with closing(Line(self._parts.connect(identity, self.knowledge.attempts))) as line:
            self._line = line
            delivering = None
            try:
                session = await self._opened(line, identity, hello)
                delivering = asyncio.ensure_future(self._parts.deliver(line, self.knowledge))
                while True:
                    session = await self._until_moved(line, session, delivering)
            finally:
                self._line = None
                if delivering is not None:
                    delivering.cancel()
                    await asyncio.gather(delivering, return_exceptions=True)

    async def _until_moved(
        self, line: Line, session: ports.SyncSession, delivering: "asyncio.Future[None]"
    ) -> ports.SyncSession:
        """Serve a stream until another one stands in its place; its end without one is raised."""
        jobs: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(job) for job in (self._receive(line, session), self._beat(session))
        ]
        replaced: asyncio.Future[Any] = asyncio.ensure_future(self._keeper.replaced.wait())
        try:
            done, _ = await asyncio.wait({*jobs, delivering, replaced}, return_when=asyncio.FIRST_COMPLETED)
            while replaced in done:
                # The control plane ends the old stream as soon as it hears the new one: then that is no failure.
                moved = await self._moved(line)
                if moved is not None:
                    return moved
                wait = MOVE_RETRY_SECONDS * self._parts.chance.uniform()
                ended, _ = await asyncio.wait({*jobs, delivering}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                done = ended or done
            for task in done:
                task.result()
            raise StreamEndedError("the connection ended")
        finally:
            for task in (*jobs, replaced):
                task.cancel()
            await asyncio.gather(*jobs, replaced, return_exceptions=True)

    async def _moved(self, line: Line) -> ports.SyncSession | None:
        """Connect with the new certificate while the old connection stands; None when that failed and it goes on.

        No offer is being installed meanwhile, and no call runs: whatever is sent with the old certificate was answered
        before the new one is used for the first time.
        """
        plane = None
        try:
            async with self._working, line.still():
                identity, hello = await self._hello()
                plane = self._parts.connect(identity, 0)
                session = await plane.open(hello)
                plane = line.replace(plane)
            self._keeper.replaced.clear()
            return session
        except (OutpostError, TrustError) as error:
            told = error.as_dict()
            emit(Event.SYNC_LOST, 30, org=self._org, code=str(told["code"]), message=str(told["message"]))
            return None
        finally:
            if plane is not None:
                await plane.close()

    async def _opened(self, line: Line, identity: Identity, hello: ports.Hello) -> ports.SyncSession:
        """Open the stream; when that fails again and again, look at what the server shows."""
        try:
            return await self._open(line, hello)
        except (OutpostError, TrustError) as error:
            if is_unreachable(error) and self.knowledge.attempts >= LOOK_ATTEMPTS:
                await self._keeper.look(identity)
            raise

    async def _open(self, plane: ports.ControlPlane, hello: ports.Hello) -> ports.SyncSession:
        """Open the stream; when others come at the same time, wait for our turn on the connection that is there."""
        while True:
            try:
                return await plane.open(hello)
            except PeerError as error:
                if not 0 < error.retry_after_seconds <= LONGEST_TURN_SECONDS:
                    raise
                await self._lost(error)
                await self._parts.sleep(error.retry_after_seconds + self._jitter())

    async def _drain(self, seconds: float) -> None:
        """Deliver the audit tail of a withdrawn identity for a while; it is all that is taken from it."""
        try:
            identity = await asyncio.to_thread(self._parts.identity.load)
            async with closing(self._parts.connect(identity, self.knowledge.attempts)) as plane:
                await first_of(self._parts.deliver(plane, self.knowledge), self._parts.sleep(seconds))
        except (OutpostError, TrustError) as error:
            self._report.set("audit", str(error.as_dict()["code"]), error.message)
            await self._parts.sleep(seconds)

    def _jitter(self, *, at_cap: bool = False) -> float:
        """Any time below a bound that doubles with each attempt up to the cap."""
        cap, chance = self._parts.settings.reconnect_cap_seconds, self._parts.chance.uniform()
        attempts = rotation.MAX_DOUBLINGS if at_cap else self.knowledge.attempts
        self.knowledge.attempts += 1
        return rotation.backoff_seconds(attempts, RECONNECT_BASE_SECONDS, cap, chance)

    async def _hello(self) -> tuple[Identity, ports.Hello]:
        """Who we are now, and what we say first."""
        identity = await asyncio.to_thread(self._parts.identity.load)
        boot_id = await asyncio.to_thread(self._parts.identity.boot_id)
        self._report.held(identity)
        active = self.knowledge.active
        hello = ports.Hello(
            boot_id=boot_id,
            join_sequence=identity.enrollment.join_sequence,
            software_version=self._version,
            active_revision=self.knowledge.revision,
            held=dict(active.listing) if active is not None else {},
            set_sha256=set_identity(active.listing) if active is not None else b"",
            trust_bundle_sha256=self.knowledge.trust_bundle_sha256,
            refused_revision=self.knowledge.refused,
        )
        return identity, hello

    async def _receive(self, line: Line, session: ports.SyncSession) -> None:
        while True:
            message = await session.receive()
            if message is None:
                raise StreamEndedError("the control plane ended the stream")
            async with self._working:
                await self._obey(line, session, message)

    async def _obey(self, line: Line, session: ports.SyncSession, message: ports.ControlMessage) -> None:
        await self._contact()
        if isinstance(message, ports.Offer):
            self._keeper.told_time(message.now_ms or self._parts.clock.now_ms())
            await self._offer(line, session, message)
            if not message.withheld:
                self.knowledge.attempts = 0  # not before: who falls at each offer must not call again at once each time
        elif isinstance(message, ports.Locked):
            await self._lock(session, message)
        elif isinstance(message, ports.RotateNow):
            self._keeper.rotate(message.spread_seconds)
        elif isinstance(message, ports.Endpoints):
            await self._learn(message)
        elif isinstance(message, ports.Wanted):
            await self._give_back(session, message)
        else:
            wait = message.spread_seconds * self._parts.chance.uniform()
            raise StreamEndedError("the control plane asked us to connect again", wait)

    async def _contact(self) -> None:
        if self.knowledge.functions.get("control_link") != OK:
            emit(Event.SYNC_CONNECTED, org=self._org)
        await self._report.accepted()
        self.knowledge.last_contact_ms = self._parts.clock.now_ms()
        self._report.set("control_link", OK)

    async def _learn(self, told: ports.Endpoints) -> None:
        """Keep where the control plane may be called; one of the addresses is chosen at each connection."""
        identity = await asyncio.to_thread(self._parts.identity.load)
        if told.sync and told.sync != identity.enrollment.sync_endpoints:
            await asyncio.to_thread(self._parts.identity.save_endpoints, told.sync)

    async def _give_back(self, session: ports.SyncSession, wanted: ports.Wanted) -> None:
        """Give files of the set in force to a control plane that lost them; nothing else ever travels so."""
        held = held_files(self.knowledge.active)
        emit(Event.BUNDLE_RETURNED, org=self._org, revision=self.knowledge.revision, size=len(wanted.sha256s))
        for sha256 in wanted.sha256s:
            await session.give_back(sha256, held.get(sha256, b""))

    async def _lock(self, session: ports.SyncSession, order: ports.Locked) -> None:
        """Obey a signed order: stop serving, say so, wipe, and be silent until somebody enrolls."""
        identity = await asyncio.to_thread(self._parts.identity.load)
        if not await self._parts.locker.obey(order, identity, self._report):
            return
        self._report.set("control_link", LOCKED)
        with contextlib.suppress(OutpostError):  # whether it is heard or not, the order is obeyed
            await session.status(replace(self._parts.heartbeat(self.knowledge), state=State.LOCKED.value))
        await self._parts.locker.wipe()
        raise _ObeyedError

    async def _offer(self, line: Line, session: ports.SyncSession, offer: ports.Offer) -> None:
        known = self.knowledge
        if offer.withheld:  # no offer, only why there is none: there is nothing to answer
            self._report.set("policy", offer.withheld, "the newest set was refused here and is not offered again")
            return
        offered = {item.name: item.sha256 for item in offer.files}
        listing = known.active.listing if known.active is not None else {}
        # An offer without files says that what we told in Hello is the newest set, or only asks whether we are there.
        if not offer.removed and (not offered or offered == listing):
            running = ports.Taken(release=known.active.release.version if known.active is not None else 0)
            await session.ack(offer.nonce, known.revision, self._parts.clock.now_ms(), running)
            return
        progress, fetch = Progress(), self._downloads.over(line, offer)
        try:
            verified = await self._parts.installer.install(offer, known.active, fetch, progress)
        except OutpostError as error:
            if isinstance(error, PeerError) and not error.as_dict()["fatal"]:
                raise  # the line broke: the same offer comes again with the next connection
            await self._note_refused(offer.revision, error)
            await session.nack(offer.nonce, error.as_dict(), error.field, progress.taken())
            return
        self._downloads.end()
        await self._take_up(verified)
        await session.ack(offer.nonce, verified.revision, self._parts.clock.now_ms(), progress.taken())

    async def _take_up(self, verified: VerifiedSet) -> None:
        """Note that a set is active: not before the ledger has it, or it would not be offered and recorded again."""
        before = self.knowledge.revision
        await self._report.record(record.BundleActivated(self._report.head(), verified.revision, before))
        self.adopt(verified)
        emit(Event.BUNDLE_ACTIVATED, org=self._org, revision=verified.revision)

    def adopt(self, verified: VerifiedSet) -> None:
        """Take note of the set that is active."""
        self.knowledge.active = verified
        self.knowledge.revision = verified.revision
        self.knowledge.refused = ""
        self._report.set("policy", OK)

    async def _note_refused(self, revision: str, error: OutpostError) -> None:
        fields = error.as_dict()
        code = str(fields["code"])
        emit(Event.BUNDLE_REFUSED, 30, org=self._org, code=code, message=error.message)
        self._report.set("policy", code, error.message)
        if fields["fatal"]:  # what failed for a reason that passes may be offered again
            self._downloads.end()
            self.knowledge.refused = revision[:MAX_REVISION_CHARS]
        refusal = record.BundleRefused(self._report.head(), revision[:MAX_REVISION_CHARS], code, error.message)
        await self._report.record(refusal)

    async def _beat(self, session: ports.SyncSession) -> None:
        every = self._parts.settings.heartbeat_seconds
        looks = max(1, round(every / TELL_SECONDS))
        told = _worth_telling(self._parts.heartbeat(self.knowledge))
        while True:
            for _ in range(looks):
                await asyncio.sleep(every / looks)
                heartbeat = self._parts.heartbeat(self.knowledge)
                if _worth_telling(heartbeat) != told:
                    break  # whoever rolls a release out must not wait for it
            else:
                self.knowledge.attempts = 0  # the stream held for so long
            # The stream is open and keepalive pings are answered, else the transport would have ended it.
            self.knowledge.last_contact_ms = self._parts.clock.now_ms()
            told = _worth_telling(heartbeat)
            await session.status(heartbeat)
            self._parts.changed(self.knowledge)

    async def _lost(self, error: OutpostError | TrustError) -> str:
        """Take note of a lost connection, or of a refusal; returns its code."""
        fields: Mapping[str, Any] = error.as_dict()
        code = str(fields["code"])
        if code != self.knowledge.functions.get("control_link"):
            emit(Event.SYNC_LOST, 30, org=self._org, code=code, message=str(fields["message"]))
        self._report.set("control_link", code, str(fields["message"]))
        if code in WITHDRAWN:
            await self._report.withdrawn(code)
        return code


def _worth_telling(heartbeat: ports.Heartbeat) -> tuple[object, ...]:
    """What a heartbeat is sent for at once: state, functions, the release that runs."""
    return heartbeat.state, dict(heartbeat.functions), heartbeat.release


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
