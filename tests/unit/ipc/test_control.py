"""Links between processes: calls, answers, errors, time-outs, and peers that go away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from outpost.core.errors import StoreError
from outpost.ipc import control, frames, sockets

PATIENCE = 5.0


class FullError(StoreError):
    code = "test.full"


class AwayError(StoreError):
    code = "test.away"
    fatal = False


@dataclass
class Pair:
    """Both ends of a link; ``server_writer`` is the raw end of the server."""

    client: control.Link
    server: control.Link
    server_writer: asyncio.StreamWriter
    client_running: "asyncio.Task[None]"


@asynccontextmanager
async def linked(
    path: Path, handler: control.Handler, client_handler: control.Handler | None = None
) -> AsyncIterator[Pair]:
    came: asyncio.Future[tuple[control.Link, asyncio.StreamWriter]] = asyncio.get_running_loop().create_future()

    async def on_link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = control.Link(reader, writer, handler)
        came.set_result((link, writer))
        await link.run()

    server = await control.serve(path, on_link)
    client = await control.connect(path, client_handler or handler)
    running = asyncio.create_task(client.run())
    try:
        yield Pair(client, *await came, running)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, frames.FrameError):
            await running
        server.close()


async def echo(frame: frames.Frame) -> Any:
    return frame["value"]


async def never(frame: frames.Frame) -> Any:
    await asyncio.Event().wait()


async def full(frame: frames.Frame) -> Any:
    raise FullError("no room")


async def away(frame: frames.Frame) -> Any:
    raise AwayError("not yet")


async def broken(frame: frames.Frame) -> Any:
    raise ValueError("holds what nobody may see")


async def test_calls_are_answered_in_any_order(tmp_path: Path) -> None:
    gates = {0: asyncio.Event(), 1: asyncio.Event()}

    async def gated(frame: frames.Frame) -> int:
        await gates[frame["value"]].wait()
        return int(frame["value"])

    async with linked(tmp_path / "s", gated) as pair:
        first, second = (asyncio.create_task(pair.client.call({"type": "t", "value": n}, PATIENCE)) for n in (0, 1))
        gates[1].set()
        assert await second == 1
        assert not first.done()
        gates[0].set()
        assert await first == 0


async def test_both_ends_may_call(tmp_path: Path) -> None:
    async with linked(tmp_path / "s", echo) as pair:
        assert await pair.server.call({"type": "t", "value": "down"}, PATIENCE) == "down"
        assert await pair.client.call({"type": "t", "value": None}, PATIENCE) is None


async def test_a_cast_is_not_answered(tmp_path: Path) -> None:
    seen: asyncio.Queue[frames.Frame] = asyncio.Queue()

    async def note(frame: frames.Frame) -> None:
        await seen.put(frame)

    async with linked(tmp_path / "s", note) as pair:
        pair.client.cast({"type": "t", "value": 1})
        assert await asyncio.wait_for(seen.get(), PATIENCE) == {"type": "t", "value": 1}


FAILURES: dict[str, tuple[control.Handler, str, str, bool]] = {
    "an error of ours keeps its code": (full, "test.full", "no room", FullError.fatal),
    "an error that passes says so": (away, "test.away", "not yet", False),
    "a fault is told at once, by class and without its text": (broken, "internal", "ValueError", True),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_a_failed_call(what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handler, code, message, fatal = FAILURES[what]
    async with linked(tmp_path / "s", handler) as pair:
        with pytest.raises(control.RemoteError, match=f"^{message}$") as failed:
            await pair.client.call({"type": "t"}, PATIENCE)
    assert failed.value.remote_code == code
    assert (failed.value.as_dict()["code"], failed.value.as_dict()["fatal"]) == (code, fatal)


async def test_no_answer_in_time(tmp_path: Path) -> None:
    async with linked(tmp_path / "s", never) as pair:
        with pytest.raises(TimeoutError):
            await pair.client.call({"type": "t"}, 0.01)


async def test_a_late_answer_harms_nobody(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def late(frame: frames.Frame) -> str:
        if frame["value"] == "late":
            await gate.wait()
        return str(frame["value"])

    async with linked(tmp_path / "s", late) as pair:
        with pytest.raises(TimeoutError):
            await pair.client.call({"type": "t", "value": "late"}, 0.01)
        gate.set()
        assert await pair.client.call({"type": "t", "value": "next"}, PATIENCE) == "next"


ENDINGS: dict[str, Callable[[Pair], Awaitable[None] | None]] = {
    "the peer closes": lambda pair: pair.server.close(),
    "the peer dies": lambda pair: pair.server_writer.transport.abort(),
    "the peer sends what is no frame": lambda pair: pair.server_writer.write(b"\xff\xff\xff\xff"),
    "our own side stops serving": lambda pair: (pair.client_running.cancel(), None)[1],
}


@pytest.mark.parametrize("what", ENDINGS)
async def test_an_open_call_fails_when(what: str, tmp_path: Path) -> None:
    served = asyncio.Event()

    async def hang(frame: frames.Frame) -> None:
        served.set()
        await asyncio.Event().wait()

    async with linked(tmp_path / "s", hang) as pair:
        call = asyncio.create_task(pair.client.call({"type": "t"}, PATIENCE))
        await served.wait()
        ending = ENDINGS[what](pair)
        if ending is not None:
            await ending
        with pytest.raises(frames.PeerGoneError):
            await call
        with suppress(asyncio.CancelledError, frames.FrameError):
            await pair.client_running
        with pytest.raises(frames.PeerGoneError):
            await pair.client.call({"type": "t"}, PATIENCE)
        pair.client.cast({"type": "t"})  # dropped in silence


async def test_sockets_work_below_a_deep_folder_and_are_private(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8) / "run" / "control.sock"
    async with linked(path, echo) as pair:
        assert await pair.client.call({"type": "t", "value": 1}, PATIENCE) == 1
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    sockets.listen(path).close()
    assert path.exists()
    with pytest.raises(ConnectionRefusedError):
        sockets.connect(path)
    with sockets.listen(path), sockets.connect(path):
        pass


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
