"""The agent of an org against a control plane in memory: offers, refusals, waits. Nothing sleeps for long.

What it does with its certificate is in test_keeper.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from outpost import ports
from outpost.core.bundle.errors import RollbackError
from outpost.core.errors import InternalError, OutpostError, PeerError
from outpost.sync import agent
from outpost.sync.knowledge import Knowledge
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.agent_world import (
    NEXT,
    NOW_MS,
    PATIENCE,
    SET,
    Plane,
    World,
    answer,
    running,
    verified,
)
from tests.unit.sync.enrolled import offer


async def test_an_offer_is_installed_recorded_and_acknowledged(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET, "n-7"))
        assert await answer(plane) == ("ack", "n-7", "1.1")
        known = world.agent.knowledge
        assert (known.revision, known.active) == ("1.1", verified(SET))
        assert known.functions == {"control_link": "ok", "certificate": "ok", "policy": "ok"}
        assert known.last_contact_ms == NOW_MS
        assert world.ledger.events == ["bundle.activated"]


async def test_the_same_set_again_is_acknowledged_without_work(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET, "n-1"))
        assert await answer(plane) == ("ack", "n-1", "1.1")
        plane.session.down.put_nowait(ports.Offer("n-2", "1.1", (), 0))  # "what you hold is the newest"
        assert await answer(plane) == ("ack", "n-2", "1.1")
        assert world.installer.offers == []
        assert world.ledger.events == []


REFUSALS: dict[str, tuple[OutpostError, str]] = {
    "a set that cannot be believed": (RollbackError("older", field="snapshot"), "snapshot"),
    "a fault of our own": (InternalError("a worker refuses", field="slot"), "slot"),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refused_offer_is_told_and_the_last_good_set_stays(what: str, tmp_path: Path) -> None:
    error, resource = REFUSALS[what]
    world = World(tmp_path, error)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(NEXT, "n-9"))
        assert await answer(plane) == ("nack", "n-9", error.code, resource)
        known = world.agent.knowledge
        assert (known.active, known.functions["policy"]) == (verified(SET), error.code)
        assert world.ledger.events == ["bundle.refused"]
        world.installer.result = verified(NEXT)
        plane.session.down.put_nowait(offer(NEXT, "n-10"))
        assert (await answer(plane))[0] == "ack"
        assert known.functions["policy"] == "ok"


async def test_hello_tells_who_we_are_and_what_we_hold(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    async with running(world):
        hello = world.hellos[0]
        assert (hello.boot_id[:8], hello.join_sequence, hello.active_revision) == ("00000001", 1, "1.1")
        assert set(hello.held) == {*SET.metadata, *SET.targets}


async def test_heartbeats_are_sent_and_count_as_contact(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent = agent.OrgAgent(ORG, world.parts(heartbeat_seconds=0.01), "1.0")
    async with running(world) as plane:
        beat = await asyncio.wait_for(plane.session.beats.get(), PATIENCE)
        assert beat.functions["certificate"] == "ok"
        assert world.agent.knowledge.last_contact_ms == NOW_MS


async def test_what_changes_is_told_before_the_next_heartbeat_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "TELL_SECONDS", 0.01)
    world = World(tmp_path)
    world.agent = agent.OrgAgent(ORG, world.parts(heartbeat_seconds=3600.0), "1.0")
    async with running(world) as plane:
        for code in ("canary.not_stopped", "ok"):
            world.agent.knowledge.functions["inspection"] = code
            beat = await asyncio.wait_for(plane.session.beats.get(), PATIENCE)
            while beat.functions.get("inspection") != code:  # what changed while it connected may come first
                beat = await asyncio.wait_for(plane.session.beats.get(), PATIENCE)


BREAKS: dict[str, Callable[[Plane], None]] = {
    "the stream breaks": lambda plane: plane.session.down.put_nowait(PeerError("reset")),
    "the control plane ends it": lambda plane: plane.session.down.put_nowait(None),
    "the control plane asks to come back": lambda plane: plane.session.down.put_nowait(ports.Drain(0)),
}


@pytest.mark.parametrize("what", BREAKS)
async def test_the_agent_connects_again_when(what: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    async with running(world) as plane:
        BREAKS[what](plane)
        again = await world.next_plane()
        assert plane.closed
        again.session.down.put_nowait(offer(SET))
        assert (await answer(again))[0] == "ack"
        assert world.agent.knowledge.attempts == 0


async def test_a_delivery_that_breaks_ends_the_connection(tmp_path: Path) -> None:
    world = World(tmp_path)
    gate = asyncio.Event()

    async def deliver(plane: ports.ControlPlane, known: Knowledge) -> None:
        await gate.wait()
        raise PeerError("reset")

    world.delivering = deliver
    async with running(world) as plane:
        gate.set()
        await world.next_plane()
        assert plane.closed


async def test_attempts_are_counted_until_somebody_answers(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failures = [PeerError("refused"), PeerError("refused"), PeerError("refused"), None]
    async with running(world):
        for _ in range(3):
            last = await world.next_plane()
        known = world.agent.knowledge
        assert (known.attempts, known.functions["control_link"]) == (3, "peer.failed")
        assert all(plane.closed for plane in world.planes[:3])
        last.session.down.put_nowait(offer(SET))
        assert (await answer(last))[0] == "ack"
        assert (known.attempts, known.functions["control_link"]) == (0, "ok")


async def test_waits_have_full_jitter_and_stay_at_the_cap(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.5
    world.failures = [PeerError("refused") for _ in range(12)]
    waits: list[float] = []
    ended = asyncio.Event()

    async def note(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            ended.set()
            await asyncio.Event().wait()

    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=note), "1.0")
    task = asyncio.create_task(world.agent.run())
    await asyncio.wait_for(ended.wait(), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waits == [min(60.0, 0.5 * 2**n) * 0.5 for n in range(12)]
