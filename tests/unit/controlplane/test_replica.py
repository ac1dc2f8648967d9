"""What a replica tells of those that serve one control plane."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.bootstrap.replica import ReplicaBeat
from controlplane.domain.replicas import LOST_MS
from tests.unit.controlplane.bed import Bed, Chance, bed


def beat(plane: Bed, endpoint: str, told: list[tuple[str, ...]], named: tuple[str, ...] = ()) -> ReplicaBeat:
    parts: Any = SimpleNamespace(
        store=plane.store, clock=plane.clock, chance=Chance(), settings=SimpleNamespace(sync_endpoints=named)
    )
    return ReplicaBeat(parts, endpoint, told.append)


STARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "one that is alone tells its address, for outposts may know those of others that are gone": ((), ("a:8444",)),
    "what the settings name counts instead": (("x:1", "y:1"), ("x:1", "y:1")),
}


@pytest.mark.parametrize("sentence", STARTS)
async def test_at_its_start_a_replica_tells(sentence: str, tmp_path: Path) -> None:
    named, expected = STARTS[sentence]
    async with bed(tmp_path) as plane:
        told: list[tuple[str, ...]] = []
        one = beat(plane, "a:8444", told, named)
        await one.start()
        await one.start()
        assert told == [expected]
        assert one.endpoints == expected


async def test_those_that_come_and_go_are_told_once(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        told: list[tuple[str, ...]] = []
        one, two = beat(plane, "a:8444", told), beat(plane, "b:8444", [])
        await one.start()
        await two.start()
        for _ in range(2):
            await one.start()
        plane.clock.ms += LOST_MS + 1
        await one.start()
        assert told == [("a:8444",), ("a:8444", "b:8444"), ("a:8444",)]
