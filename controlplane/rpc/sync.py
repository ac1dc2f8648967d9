"""The sync service: one stream per outpost, with Renew and Fetch beside it.

A stream is admitted (so many in a second), proves who it is, says Hello and gets an Offer. From then on its coroutine
only reads: Ack, Nack and Status, each authorised from memory. What it is owed is written by the line of ``Streams``
whenever something changed; a new set is one message, made once for all outposts that hold the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import grpc.aio
from google.protobuf.message import DecodeError
from outpost_wire.v1 import sync_pb2, sync_pb2_grpc

from controlplane import telemetry
from controlplane.domain import offers
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import (
    Act,
    IdentityRefusedError,
    IdentitySupersededError,
    OutpostLockedError,
    OutpostRevokedError,
)
from controlplane.rpc import codec, packing
from controlplane.rpc.desk import SyncDesk
from controlplane.rpc.greeting import LOCKED, NONCE_BYTES, Greeting, read_hello, require_pace
from controlplane.rpc.packing import Packing
from controlplane.rpc.streams import Call, Line, Stream, Streams
from controlplane.services.clones import Sighting
from controlplane.services.delivery import OfferPlan
from controlplane.services.identity import retired_issuer
from outpost.core.bundle.delta import PARTIAL_OFFERS

REFUSED_HELLO_SECONDS = 2.0  # the same for one that is refused
DRAIN_SECONDS = 1.0  # for the last messages of a stop
LEAST_SPREAD_SECONDS = 10  # reconnects after a stop are spread over at least this time
MOST_SPREAD_SECONDS = 300
ROTATE_SPREAD_SECONDS = 60  # renewals after a change of CAs are spread over this time
CHANCE_BYTES = 4
KEPT_OFFERS = 4  # unanswered offers of a stream whose answers still count


class SyncService(sync_pb2_grpc.SyncServicer):
    """Adapter of the Sync service."""

    def __init__(self, desk: SyncDesk, streams: Streams) -> None:
        self._desk = desk
        self._greeting = Greeting(desk)
        self._packing = Packing()
        self._streams = streams
        self._bodies: WeakKeyDictionary[OfferPlan, bytes] = WeakKeyDictionary()
        self._told_first: tuple[bytes, ...] = ()  # after the first offer
        streams.line = Line(self._say)
        desk.views.listen(streams.changed, streams.orgs)

    async def Sync(self, request_iterator: AsyncIterator[sync_pb2.SyncUp], context: Any) -> None:  # noqa: N802
        """One stream of an outpost."""
        desk = self._desk
        hello, admitted_ms = None, desk.clock.now_ms()
        try:
            principal = await desk.callers.admitted(context, desk.admission)
        except (OutpostLockedError, OutpostRevokedError):
            await self._greeting.order(context)
            raise
        except IdentitySupersededError:
            hello = await self._greeting.adopted(context)
            if hello is None:
                raise
            principal = await desk.callers.identified(context, Act.SYNC)
        except ControlPlaneError:
            # A client whose first message meets a stream that is closed already sees a broken stream, not the refusal.
            with contextlib.suppress(TimeoutError, DecodeError, ControlPlaneError):
                async with asyncio.timeout(REFUSED_HELLO_SECONDS):
                    await context.read()
            raise
        stream = Stream(principal, context, current_task())
        telemetry.log(
            telemetry.Event.CONNECTED, org=principal.org, outpost=principal.outpost_id, admitted_ms=admitted_ms
        )
        try:
            await self._serve(stream, hello)
        except asyncio.CancelledError:
            stream.ended()
        finally:
            self._streams.leave(stream)
            desk.presence.left(principal)
            telemetry.log(telemetry.Event.DISCONNECTED, org=principal.org, outpost=principal.outpost_id)

    def tell_endpoints(self, endpoints: tuple[str, ...]) -> None:
        """Tell every outpost, now and whenever it connects, where this control plane may be called."""
        self._told_first = (codec.endpoints(endpoints),)
        self._streams.tell(self._told_first[0])

    async def stop(self, connects_per_second: int) -> None:
        """Tell every stream to come back elsewhere, not all at once, and end it."""
        spread = 2 * self._streams.count() // connects_per_second
        seconds = min(max(spread, LEAST_SPREAD_SECONDS), MOST_SPREAD_SECONDS)
        await self._streams.stop(codec.drain(seconds), DRAIN_SECONDS)

    async def Fetch(self, request: sync_pb2.FetchRequest, context: Any) -> None:  # noqa: N802
        """Bytes of a file by hash."""
        principal = await self._desk.callers.paced(context, Act.SYNC)
        codec.require(len(request.sha256) == codec.SHA256_BYTES, "sha256")
        offset = request.offset
        with self._streams.beside(Call(principal, current_task())):
            async for part in self._desk.delivery.fetch(principal, request.sha256, offset):
                key = principal.org, request.sha256, offset
                for chunk in await self._packing.of(key, part) if request.zstd else packing.plain(part):
                    self._desk.gatekeeper.authorise(principal, Act.SYNC)
                    await context.write(chunk)
                offset += len(part)

    async def Renew(self, request: sync_pb2.RenewRequest, context: Any) -> sync_pb2.RenewResponse:  # noqa: N802
        """Fresh key, fresh leaf."""
        try:
            principal = await self._desk.callers.paced(context, Act.RENEW)
        except IdentitySupersededError:
            principal = self._desk.callers.proved(context)  # who renews with a retired certificate is judged by that
            await self._greeting.adopt(context, principal, request.join_sequence)
        call = codec.renewal_call(request, self._desk.callers.source(context))
        renewed = await self._desk.renewal.renew(principal, call)
        return codec.renewal_answer(renewed)

    async def _serve(self, stream: Stream, hello: sync_pb2.Hello | None) -> None:
        """Serve a stream until it ends; every refusal is raised. ``hello`` is its first message, if it was read."""
        await self._hello(stream, hello or await read_hello(stream.context))
        await self._desk.returning.gather(stream.context, stream.principal, stream.held)
        self._streams.enter(stream)
        self._desk.gatekeeper.authorise(
            stream.principal, Act.SYNC
        )  # what changed before it was entered told it nothing
        if self._streams.stopping:
            await stream.context.write(codec.drain(LEAST_SPREAD_SECONDS))
            return
        await self._say(stream)
        stream.outbox = (*stream.outbox, *self._told_first, *self._rotation(stream))
        await self._say(stream)
        read, authorise, principal = stream.context.read, self._desk.gatekeeper.authorise, stream.principal
        while True:
            message = await read()
            if message is grpc.aio.EOF:
                return
            require_pace(stream.pace, self._desk.clock)
            if stream.order_out:
                await self._obeyed(stream, message)
                continue
            authorise(principal, Act.SYNC)
            self._heard(stream, message)
            del message  # or every stream would hold its last one until the next comes

    async def _hello(self, stream: Stream, hello: sync_pb2.Hello) -> None:
        stream.held = self._desk.delivery.holding(
            codec.check_hello(hello), hello.set_sha256, partial=PARTIAL_OFFERS in hello.capabilities
        )
        stream.partial = stream.held.partial
        stream.boot_id = hello.boot_id
        # An older outpost does not say whom it believes; it is asked only when that changes while it is connected.
        stream.trust_bundle = hello.trust_bundle_sha256 or self._desk.trust().bundle_sha256
        source = self._desk.callers.source(stream.context)
        try:
            await self._desk.delivery.hello(stream.principal, codec.hello(hello, source))
        except IdentitySupersededError:
            await self._greeting.question(stream.context, stream.principal, Sighting(hello.boot_id, source))
            raise

    def rotate(self) -> None:
        """Ask those outposts to renew that do not know whom to believe by now, or whose issuing CA is to go; end the
        streams of those whose issuing CA went.
        """
        for stream in self._streams.everyone():
            try:
                self._streams.tell_one(stream, self._rotation(stream))
            except IdentityRefusedError as error:
                stream.finish(error)

    def _rotation(self, stream: Stream) -> tuple[bytes, ...]:
        trust = self._desk.trust()
        if stream.principal.issuer not in trust.issuer_names:  # it was believed when the stream began
            raise retired_issuer()
        if stream.trust_bundle == trust.bundle_sha256 and stream.principal.issuer not in trust.tainted:
            return ()
        stream.trust_bundle = trust.bundle_sha256  # asked once on each stream
        return (codec.rotate_now(ROTATE_SPREAD_SECONDS),)

    async def _obeyed(self, stream: Stream, message: sync_pb2.SyncUp) -> None:
        """After an order was sent on a live stream, nothing counts but the word that it is obeyed."""
        if message.WhichOneof("message") == "status" and message.status.state == LOCKED:
            sighting = Sighting(stream.boot_id, self._desk.callers.source(stream.context))
            await self._desk.locks.confirmed(stream.principal, sighting)
            self._desk.gatekeeper.authorise(stream.principal, Act.SYNC)  # refuses: it is locked

    def _heard(self, stream: Stream, message: sync_pb2.SyncUp) -> None:
        match message.WhichOneof("message"):
            case "status":
                self._desk.presence.heard(stream.principal, codec.status(message.status))
            case "ack":
                self._ack(stream, message.ack)
            case "nack":
                self._nack(stream, message.nack)
            case "returned":
                return  # late parts of files that are waited for no longer
            case _:
                raise codec.SyncProtocolError("Hello comes once, and first", field="message")

    def _ack(self, stream: Stream, message: sync_pb2.Ack) -> None:
        plan = _answered(stream, message.nonce)
        if plan is None:
            return  # an answer to an older stream or offer says nothing about this one
        stream.held = self._desk.delivery.like(plan.after, partial=stream.partial)
        self._desk.delivery.acknowledged(stream.principal, plan, codec.acknowledgement(message))

    def _nack(self, stream: Stream, message: sync_pb2.Nack) -> None:
        plan = _answered(stream, message.nonce)
        if plan is None:
            return
        answer = codec.refusal(message)
        stream.failures = stream.failures + 1 if stream.failed == plan.number else 1
        stream.failed = plan.number
        self._desk.delivery.refused(stream.principal, plan, answer)
        if answer.final or plan.number != stream.offered:
            return  # a newer set is on its way already, or will come
        if answer.of_changes and plan.packing.is_of_changes:
            # It holds another set than we thought; with its next answer we know better.
            stream.held = self._desk.delivery.like(stream.held, partial=False)
            self._streams.offer_again(stream)
            return
        chance = int.from_bytes(self._desk.chance.token_bytes(CHANCE_BYTES)) / 256**CHANCE_BYTES
        self._streams.offer_later(stream, offers.retry_seconds(stream.failures, chance))

    async def _say(self, stream: Stream) -> None:
        """Write to a stream what it is owed; only one of these runs for a stream at any time."""
        if stream.writing:
            return  # whoever writes looks again before it ends
        stream.writing = True
        try:
            while not stream.is_ending:
                if stream.outbox:
                    message, *rest = stream.outbox
                    stream.outbox = tuple(rest)
                elif (offer := await self._next_offer(stream)) is not None:
                    message = offer
                elif not stream.outbox:  # it may have been filled while an offer was looked for
                    return
                else:
                    continue
                await stream.context.write(message)
        finally:
            stream.writing = False

    async def _next_offer(self, stream: Stream) -> bytes | None:
        """The newest set as a message, once; None when the stream was offered it.

        While the outpost works on an offer, it is not known which set it holds when the next one's turn comes; so that
        one is complete, instead of a change to a set that is not in force any more, which it would have to refuse.
        """
        desk = self._desk
        if stream.order_out:
            return None
        if stream.offered and desk.views.held(stream.principal.org).number <= stream.offered:
            return None
        working = any(not plan.packing.is_empty for _, plan in stream.plans)
        held = desk.delivery.like(stream.held, partial=False) if working else stream.held
        plan = await desk.delivery.plan(stream.principal, held)
        if plan is None or plan.number <= stream.offered or stream.order_out:
            return None
        stream.offered, stream.withheld = plan.number, bool(plan.withheld)
        nonce = desk.chance.token_bytes(NONCE_BYTES).hex()
        if not plan.withheld:
            stream.plans = (*stream.plans, (nonce, plan))[-KEPT_OFFERS:]
            if not plan.packing.is_empty and plan.number != stream.failed:  # what is known of that says more
                desk.delivery.offered(stream.principal, plan)
        body = self._bodies.get(plan)
        if body is None:
            body = self._bodies[plan] = codec.offer_body(plan)
        return codec.offer(nonce, desk.clock.now_ms(), body)


def current_task() -> "asyncio.Task[Any]":
    """The task that serves a call."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a handler runs in a task")
    return task


def _answered(stream: Stream, nonce: str) -> OfferPlan | None:
    """Take the offer that an answer is about out of those that wait for one."""
    for known, plan in stream.plans:
        if known == nonce:
            stream.plans = tuple(each for each in stream.plans if each[0] != nonce)
            return plan
    return None


def handlers(service: SyncService) -> Sequence[grpc.GenericRpcHandler]:
    """The service as gRPC takes it: as the generated code would, but messages of a stream are written as bytes."""
    wire = sync_pb2.DESCRIPTOR.services_by_name["Sync"].full_name
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Sync": grpc.stream_stream_rpc_method_handler(
            service.Sync,
            request_deserializer=codec.sync_up,
            response_serializer=bytes,
        ),
        "Fetch": grpc.unary_stream_rpc_method_handler(
            service.Fetch,
            request_deserializer=sync_pb2.FetchRequest.FromString,
            response_serializer=sync_pb2.FetchChunk.SerializeToString,
        ),
        "Renew": grpc.unary_unary_rpc_method_handler(
            service.Renew,
            request_deserializer=sync_pb2.RenewRequest.FromString,
            response_serializer=sync_pb2.RenewResponse.SerializeToString,
        ),
    }
    return (grpc.method_handlers_generic_handler(wire, methods),)
