"""How a stream begins: its Hello, and what is said to those that may not go on.

A certificate that is not in use is late bytes of an outpost, a clone that lives, or, after a restore, the one that
counts. Whoever holds it is asked; the dead do not answer. A locked outpost is sent the order to wipe.
"""

import asyncio
from typing import Any

import grpc.aio
from outpost_wire.v1 import sync_pb2

from controlplane.domain.errors import RefusedError, ThrottledError
from controlplane.domain.throttle import MESSAGES, Pace
from controlplane.ports.world import Clock
from controlplane.rpc import codec
from controlplane.rpc.desk import SyncDesk
from controlplane.services.clones import Sighting
from controlplane.services.identity import Principal

HELLO_SECONDS = 10.0  # from the start of a stream to its Hello
ANSWER_SECONDS = 10.0  # for a superseded holder to prove that it lives
OBEY_SECONDS = 20.0  # for an outpost to say that it obeys an order to wipe
LOCKED = "LOCKED"  # state of an outpost that obeys
NONCE_BYTES = 16


class HelloMissingError(RefusedError):
    """No Hello in time."""

    code = "sync.hello"
    fatal = False


class Greeting:
    """Speaks with those who come, before they are let in or instead of it."""

    def __init__(self, desk: SyncDesk) -> None:
        self._desk = desk

    async def adopted(self, context: Any) -> sync_pb2.Hello | None:
        """A certificate that is not in use: late bytes of the outpost, or a clone that lives. After a restore it may be
        the one that counts: then its Hello is returned.
        """
        principal = self._desk.callers.proved(context)
        retired = await self._desk.clones.is_retired(principal)
        if not retired and not await self._desk.adoption.may_claim(principal):
            return None
        hello = await read_hello(context)
        codec.check_hello(hello)
        if retired:
            await self.question(context, principal, Sighting(hello.boot_id, self._desk.callers.source(context)))
            return None
        return hello if await self.adopt(context, principal, hello.join_sequence) else None

    async def adopt(self, context: Any, principal: Principal, sequence: int) -> bool:
        """After a restore: let a certificate count that is not on record."""
        if not await self._desk.adoption.may_claim(principal):
            return False
        callers = self._desk.callers
        return await self._desk.adoption.adopt(principal, callers.leaf(context), sequence, callers.source(context))

    async def question(self, context: Any, principal: Principal, sighting: Sighting) -> None:
        """Ask a superseded holder of an identity whether it lives; the dead do not answer, whatever arrives of them.

        Raises:
            OutpostLockedError: it lives: two machines hold one identity, which is locked now.
        """
        pace = Pace(MESSAGES)
        nonce = self._desk.chance.token_bytes(NONCE_BYTES).hex()
        await context.write(codec.question(nonce, self._desk.clock.now_ms()))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while (message := await context.read()) is not grpc.aio.EOF:
                    require_pace(pace, self._desk.clock)
                    kind = message.WhichOneof("message")
                    if kind in ("ack", "nack") and getattr(message, kind).nonce == nonce:
                        raise await self._desk.clones.found(principal, sighting)
        except TimeoutError:
            return

    async def order(self, context: Any) -> None:
        """Send whoever holds a locked identity the order to wipe, and wait for the word that it is obeyed."""
        desk, principal = self._desk, self._desk.callers.proved(context)
        outpost = desk.views.held(principal.org).outposts.get(principal.outpost_id)
        if outpost is None or not outpost.lock_order:
            return
        if principal.serial not in outpost.draining and not await desk.gatekeeper.is_of_tail(principal):
            return
        hello = await read_hello(context)
        codec.check_hello(hello)
        pace = Pace(MESSAGES)
        await context.write(codec.lock(outpost))
        try:
            async with asyncio.timeout(OBEY_SECONDS):
                while (message := await context.read()) is not grpc.aio.EOF:
                    require_pace(pace, self._desk.clock)
                    if message.WhichOneof("message") == "status" and message.status.state == LOCKED:
                        await desk.locks.confirmed(principal, Sighting(hello.boot_id, desk.callers.source(context)))
                        return
        except TimeoutError:
            return


def require_pace(pace: Pace, clock: Clock) -> None:
    """Count a message of a stream. Raises ThrottledError."""
    now_ms = clock.monotonic() * 1000
    wait_ms = pace.wait_ms(now_ms)
    if wait_ms:
        raise ThrottledError(
            "more messages came on this stream than any outpost has to send", retry_after_ms=1 + int(wait_ms)
        )
    pace.take(now_ms)


async def read_hello(context: Any) -> sync_pb2.Hello:
    """The first message of a stream.

    Raises:
        HelloMissingError: not in time.
        SyncProtocolError: another message.
    """
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            first = await context.read()
    except TimeoutError:
        raise HelloMissingError("no Hello came in time", next_step="open the stream again") from None
    if first is grpc.aio.EOF or first.WhichOneof("message") != "hello":
        raise codec.SyncProtocolError("the first message of a stream is Hello", field="message")
    hello: sync_pb2.Hello = first.hello
    return hello
