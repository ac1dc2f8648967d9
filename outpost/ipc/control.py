"""The control socket: each child tells the supervisor who it is, then both send frames.

Frames carry ``type``. A frame with ``id`` expects one answer ``{"type": "answer", "id": ...}`` with either
``result`` or ``error`` (code, message, fatal).
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from outpost.core.errors import InternalError, OutpostError
from outpost.ipc import frames, sockets

Handler = Callable[[frames.Frame], Awaitable[Any]]


class RemoteError(InternalError):
    """The other process refused or failed; its code is ``remote_code``, and it said whether that passes."""

    code = "ipc.remote"
    fatal = False

    def __init__(self, message: str, *, remote_code: str, remote_fatal: bool = False) -> None:
        super().__init__(message)
        self.remote_code = remote_code
        self.remote_fatal = remote_fatal

    def as_dict(self) -> dict[str, str | bool]:
        """Fields for a JSON answer or a log line: what the other process said."""
        return {**super().as_dict(), "code": self.remote_code, "fatal": self.remote_fatal}


class Link:
    """One end of a control connection: calls, casts and a handler for what comes in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def cast(self, frame: frames.Frame) -> None:
        """Send without an answer; silently dropped when the peer has gone (its supervisor notices)."""
        if not self._writer.is_closing():
            self._writer.write(frames.encode(frame))

    async def call(self, frame: frames.Frame, timeout_seconds: float) -> Any:
        """Send and wait for the answer.

        Raises:
            RemoteError: the peer answered with an error.
            PeerGoneError: the peer went away first.
            TimeoutError: no answer in time.
        """
        number = next(self._ids)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self.cast({**frame, "id": number})
            if self._writer.is_closing():
                raise frames.PeerGoneError("the other process closed the socket")
            return await asyncio.wait_for(answer, timeout_seconds)
        finally:
            del self._waiting[number]

    async def run(self) -> None:
        """Serve until the peer goes away; open calls then fail with PeerGoneError.

        Raises:
            FrameError: the peer sent what is no frame; the link is closed.
        """
        try:
            while True:
                frame = await frames.read(self._reader)
                if frame.get("type") == "answer":
                    self._settle(frame)
                else:
                    task = asyncio.create_task(self._serve(frame))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except frames.PeerGoneError:
            return
        finally:  # whatever ended the link, a broken frame or a cancelled task included, no caller waits for nothing
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(frames.PeerGoneError("the other process closed the socket"))
            await self.close()

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def _settle(self, frame: frames.Frame) -> None:
        future = self._waiting.get(frame["id"])
        if future is None or future.done():
            return  # the caller gave up: its time-out has spoken
        error = frame.get("error")
        if error is None:
            future.set_result(frame.get("result"))
        else:
            told = {"remote_code": error["code"], "remote_fatal": bool(error.get("fatal"))}
            future.set_exception(RemoteError(error["message"], **told))

    async def _serve(self, frame: frames.Frame) -> None:
        try:
            answer: frames.Frame = {"result": await self._handler(frame)}
        except OutpostError as error:
            told = error.as_dict()
            answer = {"error": {"code": told["code"], "message": error.message, "fatal": told["fatal"]}}
        except Exception as error:
            told = {"code": InternalError.code, "message": type(error).__name__, "fatal": InternalError.fatal}
            self._answer(frame, {"error": told})
            raise  # a fault of ours: the caller learns of it at once, and the loop's handler logs it
        self._answer(frame, answer)

    def _answer(self, frame: frames.Frame, answer: frames.Frame) -> None:
        if frame.get("id") is not None:
            self.cast({"type": "answer", "id": frame["id"], **answer})


async def connect(path: Path, handler: Handler) -> Link:
    """Connect to the supervisor."""
    reader, writer = await asyncio.open_unix_connection(sock=sockets.connect(path), limit=frames.MAX_FRAME_BYTES)
    return Link(reader, writer, handler)


async def serve(
    path: Path, on_link: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> asyncio.Server:
    """Listen for children."""
    return await asyncio.start_unix_server(on_link, sock=sockets.listen(path), limit=frames.MAX_FRAME_BYTES)
