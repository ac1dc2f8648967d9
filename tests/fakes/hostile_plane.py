"""A control plane in the wrong hands: it owns the server and the line, and offers whatever a test gives it.

Its server certificate is one of the real server CA and its witness is the real one, so that nothing but what it offers
is wrong.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import grpc.aio
from outpost_wire.v1 import sync_pb2, sync_pb2_grpc

from certs.keys import certificates_pem
from controlplane.bootstrap.plane import Plane, endpoint_of
from controlplane.rpc.callers import Callers
from controlplane.rpc.calls import AuditService
from controlplane.rpc.server import start_outposts
from controlplane.rpc.sync import SyncService
from controlplane.services.identity import Gatekeeper
from controlplane.services.views import Views
from outpost.core.bundle.release import SignedSet

ANSWER_SECONDS = 30.0  # from an offer to its Ack or Nack, with reconnects in between
CHUNK = bytes(65536)  # of a body without an end


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk as a zstd frame, with the size that it says it has."""

    frame: bytes
    plain_bytes: int


Bodies = Callable[[bytes], Iterable[bytes | Packed]]


@dataclass(frozen=True, slots=True)
class Offered:
    """One file as the offer tells it; ``inline`` and ``delta`` may lie about ``sha256`` and ``size``."""

    name: str
    metadata: bool
    sha256: bytes
    size: int
    inline: bytes
    delta: bytes = b""
    delta_sha256: bytes = b""

    def to_wire(self) -> sync_pb2.OfferedFile:
        """As it travels."""
        return sync_pb2.OfferedFile(
            name=self.name,
            sha256=self.sha256,
            size=self.size,
            metadata=self.metadata,
            inline=self.inline,
            delta=self.delta,
            delta_sha256=self.delta_sha256,
        )


@dataclass(frozen=True, slots=True)
class Offering:
    """What is offered, and what Fetch then sends for a hash; with a base only what differs from it."""

    files: tuple[Offered, ...]
    bodies: Bodies = lambda sha256: ()
    base_sha256: bytes = b""
    removed: tuple[str, ...] = ()

    def to_wire(self, nonce: str) -> sync_pb2.Offer:
        """As it travels."""
        return sync_pb2.Offer(
            nonce=nonce,
            revision="999.999",
            files=[file.to_wire() for file in self.files],
            base_sha256=self.base_sha256,
            removed=self.removed,
        )

    def but(self, name: str, **lies: Any) -> "Offering":
        """The same with one file told differently."""
        return replace(self, files=tuple(replace(f, **lies) if f.name == name else f for f in self.files))


def honest(signed: SignedSet) -> Offering:
    """A set as it is, every byte inside the offer."""
    every = [(name, data, True) for name, data in signed.metadata.items()]
    every += [(name, data, False) for name, data in signed.targets.items()]
    return Offering(
        tuple(Offered(name, metadata, hashlib.sha256(data).digest(), len(data), data) for name, data, metadata in every)
    )


def endless(sha256: bytes) -> Iterable[bytes]:
    """A body that never stops."""
    return itertools.repeat(CHUNK)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the outpost said: an empty code is an Ack."""

    code: str
    field: str = ""
    revision: str = ""


class HostilePlane(sync_pb2_grpc.SyncServicer):
    """The Sync service; one outpost at a time."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._pending: sync_pb2.SyncDown | None = None
        self._bodies: Bodies = lambda sha256: ()
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self.hellos: list[sync_pb2.Hello] = []
        self.chunks = 0  # sent by Fetch so far

    async def offer(self, offering: Offering) -> Answer:
        """Offer on the stream, or on the next one, and wait for the outpost's word.

        Raises:
            TimeoutError: no word.
        """
        nonce = f"offer-{len(self._answers)}"
        self._bodies = offering.bodies
        self._answers[nonce] = asyncio.get_running_loop().create_future()
        self._pending = sync_pb2.SyncDown(offer=offering.to_wire(nonce))
        self._changed.set()
        try:
            return await asyncio.wait_for(self._answers[nonce], ANSWER_SECONDS)
        finally:
            self._pending = None

    async def Sync(self, request_iterator: AsyncIterator[sync_pb2.SyncUp], context: Any) -> None:
        """One stream: Hello, then offers down and answers up."""
        first = await context.read()
        self.hellos.append(first.hello)
        reader = asyncio.create_task(self._read(context))
        sent: sync_pb2.SyncDown | None = None
        waker = asyncio.create_task(self._changed.wait())
        try:
            while not reader.done():
                waker.cancel()
                self._changed.clear()
                if self._pending is not None and self._pending is not sent:
                    sent = self._pending
                    await context.write(sent.SerializeToString())
                    continue
                waker = asyncio.create_task(self._changed.wait())
                await asyncio.wait({reader, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            waker.cancel()
            await asyncio.gather(reader, waker, return_exceptions=True)

    async def Fetch(self, request: sync_pb2.FetchRequest, context: Any) -> None:
        """Whatever the offering sends for the hash."""
        for part in self._bodies(request.sha256):
            if context.done():  # the reader has had enough
                return
            self.chunks += 1
            data, plain_bytes = (part.frame, part.plain_bytes) if isinstance(part, Packed) else (part, 0)
            await context.write(sync_pb2.FetchChunk(data=data, plain_bytes=plain_bytes))

    async def _read(self, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            if message.HasField("ack"):
                self._answered(message.ack.nonce, Answer("", revision=message.ack.revision))
            elif message.HasField("nack"):
                self._answered(message.nack.nonce, Answer(message.nack.error.code, message.nack.resource))

    def _answered(self, nonce: str, answer: Answer) -> None:
        future = self._answers[nonce]
        if not future.done():
            future.set_result(answer)


@contextlib.asynccontextmanager
async def listening(plane: Plane) -> AsyncIterator[HostilePlane]:
    """Serve in the place of a control plane that is stopped, with its certificate, on its port."""
    settings = plane.settings
    await plane.board.refresh()
    trust = plane.board.current
    identity = await plane.setup.server_identity(settings.hosts, trust)
    gatekeeper = Gatekeeper(plane.store, Views(plane.store, plane.clock), lambda: trust.anchors, plane.clock)
    hostile = HostilePlane()
    callers = Callers(gatekeeper, lambda: False)
    services = cast(SyncService, hostile), AuditService(callers, await plane.ingest())
    roots = certificates_pem((*trust.anchors.roots, *trust.anchors.intermediates))
    address = endpoint_of(settings.listen, settings.grpc_port)
    server, _ = await start_outposts(services, lambda: identity, lambda: roots, address)
    try:
        yield hostile
    finally:
        await server.stop(0)
