"""When the agent of an org calls again: jitter, waits that were asked for, refusals that a person must end."""

import asyncio
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from outpost import ports
from outpost.core.bundle.release import VerifiedSet
from outpost.core.errors import OutpostError, PeerError
from outpost.sync import agent
from outpost.sync.identity import Identity
from outpost.sync.install import Fetch
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.agent_world import PATIENCE, SET, Plane, World, answer, refused, running, until, verified
from tests.unit.sync.enrolled import offer


@dataclass
class Waits:
    """Stands where the agent sleeps: notes each wait; the last one never ends."""

    count: int
    seconds: list[float] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self.count:
            self.ended.set()
            await asyncio.Event().wait()


async def waited(world: World, count: int) -> list[float]:
    """The first waits of an agent."""
    waits = Waits(count)
    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=waits.sleep), "1.0")
    task = asyncio.create_task(world.agent.run())
    await asyncio.wait_for(waits.ended.wait(), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return waits.seconds


def throttled(seconds: float) -> PeerError:
    error = PeerError("too many at once")
    error.retry_after_seconds = seconds
    return error


async def test_jitter_stays_full_at_the_cap(tmp_path: Path) -> None:
    """A herd that has waited for long must not come back in one moment: each wait is drawn anew, below the cap."""
    world = World(tmp_path)
    world.failures = [PeerError("refused") for _ in range(400)]
    chance = random.Random(7)
    world.chance.uniform = chance.random  # type: ignore[method-assign]
    at_the_cap = (await waited(world, 400))[7:]  # 0.5 s doubled seven times is beyond 60 s
    assert 0 <= min(at_the_cap) < 1
    assert 59 < max(at_the_cap) < 60
    tenths = [sum(k * 6 <= wait < (k + 1) * 6 for wait in at_the_cap) for k in range(10)]
    assert min(tenths) > 15  # 39 each, evenly


FINAL: dict[str, OutpostError] = {
    "revoked": refused("outpost.revoked"),
    "locked": refused("identity.locked"),
    "superseded, which may pass when somebody enrolls": refused("identity.superseded", fatal=False),
    "whatever else a later control plane holds for final": refused("outpost.unheard_of"),
}


@pytest.mark.parametrize("why", FINAL)
async def test_a_refusal_that_a_person_must_end_is_asked_about_at_the_pace_of_the_cap(why: str, tmp_path: Path) -> None:
    """Thousands may have been told so at once, and asking soon again is of no use to any of them."""
    world = World(tmp_path)
    world.chance.number = 0.5
    world.failures = [FINAL[why]] * 4  # a connection on which the tail is delivered counts as one
    assert await waited(world, 2) == [30.0, 30.0]


async def test_a_wait_that_was_asked_for_is_kept_and_jitter_comes_on_top(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.5
    world.failures = [throttled(2.0) for _ in range(10)]
    assert await waited(world, 10) == [2.0 + 0.5 * min(60.0, 0.5 * 2**n) for n in range(10)]


async def test_an_offer_that_cannot_be_taken_up_lets_the_waits_grow(tmp_path: Path) -> None:
    """The control plane answers, and each time something on its side keeps the offer from being installed."""
    world = World(tmp_path, PeerError("the file was not sent"))
    world.chance.number = 0.5
    waits, connect = Waits(6), world.parts().connect

    def offering(identity: Identity, attempts: int) -> ports.ControlPlane:
        plane = connect(identity, attempts)
        assert isinstance(plane, Plane)
        plane.session.down.put_nowait(offer(SET))
        return plane

    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=waits.sleep, connect=offering), "1.0")
    task = asyncio.create_task(world.agent.run())
    await asyncio.wait_for(waits.ended.wait(), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert waits.seconds == [0.5 * 0.5 * 2**n for n in range(6)]


async def test_a_stream_that_held_for_a_heartbeat_starts_the_waits_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failures = [PeerError("refused")] * 3
    world.agent = agent.OrgAgent(ORG, world.parts(heartbeat_seconds=0.02), "1.0")
    async with running(world):
        await until(lambda: world.known.attempts == 3)
        await until(lambda: world.known.attempts == 0)


async def test_a_heartbeat_that_is_sent_early_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "TELL_SECONDS", 0.01)
    world = World(tmp_path)
    world.failures = [PeerError("refused")] * 3
    async with running(world):
        for _ in range(3):
            plane = await world.next_plane()
        plane.session.down.put_nowait(ports.Offer("n-1", "1.2", (), 0, withheld="bundle.self_test"))
        await asyncio.wait_for(plane.session.beats.get(), PATIENCE)  # the link is there, which is told at once
        assert world.known.attempts == 3


async def test_whoever_is_throttled_waits_for_its_turn_on_the_connection_that_is_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.0
    world.failures, world.failure_lasts = [throttled(0.001)], 3
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET))
        assert (await answer(plane))[0] == "ack"
        assert len(world.hellos) == 4
        assert len(world.planes) == 1
        assert world.known.attempts == 0


async def test_a_file_that_is_fetched_when_its_turn_comes_costs_no_connection(tmp_path: Path) -> None:
    world = World(tmp_path)
    turns = [throttled(3.0), throttled(4.0)]

    async def fetch(sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        if turns:
            raise turns.pop(0)
        return b"body"

    class Fetching:
        async def install(self, offered: ports.Offer, active: object, fetch: Fetch, progress: object) -> VerifiedSet:
            assert await fetch(offered.files[0].sha256, 4) == b"body"
            return verified(SET)

    world.agent = agent.OrgAgent(ORG, replace(world.parts(), installer=Fetching()), "1.0")  # type: ignore[arg-type]
    async with running(world) as plane:
        plane.fetch = fetch  # type: ignore[method-assign]
        plane.session.down.put_nowait(offer(SET, "n-1"))
        assert (await answer(plane))[:2] == ("ack", "n-1")
        assert world.waits == [3.0, 4.0]
        assert len(world.planes) == 1


async def test_a_turn_that_is_far_away_is_not_waited_for_on_an_idle_connection(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failures = [throttled(agent.LONGEST_TURN_SECONDS + 1), PeerError("refused")]
    waits = await waited(world, 2)
    assert waits[0] == agent.LONGEST_TURN_SECONDS + 1
    assert world.planes[0].closed
    assert len(world.planes) == 2


async def test_no_wait_that_is_asked_for_parks_an_outpost(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.failures = [throttled(10**9)]
    assert await waited(world, 1) == [agent.LONGEST_ASKED_SECONDS]


async def test_a_drain_lets_go_at_once_and_comes_back_within_its_spread(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.chance.number = 0.25
    waits = Waits(1)
    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=waits.sleep), "1.0")
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Drain(40))
        await asyncio.wait_for(waits.ended.wait(), PATIENCE)
        assert plane.closed
        assert waits.seconds == [10.0 + 0.25 * 0.5]


async def test_addresses_that_the_control_plane_tells_are_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    told = ("a.example:8444", "b.example:8444")
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Endpoints(told))
        plane.session.down.put_nowait(ports.Endpoints(told))
        plane.session.down.put_nowait(ports.Endpoints(()))
        plane.session.down.put_nowait(offer(SET))
        assert (await answer(plane))[0] == "ack"
    assert world.identity.enrollment.sync_endpoints == told
    assert set(told) < set(world.identity.enrollment.endpoints)


async def test_a_renewal_keeps_the_addresses_that_were_told_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Endpoints(("a.example:8444",)))
        plane.session.down.put_nowait(ports.RotateNow())
        await world.next_plane()
        await until(lambda: world.identity.enrollment.join_sequence == 2)
    assert world.identity.enrollment.sync_endpoints == ("a.example:8444",)


async def test_a_withheld_set_is_told_by_its_code_and_the_last_good_one_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Offer("n-1", "1.2", (), 0, withheld="bundle.self_test"))
        plane.session.down.put_nowait(offer(SET, "n-2"))
        assert await answer(plane) == ("ack", "n-2", "1.1")  # the withheld offer got no answer
        assert world.known.functions["policy"] == "bundle.self_test"
        assert world.installer.offers == []
