"""Asks an outpost for the files of its set that a restored control plane does not know any more.

Asked is before anything is offered: a set that was lost here must not be overwritten there. One outpost is asked for
each set at a time; the others that hold the same wait for what comes of it, and are not asked again. An outpost that
does not answer, or not in time, is offered what there is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from outpost_wire.v1 import sync_pb2

from controlplane.rpc import codec
from controlplane.services.delivery import Holding
from controlplane.services.identity import Principal
from controlplane.services.returned import Returns

RETURN_SECONDS = 30.0  # for all files of a set
MAX_RETURNED_BYTES = 32 * 1024 * 1024  # of a set that is asked for; ours have up to 5 MiB
AT_ONCE = 2  # sets that are asked for at the same time: what they may hold in memory is bounded by that
TRIES = 3  # outposts that are asked for one set, when the first ones do not give it
KEPT = 1_024  # sets that are remembered as judged; the oldest go first, and are asked for once more at most

_Key = tuple[str, bytes]


class Returning:
    """Gathers returned sets of all orgs.

    Args:
        returns: judges them.
    """

    def __init__(self, returns: Returns) -> None:
        self._returns = returns
        self._turns: dict[_Key, asyncio.Lock] = {}
        self._tries: dict[_Key, int] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def gather(self, context: Any, principal: Principal, holding: Holding) -> None:
        """Take up what an outpost holds, if this control plane lost it."""
        key = (principal.org, holding.identity)
        if self._tries.get(key, 0) >= TRIES:
            return
        wanted = await self._returns.missing(principal.org, holding.files)
        if not wanted:
            self._note(key, done=True)
            return
        async with self._turn(key):
            if self._tries.get(key, 0) >= TRIES:
                return  # somebody else gave it back
            async with self._gate:
                bodies = await Parts(wanted).asked_of(context)
                if len(bodies) == len(wanted):
                    await self._returns.take(principal.org, holding.files, bodies)
            self._note(key, done=len(bodies) == len(wanted))

    @asynccontextmanager
    async def _turn(self, key: _Key) -> AsyncIterator[None]:
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            yield
        if not turn.locked():
            self._turns.pop(key, None)

    def _note(self, key: _Key, *, done: bool) -> None:
        self._tries[key] = TRIES if done else self._tries.get(key, 0) + 1
        while len(self._tries) > KEPT:
            del self._tries[next(iter(self._tries))]


class Parts:
    """Files that are asked for, as their parts come.

    Args:
        wanted: SHA-256 of each.
    """

    def __init__(self, wanted: Sequence[bytes]) -> None:
        self._open = {sha256: bytearray() for sha256 in wanted}
        self._bytes = 0
        self.whole: dict[bytes, bytes] = {}

    async def asked_of(self, context: Any) -> dict[bytes, bytes]:
        """Ask; returns files by SHA-256, as far as they are given in time.

        Raises:
            WireError: parts out of order or out of bounds.
        """
        await context.write(codec.wanted(tuple(self._open)))
        try:
            async with asyncio.timeout(RETURN_SECONDS):
                while self._open:
                    message = await context.read()
                    if message is grpc.aio.EOF:
                        break
                    if message.WhichOneof("message") != "returned":
                        continue  # a heartbeat may come in between
                    if not message.returned.size:
                        break  # it is not given: then the set cannot be whole
                    self.add(message.returned)
        except TimeoutError:
            pass  # a version that does not know the question, or a line that is too slow
        return self.whole

    def add(self, part: sync_pb2.ReturnedPart) -> None:
        """Take the next part of a file. Raises WireError."""
        held = self._open.get(part.sha256)
        if held is None:
            raise codec.WireError("a file comes back that nobody asked for", field="sha256")
        self._bytes += len(part.data)
        codec.require(part.offset == len(held) and 0 < len(part.data) <= codec.CHUNK_BYTES, "data")
        codec.require(len(held) + len(part.data) <= part.size and self._bytes <= MAX_RETURNED_BYTES, "size")
        held += part.data
        if len(held) == part.size:
            codec.require(hashlib.sha256(held).digest() == part.sha256, "sha256")
            self.whole[part.sha256] = bytes(held)
            del self._open[part.sha256]
