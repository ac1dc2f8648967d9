"""A network that can be cut between one outpost and the control plane, and answers that are lost on their way.

A line that is cut is gone for the outpost at once. The control plane still holds its end and hears nothing, as when a
router in between forgot the connection; that end is closed later, or never.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence

from certs.join_token import split_endpoint
from outpost.core.errors import PeerError

CHUNK_BYTES = 64 * 1024
HALF_OPEN_SECONDS = 3.0  # the control plane's end of a line that was cut is there for so long


class LostError(PeerError):
    """Something was lost between the two sides."""

    code = "bench.lost"


class Wire:
    """Passes bytes on between an outpost and one of the addresses of the control plane, until it is cut."""

    def __init__(self, targets: Sequence[str], source: str) -> None:
        self._targets = tuple(targets)
        self._source = source  # address that the control plane sees
        self._server: asyncio.Server | None = None
        self._near: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose: Counter[str] = Counter()  # answers to lose, by kind
        self.lost: Counter[str] = Counter()
        self.count = 0  # lines that were cut

    async def start(self) -> str:
        """Listen; the address that stands for the control plane."""
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> int:
        """Cut every line that stands; returns how many."""
        cut = list(self._near)
        for each in cut:
            each.transport.abort()
        self._near.clear()
        self.count += len(cut)
        return len(cut)

    def strike(self, kind: str) -> None:
        """The control plane did what it was asked; raises LostError when the outpost shall not hear of it."""
        if self.lose[kind] > 0:
            self.lose[kind] -= 1
            self.lost[kind] += 1
            raise LostError("the answer was lost on its way")

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        host, port = split_endpoint(random.choice(self._targets))
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port, local_addr=(self._source, 0))
        except OSError:
            writer.close()
            return
        self._near.add(writer)
        try:
            await _between(reader, far_writer, far_reader, writer)
            if writer not in self._near:  # cut: nobody tells the control plane
                await asyncio.sleep(HALF_OPEN_SECONDS)
        except asyncio.CancelledError:  # by stop; raised further, asyncio would report it as a fault of the server
            pass
        finally:
            self._near.discard(writer)
            for each in (writer, far_writer):
                each.close()


async def _between(
    near_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    near_writer: asyncio.StreamWriter,
) -> None:
    """Pass bytes on both ways until one way ends."""
    pumps = [asyncio.ensure_future(_pump(*pair)) for pair in ((near_reader, far_writer), (far_reader, near_writer))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
