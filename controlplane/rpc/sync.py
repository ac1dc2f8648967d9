"""The sync service: one stream per outpost, with Renew and Fetch beside it.

A stream first says Hello and gets an Offer. From then on a reader takes Ack, Nack and Status, while the stream itself
waits for a change of the org: it authorises the caller again, ends what may not go on, and offers what is new. Only
the stream writes. A set that was refused on a stream is not offered again on it; only a newer one is.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio
from outpost_wire.v1 import sync_pb2, sync_pb2_grpc

from certs.shell.tls import peer_chain
from controlplane import telemetry
from controlplane.domain.errors import RefusedError, StateError
from controlplane.domain.outposts import Act, IdentitySupersededError
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.ports.world import Chance, Clock
from controlplane.rpc import codec
from controlplane.services.delivery import DeliveryDesk, OfferPlan
from controlplane.services.identity import Gatekeeper, Principal, Views
from controlplane.services.presence import Presence
from controlplane.services.renew import Renewal

HELLO_SECONDS = 10.0  # from the start of a stream to its Hello
DRAIN_SPREAD_SECONDS = 10  # reconnects after a stop are spread over this time
LONGEST_WAIT_SECONDS = 3600.0  # a stream looks at its certificate's end at least this often
NONCE_BYTES = 16
KEPT_OFFERS = 4  # unanswered offers of a stream whose answers still count
CHUNK_BYTES = 65_536  # sync.proto: FetchChunk.data


class StreamReplacedError(StateError):
    """The same start of the outpost opened another stream: this one is half-open."""

    code = "sync.replaced"


class HelloMissingError(RefusedError):
    """No Hello in time."""

    code = "sync.hello"
    fatal = False


@dataclass(frozen=True, slots=True)
class SyncDesk:
    """What the service works with."""

    gatekeeper: Gatekeeper
    views: Views
    delivery: DeliveryDesk
    renewal: Renewal
    presence: Presence
    clock: Clock
    chance: Chance


class Streams:
    """Live streams, at most one for each outpost; the newest wins."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str], Stream] = {}
        self.stopping = False

    @contextmanager
    def entered(self, stream: "Stream") -> "Any":
        """Take the place of an older stream of the outpost."""
        key = (stream.principal.org, stream.principal.outpost_id)
        older = self._live.get(key)
        if older is not None:
            older.replace(same_boot=older.boot_id == stream.boot_id)
        self._live[key] = stream
        try:
            yield
        finally:
            if self._live.get(key) is stream:
                del self._live[key]

    def count(self) -> int:
        """Live streams."""
        return len(self._live)


class Stream:
    """One sync stream."""

    def __init__(self, desk: SyncDesk, streams: Streams, principal: Principal, context: Any) -> None:
        self.principal = principal
        self.boot_id = ""
        self._desk = desk
        self._streams = streams
        self._context = context
        self._held: Mapping[str, bytes] = {}
        self._offered = 0  # number of the newest set offered on this stream
        self._unanswered: dict[str, OfferPlan] = {}  # nonce -> plan, oldest first
        self._changed = asyncio.Event()
        self._end: StateError | RefusedError | None = None

    def replace(self, *, same_boot: bool) -> None:
        """A newer stream of the outpost is here: end this one."""
        if same_boot:
            self._end = StreamReplacedError("another stream of this start took the place of this one")
        else:
            self._end = IdentitySupersededError("another start of this outpost took the place of this one")
        self._changed.set()

    async def run(self) -> None:
        """Serve the stream until it ends; every refusal is raised."""
        await self._hello()
        with self._streams.entered(self), self._desk.views.waiting(self.principal.org) as changed:
            self._changed = changed
            try:
                await self._serve()
            finally:
                await self._desk.presence.left(self.principal)

    async def _hello(self) -> None:
        try:
            first = await asyncio.wait_for(self._context.read(), HELLO_SECONDS)
        except TimeoutError:
            raise HelloMissingError("no Hello came in time", next_step="open the stream again") from None
        if first is grpc.aio.EOF or first.WhichOneof("message") != "hello":
            raise codec.SyncProtocolError("the first message of a stream is Hello", field="message")
        hello = first.hello
        self._held = codec.check_hello(hello)
        self.boot_id = hello.boot_id
        await self._desk.delivery.hello(self.principal, hello.boot_id, hello.software_version)
        await self._desk.views.refresh(self.principal.org)

    async def _serve(self) -> None:
        """Offer what is new, and wait for the reader to end or the org to change."""
        reader = asyncio.create_task(self._read())
        try:
            while not reader.done():
                self._changed.clear()
                if self._end is not None:
                    raise self._end
                self._desk.gatekeeper.authorise(self.principal, Act.SYNC)
                if self._streams.stopping:
                    await self._context.write(codec.drain(DRAIN_SPREAD_SECONDS))
                    return
                await self._offer()
                await self._wait(reader)
            reader.result()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _wait(self, reader: "asyncio.Task[None]") -> None:
        waker = asyncio.create_task(self._changed.wait())
        left_seconds = (self.principal.not_after_ms - self._desk.clock.now_ms()) / 1000
        try:
            timeout = min(max(left_seconds, 0.0), LONGEST_WAIT_SECONDS)
            await asyncio.wait({reader, waker}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waker.cancel()

    async def _offer(self) -> None:
        """Offer the newest set, once."""
        if self._offered and self._desk.views.held(self.principal.org).newest <= self._offered:
            return
        plan = await self._desk.delivery.plan(self.principal, self._held)
        if plan is None or plan.number == self._offered:
            return
        nonce = self._desk.chance.token_bytes(NONCE_BYTES).hex()
        self._unanswered[nonce] = plan
        while len(self._unanswered) > KEPT_OFFERS:
            del self._unanswered[next(iter(self._unanswered))]
        self._offered = plan.number
        now_ms = self._desk.clock.now_ms()
        await self._context.write(codec.offer(nonce, plan.revision, plan.files, plan.inline, now_ms))

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            self._desk.gatekeeper.authorise(self.principal, Act.SYNC)
            match message.WhichOneof("message"):
                case "status":
                    await self._desk.presence.heard(self.principal, codec.status(message.status))
                case "ack":
                    await self._ack(message.ack)
                case "nack":
                    await self._nack(message.nack)
                case _:
                    raise codec.SyncProtocolError("Hello comes once, and first", field="message")

    async def _ack(self, message: sync_pb2.Ack) -> None:
        plan = self._unanswered.pop(message.nonce, None)
        if plan is None:
            return  # an answer to an older stream or offer says nothing about this one
        if plan.files:
            self._held = {file.name: file.sha256 for file in plan.files}
        now_ms = self._desk.clock.now_ms()
        word = Delivery(self.principal.outpost_id, plan.number, plan.revision, DeliveryState.ACTIVE, now_ms)
        await self._desk.delivery.answered(self.principal, word)

    async def _nack(self, message: sync_pb2.Nack) -> None:
        plan = self._unanswered.pop(message.nonce, None)
        if plan is None:
            return
        word = Delivery(
            outpost_id=self.principal.outpost_id,
            number=plan.number,
            revision=plan.revision,
            state=DeliveryState.REFUSED,
            at_ms=self._desk.clock.now_ms(),
            code=message.error.code[:64],
            message=message.error.message[:512],
            resource=message.resource[:128],
        )
        await self._desk.delivery.answered(self.principal, word)


class SyncService(sync_pb2_grpc.SyncServicer):
    """Adapter of the Sync service."""

    def __init__(self, desk: SyncDesk, streams: Streams) -> None:
        self._desk = desk
        self._streams = streams

    async def Sync(self, request_iterator: AsyncIterator[sync_pb2.SyncUp], context: Any) -> None:  # noqa: N802
        """One stream of an outpost."""
        principal = await self._identify(context, Act.SYNC)
        telemetry.log(telemetry.Event.CONNECTED, org=principal.org, outpost=principal.outpost_id)
        try:
            await Stream(self._desk, self._streams, principal, context).run()
        finally:
            telemetry.log(telemetry.Event.DISCONNECTED, org=principal.org, outpost=principal.outpost_id)

    async def Fetch(self, request: sync_pb2.FetchRequest, context: Any) -> None:  # noqa: N802
        """Bytes of a file by hash."""
        principal = await self._identify(context, Act.SYNC)
        codec.require(len(request.sha256) == codec.SHA256_BYTES, "sha256")
        async for part in self._desk.delivery.fetch(principal, request.sha256, request.offset):
            self._desk.gatekeeper.authorise(principal, Act.SYNC)
            for at in range(0, len(part), CHUNK_BYTES):
                await context.write(sync_pb2.FetchChunk(data=part[at : at + CHUNK_BYTES]))

    async def Renew(self, request: sync_pb2.RenewRequest, context: Any) -> sync_pb2.RenewResponse:  # noqa: N802
        """Fresh key, fresh leaf."""
        principal = await self._identify(context, Act.RENEW)
        renewed = await self._desk.renewal.renew(principal, request.csr_der, request.join_sequence)
        return codec.renewal_answer(renewed)

    async def _identify(self, context: Any, act: Act) -> Principal:
        return await self._desk.gatekeeper.identify(peer_chain(context.auth_context()), act)
