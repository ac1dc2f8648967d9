"""The ends of the ledger's socket: a ledger that is gone, silent or broken never makes a caller wait for ever."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from outpost.core.audit.canonical import RecordError
from outpost.ipc import frames, sockets
from outpost.ledger import door
from outpost.ledger.door import LedgerClient, LedgerServer, LedgerUnavailableError
from outpost.ledger.errors import AppendTooLargeError
from outpost.ledger.identity import create_identity
from outpost.ledger.ledger import Ledger

PATIENCE = 10.0
BODY = b'{"x":1}'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def pretended(path: Path, serve: Serve) -> AsyncIterator[LedgerClient]:
    """A client of a ledger that behaves as a test wants."""

    async def serve_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve_and_close, sock=sockets.listen(path))
    client = LedgerClient(path)
    try:
        yield client
    finally:
        await client.close()
        server.close()


@contextlib.asynccontextmanager
async def real(tmp: Path) -> AsyncIterator[tuple[Ledger, Path]]:
    create_identity(tmp / "orgs" / "acme" / "audit", "outpost.internal/org/acme/outpost/op-0123456789abcdef")
    ledger = Ledger(tmp / "orgs")
    server = await LedgerServer(ledger).start(tmp / "ledger.sock")
    try:
        yield ledger, tmp / "ledger.sock"
    finally:
        server.close()
        ledger.close()


async def answer(writer: asyncio.StreamWriter, frame: frames.Frame, first: int = 7) -> None:
    writer.write(frames.encode({"id": frame["id"], "first": first, "count": len(frame["records"])}))


async def test_no_ledger_is_said_after_a_bounded_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "SILENCE_SECONDS", 0.1)
    client = LedgerClient(tmp_path / "nobody.sock")
    began = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match="does not answer") as refused:
        await client.append("acme", [BODY])
    assert 0.1 <= time.monotonic() - began < PATIENCE
    assert refused.value.fatal is False
    await client.close()


async def test_an_append_waits_for_a_ledger_that_is_being_started(tmp_path: Path) -> None:
    client = LedgerClient(tmp_path / "ledger.sock")
    append = asyncio.create_task(client.append("acme", [BODY]))
    await asyncio.sleep(0)
    async with real(tmp_path):
        assert list(await append) == [0]
        await client.close()


async def test_a_silent_ledger_is_taken_for_dead_and_a_late_answer_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SILENCE_SECONDS", 0.2)
    held: list[frames.Frame] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(await frames.read(reader))
        while True:
            with contextlib.suppress(frames.PeerGoneError):
                frame = await frames.read(reader)
                await answer(writer, held[0], 1)  # too late, and first
                await answer(writer, frame, 2)
                continue
            return

    async with pretended(tmp_path / "s", serve) as client:
        with pytest.raises(LedgerUnavailableError):
            await client.append("acme", [BODY])
        assert list(await client.append("acme", [BODY])) == [2]


async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await frames.read(reader)
    writer.write(b"\xff\xff\xff\xff")


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await frames.read(reader)
    writer.close()


async def aborting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await frames.read(reader)
    writer.transport.abort()


ENDINGS: dict[str, Serve] = {
    "closes the connection": closing,
    "resets the connection": aborting,
    "sends what is no frame": broken,
}


@pytest.mark.parametrize("what", ENDINGS)
async def test_waiting_appends_fail_at_once_and_the_next_one_connects_again_when_the_ledger(
    what: str, tmp_path: Path
) -> None:
    lives = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(lives) == 0:
            await ENDINGS[what](reader, writer)
            return
        await answer(writer, await frames.read(reader))

    async with pretended(tmp_path / "s", serve) as client:
        began = time.monotonic()
        both = await asyncio.gather(*(client.append("acme", [BODY]) for _ in range(2)), return_exceptions=True)
        assert [type(each) for each in both] == [LedgerUnavailableError] * 2
        assert time.monotonic() - began < door.SILENCE_SECONDS
        assert list(await client.append("acme", [BODY])) == [7]


async def test_a_closed_client_refuses_what_waits_and_what_comes(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frames.read(reader)
        asked.set()
        with pytest.raises(frames.PeerGoneError):
            await frames.read(reader)
        writer.close()

    async with pretended(tmp_path / "s", serve) as client:
        waiting = asyncio.create_task(client.append("acme", [BODY]))
        await asked.wait()
        began = time.monotonic()
        await client.close()
        with pytest.raises(LedgerUnavailableError):
            await waiting
        with pytest.raises(LedgerUnavailableError, match="closed"):
            await client.append("acme", [BODY])
        await client.close()
        assert time.monotonic() - began < door.SILENCE_SECONDS


async def test_a_client_that_waits_for_a_ledger_can_be_closed(tmp_path: Path) -> None:
    client = LedgerClient(tmp_path / "nobody.sock")
    waiting = asyncio.create_task(client.append("acme", [BODY]))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(LedgerUnavailableError):
        await waiting


async def test_too_many_waiting_appends_shed_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_WAITING", 3)
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = [await frames.read(reader) for _ in range(3)]
        await release.wait()
        for frame in found:
            await answer(writer, frame)

    async with pretended(tmp_path / "s", serve) as client:
        waiting = [asyncio.create_task(client.append("acme", [BODY])) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailableError, match="too many"):
            await client.append("acme", [BODY])
        release.set()
        assert [list(each) for each in await asyncio.gather(*waiting)] == [[7]] * 3


async def test_what_fits_no_frame_or_is_no_text_is_refused_here(tmp_path: Path) -> None:
    async with real(tmp_path) as (_, path):
        client = LedgerClient(path)
        with pytest.raises(AppendTooLargeError):
            await client.append("acme", [BODY, b'{"x":"' + b"x" * frames.MAX_FRAME_BYTES + b'"}'])
        with pytest.raises(RecordError) as refused:
            await client.append("acme", [b'{"x":"\xff"}'])
        assert refused.value.__cause__ is None
        assert list(await client.append("acme", [BODY])) == [0]
        await client.close()


ODD: dict[str, frames.Frame] = {
    "no records": {"id": 1, "org": "acme"},
    "records that are no texts": {"id": 1, "org": "acme", "records": [1]},
    "an org that is no text": {"id": 1, "org": 5, "records": ["{}"]},
}


@pytest.mark.parametrize("what", ODD)
async def test_the_server_answers_a_frame_with(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    async with real(tmp_path) as (_, path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # it logs the fault as ours
        writer.write(frames.encode(ODD[what]))
        told = await asyncio.wait_for(frames.read(reader), PATIENCE)
        assert (told["id"], told["code"]) == (1, "internal")
        writer.write(frames.encode({"id": 2, "org": "acme", "records": [BODY.decode()]}))
        assert await asyncio.wait_for(frames.read(reader), PATIENCE) == {"id": 2, "first": 0, "count": 1}
        writer.close()


async def test_a_log_that_the_disk_does_not_give_is_named_and_opened_later(tmp_path: Path) -> None:
    async with real(tmp_path) as (ledger, path):
        lock = tmp_path / "orgs" / "acme" / "audit" / "lock"
        lock.mkdir()  # opening it for writing fails as a broken disk would
        client = LedgerClient(path)
        (state,) = ledger.open_all()
        assert state.error is not None
        assert state.error.code == "ledger.unreadable"
        with pytest.raises(LedgerUnavailableError) as refused:
            await client.append("acme", [BODY])
        assert refused.value.field == "ledger.unreadable"
        lock.rmdir()
        assert list(await client.append("acme", [BODY])) == [0]
        await client.close()
