"""The way into the audit logs: in the same process, over a Unix socket, and the server behind that socket.

One frame holds the records of one caller; the writer groups what waits, so frames of many callers share one
fdatasync.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

from outpost.core.errors import OutpostError, StoreError
from outpost.ipc import frames, sockets
from outpost.ledger.ledger import Ledger

# A ledger that says nothing for so long is taken for dead, and requests are refused (docs/adr/0003).
SILENCE_SECONDS = 2.0
RECONNECT_SECONDS = 0.02
MAX_WAITING = 4096  # appends of one worker; beyond it the worker sheds load


class LedgerUnavailableError(StoreError):
    """The ledger does not answer: nothing may take effect."""

    code = "ledger.unavailable"
    fatal = False


class LocalLedger:
    """``ports.Ledger`` over logs of this process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        """Durable when it returns."""
        return await asyncio.wrap_future(self._ledger.append(org, records))


class LedgerServer:
    """Serves appends of the other processes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = LocalLedger(ledger)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> asyncio.Server:
        """Listen."""
        return await asyncio.start_unix_server(self._serve, sock=sockets.listen(path), limit=frames.MAX_FRAME_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await frames.read(reader)
                task = asyncio.create_task(self._append(frame, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except frames.PeerGoneError:
            writer.close()

    async def _append(self, frame: frames.Frame, writer: asyncio.StreamWriter) -> None:
        try:
            records = [text.encode() for text in frame["records"]]
            sequences = await self._ledger.append(frame["org"], records)
            answer: frames.Frame = {"id": frame["id"], "first": sequences[0] if sequences else 0, "count": len(records)}
        except OutpostError as error:
            answer = {"id": frame["id"], "code": error.code, "message": error.message}
        if not writer.is_closing():
            writer.write(frames.encode(answer))


class LedgerClient:
    """``ports.Ledger`` over the ledger's socket. Connects when needed; a lost answer is an error, never a guess."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[frames.Frame]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        """Durable when it returns.

        Raises:
            LedgerUnavailableError: no ledger, no answer in time, or too many appends wait.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LedgerUnavailableError("too many records wait for the audit log")
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                answer = await self._ask({"org": org, "records": [record.decode() for record in records]})
        except (TimeoutError, frames.PeerGoneError) as error:
            raise LedgerUnavailableError(
                "the audit log does not answer", next_step="outpost status; the supervisor restarts the ledger"
            ) from error
        if "code" in answer:
            raise LedgerUnavailableError(f"the audit log refused: {answer['message']}", field=str(answer["code"]))
        return range(answer["first"], answer["first"] + answer["count"])

    async def close(self) -> None:
        """Let the connection go."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _ask(self, frame: frames.Frame) -> frames.Frame:
        writer = await self._connected()
        number = next(self._ids)
        answer: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(frames.encode({**frame, "id": number}))
            return await answer
        finally:
            del self._waiting[number]

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            while self._writer is None or self._writer.is_closing():
                try:
                    client = sockets.connect(self._path)
                except OSError:
                    await asyncio.sleep(RECONNECT_SECONDS)  # the supervisor is starting it
                    continue
                reader, self._writer = await asyncio.open_unix_connection(sock=client, limit=frames.MAX_FRAME_BYTES)
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await frames.read(reader)
                future = self._waiting.get(frame["id"])
                if future is not None and not future.done():
                    future.set_result(frame)
        except frames.PeerGoneError as gone:
            writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(gone)
