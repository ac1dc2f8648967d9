"""A line to a server that can be cut, or go silent, at a chosen moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READ_BYTES = 65_536


class Line:
    """A TCP proxy on 127.0.0.1.

    Attributes:
        cut_at: the line is cut as soon as a client says this; None: never.
        pass_on: whether that last word still reaches the server.
        silent: nothing passes in either direction any more, and nothing is closed.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cut_at: bytes | None = None
        self.pass_on = False
        self.silent = False
        self.connections = 0
        self._server_port = port
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut every connection now."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            there, onward = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, onward}
        up, down = asyncio.create_task(self._up(reader, onward)), asyncio.create_task(self._down(there, writer))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for each in (writer, onward):
                self._writers.discard(each)
                each.close()

    async def _up(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            if self.cut_at is not None and self.cut_at in data:
                if self.pass_on:
                    onward.write(data)
                    await onward.drain()
                self.cut_at = None
                return
            if not self.silent:
                onward.write(data)
                await onward.drain()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(READ_BYTES):
            if not self.silent:
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line to a port of this machine."""
    line = Line(port)
    running: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(line.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)
