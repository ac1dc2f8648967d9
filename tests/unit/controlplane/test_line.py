"""The line of streams that something is to be said to: how many at a time, slow peers, failures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.domain.errors import StateError
from controlplane.domain.outposts import OutpostRevokedError
from controlplane.rpc import streams as module
from controlplane.rpc.streams import Line, Stream
from controlplane.services.identity import Principal

PATIENCE = 10.0


def plain(number: int) -> Stream:
    return Stream(Principal("acme", f"op-{number}", "1", 0), None, asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]


@asynccontextmanager
async def line(write: Callable[[Stream], Awaitable[None]], writers: int, count: int) -> AsyncIterator[Any]:
    made = Line(write, writers)
    streams = [plain(number) for number in range(count)]
    yield made, streams
    for each in streams:
        each.task.cancel()
    await asyncio.gather(*(each.task for each in streams), return_exceptions=True)


async def test_everybody_is_written_to_once_and_so_many_at_a_time() -> None:
    now: set[str] = set()
    most: list[int] = []
    written: list[str] = []

    async def write(stream: Stream) -> None:
        now.add(stream.principal.outpost_id)
        most.append(len(now))
        for _ in range(3):
            await asyncio.sleep(0)
        now.remove(stream.principal.outpost_id)
        written.append(stream.principal.outpost_id)

    async with line(write, 4, 50) as (made, streams):
        for each in (*streams, *streams):  # asked for twice before it was written: once is enough
            made.add(each)
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert sorted(written) == sorted(each.principal.outpost_id for each in streams)
        assert max(most) == 4


async def test_what_comes_up_while_a_stream_is_written_to_is_written_too() -> None:
    gate = asyncio.Event()
    written: list[int] = []

    async def write(stream: Stream) -> None:
        written.append(stream.offered)
        await gate.wait()

    async with line(write, 1, 1) as (made, (stream,)):
        made.add(stream)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stream.offered = 7
        made.add(stream)
        gate.set()
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert written == [0, 7]


async def test_a_slow_peer_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACE_SECONDS", 0.01)
    stuck = asyncio.Event()
    written: list[str] = []

    async def write(stream: Stream) -> None:
        if stream.principal.outpost_id in ("op-0", "op-1"):
            await stuck.wait()
        written.append(stream.principal.outpost_id)

    async with line(write, 2, 10) as (made, streams):
        for each in streams:
            made.add(each)
        async with asyncio.timeout(PATIENCE):
            while len(written) < 8:
                await asyncio.sleep(0.001)
        stuck.set()
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert len(written) == 10
        assert made._free == 2


async def test_a_stream_that_ended_in_line_is_not_written_to() -> None:
    written: list[str] = []

    async def write(stream: Stream) -> None:
        written.append(stream.principal.outpost_id)

    async with line(write, 1, 3) as (made, streams):
        for each in streams:
            made.add(each)
        made.drop(streams[1])
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert written == ["op-0", "op-2"]


FAILURES: dict[str, tuple[Exception, str]] = {
    "the outpost may not go on": (OutpostRevokedError("stolen"), "outpost.revoked"),
    "a fault of our own": (ValueError("secret detail"), "internal"),
}


async def test_a_stream_for_which_the_store_fails_stays_and_is_written_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    written: list[str] = []
    failures = 3

    async def write(stream: Stream) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise StateError("full")
        written.append(stream.principal.outpost_id)

    async with line(write, 1, 3) as (made, streams):
        for each in streams:
            made.add(each)
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert written == []
        made.drop(streams[2])  # it ended meanwhile
        async with asyncio.timeout(PATIENCE):
            while len(written) < 2:
                await asyncio.sleep(0.001)
        assert sorted(written) == ["op-0", "op-1"]
        assert [each.end for each in streams] == [None] * 3
        assert made._paused == {}


@pytest.mark.parametrize("what", FAILURES)
async def test_a_writer_that_fails_ends_its_stream_and_not_the_line(what: str) -> None:
    error, code = FAILURES[what]
    written: list[str] = []

    async def write(stream: Stream) -> None:
        if stream.principal.outpost_id == "op-0":
            raise error
        written.append(stream.principal.outpost_id)

    async with line(write, 1, 3) as (made, streams):
        for each in streams:
            made.add(each)
        await asyncio.wait_for(made.empty(), PATIENCE)
        assert written == ["op-1", "op-2"]
        assert streams[0].end is not None
        assert streams[0].end.code == code
        assert "secret" not in streams[0].end.message
