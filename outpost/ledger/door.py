"""The way into the audit logs: in the same process, over a Unix socket, and the server behind that socket.

One frame holds the records of one caller; the writer groups what waits, so frames of many callers share one
fdatasync.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

from outpost.core.audit.canonical import RecordError
from outpost.core.errors import InternalError, OutpostError, StoreError
from outpost.ipc import frames, sockets
from outpost.ledger.errors import AppendTooLargeError
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
            return
        finally:
            writer.close()

    async def _append(self, frame: frames.Frame, writer: asyncio.StreamWriter) -> None:
        try:
            records = [text.encode() for text in frame["records"]]
            sequences = await self._ledger.append(frame["org"], records)
            answer: frames.Frame = {"first": sequences[0] if sequences else 0, "count": len(records)}
        except OutpostError as error:
            answer = {"code": error.code, "message": error.message}
        except Exception as error:
            _answer(writer, frame, {"code": InternalError.code, "message": type(error).__name__})
            raise  # a fault of ours: the caller learns of it at once, and the loop's handler logs it
        _answer(writer, frame, answer)


def _answer(writer: asyncio.StreamWriter, frame: frames.Frame, answer: frames.Frame) -> None:
    if not writer.is_closing():
        writer.write(frames.encode({"id": frame.get("id"), **answer}))


class LedgerClient:
    """``ports.Ledger`` over the ledger's socket. Connects when needed; a lost answer is an error, never a guess."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._appending = 0
        self._closed = False
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        """Durable when it returns.

        Raises:
            LedgerUnavailableError: no ledger, no answer in time, a refusal, or too many appends wait.
            RecordError: a record is no text.
            AppendTooLargeError: more records than one frame holds.
        """
        if self._closed:
            raise LedgerUnavailableError("the way to the audit log is closed: this process is stopping")
        if self._appending >= MAX_WAITING:
            raise LedgerUnavailableError("too many records wait for the audit log")
        self._appending += 1
        try:
            answer = await self._ask(org, records)
        finally:
            self._appending -= 1
        if "code" in answer:
            raise LedgerUnavailableError(f"the audit log refused: {answer['message']}", field=str(answer["code"]))
        return range(answer["first"], answer["first"] + answer["count"])

    async def close(self) -> None:
        """Let the connection go. Appends that wait fail at once, and so does every later one."""
        self._closed = True
        async with self._connecting:  # one that is being made is not forgotten
            if self._connection is not None:
                await self._connection.close()

    async def _ask(self, org: str, records: Sequence[bytes]) -> frames.Frame:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                connection = await self._connected()
                return await connection.ask({"org": org, "records": [record.decode() for record in records]})
        except (TimeoutError, frames.PeerGoneError) as error:
            raise LedgerUnavailableError(
                "the audit log does not answer", next_step="outpost status; the supervisor restarts the ledger"
            ) from error
        except UnicodeDecodeError:  # its text would carry the record
            raise RecordError("a record is not UTF-8") from None
        except frames.FrameError as error:
            raise AppendTooLargeError(
                f"one append fits into {frames.MAX_FRAME_BYTES} bytes, this one does not"
            ) from error

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            while self._connection is None or not self._connection.is_open:
                if self._closed:
                    raise frames.PeerGoneError("this end closed the socket")
                try:
                    client = sockets.connect(self._path)
                except OSError:
                    await asyncio.sleep(RECONNECT_SECONDS)  # the supervisor is starting it
                    continue
                pair = await asyncio.open_unix_connection(sock=client, limit=frames.MAX_FRAME_BYTES)
                self._connection = _Connection(*pair)
            return self._connection


class _Connection:
    """One connection to the ledger, and the appends that wait on it: they end with it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[frames.Frame]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @property
    def is_open(self) -> bool:
        """Whether answers can still come."""
        return not self._reading.done() and not self._writer.is_closing()

    async def ask(self, frame: frames.Frame) -> frames.Frame:
        """Send, and wait for the answer.

        Raises:
            PeerGoneError: the connection ended first.
            FrameError: the frame is too long; nothing was sent.
        """
        number = next(self._ids)
        data = frames.encode({**frame, "id": number})
        answer: asyncio.Future[frames.Frame] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(data)
            return await answer
        finally:
            del self._waiting[number]

    async def close(self) -> None:
        """End it."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        gone = frames.PeerGoneError("the connection to the audit log ended")
        try:
            while True:
                frame = await frames.read(reader)
                future = self._waiting.get(frame["id"])
                if future is not None and not future.done():
                    future.set_result(frame)
        except (frames.PeerGoneError, frames.FrameError) as error:
            gone.__cause__ = error
        finally:  # whatever ended it, our own close included, nobody waits for an answer any more
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(gone)
