"""What a replica tells of those that serve one control plane."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.bootstrap import replica
from controlplane.bootstrap.replica import ReplicaBeat
from controlplane.domain.replicas import LOST_MS
from tests.unit.controlplane.bed import Bed, Chance, bed

PATIENCE = 10.0


def beat(plane: Bed, endpoint: str, told: list[tuple[str, ...]], named: tuple[str, ...] = ()) -> ReplicaBeat:
    parts: Any = SimpleNamespace(
        store=plane.store, clock=plane.clock, chance=Chance(), settings=SimpleNamespace(sync_endpoints=named)
    )
    return ReplicaBeat(parts, endpoint, told.append)


@asynccontextmanager
async def beating(one: ReplicaBeat, told: list[tuple[str, ...]], count: int) -> AsyncIterator[None]:
    """Let it beat until it told so often."""
    running = asyncio.create_task(one.run())
    async with asyncio.timeout(PATIENCE):
        while len(told) < count:
            await asyncio.sleep(0.001)
    yield
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "BEAT_SECONDS", 0.01)


async def test_what_the_settings_name_is_told_at_the_start(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        told: list[tuple[str, ...]] = []
        one = beat(plane, "a:8444", told, ("x:1", "y:1"))
        await one.start()
        assert told == [one.endpoints] == [("x:1", "y:1")]


async def test_one_that_is_alone_says_so_once_but_not_before_others_had_their_time_to_register(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        told: list[tuple[str, ...]] = []
        one = beat(plane, "a:8444", told)
        await one.start()
        assert told == []
        async with beating(one, told, 1):
            assert told == [("a:8444",)]
            await beat(plane, "b:8444", []).start()
        async with beating(one, told, 2):
            assert told == [("a:8444",), ("a:8444", "b:8444")]
            plane.clock.ms += LOST_MS + 1
        async with beating(one, told, 3):
            assert told[2:] == [("a:8444",)]


async def test_one_that_finds_others_tells_of_all_at_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await beat(plane, "a:8444", []).start()
        told: list[tuple[str, ...]] = []
        await beat(plane, "b:8444", told).start()
        assert told == [("a:8444", "b:8444")]
