"""The sockets between our own processes: whatever a broken process writes, the others are served."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outpost.core.errors import InternalError
from outpost.ipc import control, frames
from outpost.ledger.door import LedgerClient, LedgerServer
from outpost.ledger.ledger import Ledger
from tests.contract.ledgers import body, make_orgs
from tests.fuzz.damage import damaged

PATIENCE = 20.0
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(["acme", "../x", "", "hello", "answer", "ready", "append"]) | st.text(max_size=6)
VALUES = st.none() | st.booleans() | st.integers(-3, 2**53) | WORDS | st.lists(WORDS, max_size=2)
KEYS = st.sampled_from(["type", "id", "org", "records", "role", "index", "result", "error"])
FRAMES = st.dictionaries(KEYS, VALUES, max_size=5).map(frames.encode)
WRITTEN = st.lists(FRAMES | damaged(FRAMES) | st.binary(max_size=30), max_size=4).map(b"".join)


@pytest.fixture
def runner(caplog: pytest.LogCaptureFixture) -> Iterator[asyncio.Runner]:
    caplog.set_level(logging.CRITICAL + 1)
    with asyncio.Runner() as made:
        made.get_loop().set_exception_handler(lambda *_: None)  # where our processes log such a fault
        yield made


async def write(path: Path, data: bytes) -> None:
    """What a broken process does: write, read what comes, go away."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    writer.write_eof()
    await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()


@settings(FUZZ, max_examples=300)
@given(WRITTEN)
def test_frames_are_objects_or_refused(data: bytes) -> None:
    async def read() -> list[Any]:
        reader = asyncio.StreamReader(limit=frames.MAX_FRAME_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        found = []
        while True:
            try:
                found.append(await frames.read(reader))
            except InternalError as refused:
                return [*found, refused]

    *found, refused = asyncio.run(read())
    assert isinstance(refused, frames.PeerGoneError | frames.FrameError)
    assert all(isinstance(frame, dict) for frame in found)
    assert data.startswith(b"".join(len(raw).to_bytes(4, "big") + raw for raw in _bodies(data, len(found))))


def _bodies(data: bytes, count: int) -> Iterator[bytes]:
    for _ in range(count):
        size = int.from_bytes(data[:4], "big")
        assert isinstance(json.loads(data[4 : 4 + size]), dict)
        yield data[4 : 4 + size]
        data = data[4 + size :]


def test_the_ledger_serves_on(runner: asyncio.Runner, tmp_path: Path) -> None:
    make_orgs(tmp_path / "orgs")
    ledger = Ledger(tmp_path / "orgs")
    path = tmp_path / "ledger.sock"
    server = runner.run(LedgerServer(ledger).start(path))
    client = LedgerClient(path)

    @FUZZ
    @given(WRITTEN)
    def run(data: bytes) -> None:
        async def example() -> None:
            await write(path, data)
            (number,) = await client.append("acme", [body("x")])
            assert number == ledger.log("acme").size - 1

        runner.run(example())

    run()

    async def stop() -> None:
        await client.close()
        server.close()

    runner.run(stop())
    ledger.close()


def test_the_control_socket_serves_on(runner: asyncio.Runner, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def handle(frame: frames.Frame) -> Any:
        return frame["type"]

    async def on_link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await control.Link(reader, writer, handle).run()

    server = runner.run(control.serve(path, on_link))

    @FUZZ
    @given(WRITTEN)
    def run(data: bytes) -> None:
        async def example() -> None:
            await write(path, data)
            link = await control.connect(path, handle)
            running = asyncio.create_task(link.run())
            assert await link.call({"type": "still there"}, PATIENCE) == "still there"
            await link.close()
            await running

        runner.run(example())

    run()
    server.close()
