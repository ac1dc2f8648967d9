"""The connection of the moment, which may be replaced under those who use it.

When a certificate was renewed, a new connection is made while the old one stands. Calls that run are let come to
their end on the old one, calls that come meanwhile wait, and go on over the new one: nothing is lost, nothing is sent
with a certificate that was retired.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from outpost import issuing, ports


class Line:
    """``ports.ControlPlane`` over whichever connection there is."""

    def __init__(self, plane: ports.ControlPlane) -> None:
        self._plane = plane
        self._open = asyncio.Event()
        self._open.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """While this is entered no call runs, and those that come wait."""
        self._open.clear()
        try:
            await self._idle.wait()
            yield
        finally:
            self._open.set()

    def replace(self, plane: ports.ControlPlane) -> ports.ControlPlane:
        """Use another connection; returns the one before, to be closed."""
        before, self._plane = self._plane, plane
        return before

    async def open(self, hello: ports.Hello) -> ports.SyncSession:
        """Open the sync stream; see ``ports.ControlPlane``."""
        return await self._plane.open(hello)

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        """Bytes of a file."""
        async with self._call() as plane:
            return await plane.fetch(sha256, size, part)

    async def renew(self, request: issuing.RenewalRequest) -> issuing.RenewalAnswer:
        """The next certificate."""
        async with self._call() as plane:
            return await plane.renew(request)

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        """Deliver audit entries of one tile."""
        async with self._call() as plane:
            return await plane.append(origin, first, entries, checkpoint)

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        """The witness's root at a size."""
        async with self._call() as plane:
            return await plane.root(origin, size)

    async def close(self) -> None:
        """Let the connection go."""
        await self._plane.close()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[ports.ControlPlane]:
        while not self._open.is_set():
            await self._open.wait()
        self._running += 1
        self._idle.clear()
        try:
            yield self._plane
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
