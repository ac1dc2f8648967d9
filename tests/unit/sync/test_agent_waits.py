"""How long the agent waits, and where it comes back: jitter, turns, drains, addresses, and what is final."""

import asyncio
import random
from dataclasses import dataclass, field, replace

from outpost import ports
from outpost.core.errors import PeerError
from outpost.sync import agent
from tests.unit.sync.enrolled import offer
from tests.unit.sync.test_agent import ORG, PATIENCE, SET, World, answer, running, verified


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
    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=waits.sleep), "boot", "1.0")
    task = asyncio.create_task(world.agent.run())
    await asyncio.wait_for(waits.ended.wait(), PATIENCE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return waits.seconds


def throttled(seconds: float) -> PeerError:
    error = PeerError("too many at once")
    error.retry_after_seconds = seconds
    return error


async def test_waits_have_full_jitter_and_stay_at_the_cap() -> None:
    world = World()
    world.chance.number = 0.5
    world.failures = [PeerError("refused") for _ in range(12)]
    assert await waited(world, 12) == [min(60.0, 0.5 * 2**n) * 0.5 for n in range(12)]


async def test_jitter_stays_full_at_the_cap() -> None:
    """A herd that has waited for long must not come back in one moment: each wait is drawn anew, below the cap."""
    world = World()
    world.failures = [PeerError("refused") for _ in range(400)]
    chance = random.Random(7)
    world.chance.uniform = chance.random  # type: ignore[method-assign]
    at_the_cap = (await waited(world, 400))[7:]  # 0.5 s doubled seven times is beyond 60 s
    assert 0 <= min(at_the_cap) < 1
    assert 59 < max(at_the_cap) < 60
    tenths = [sum(k * 6 <= wait < (k + 1) * 6 for wait in at_the_cap) for k in range(10)]
    assert min(tenths) > 15  # 39 each, evenly


class RevokedError(PeerError):
    code = "outpost.revoked"
    fatal = True


async def test_a_final_refusal_is_asked_about_again_at_the_pace_of_the_cap_only() -> None:
    world = World()
    world.chance.number = 0.5
    world.failures = [RevokedError("revoked"), RevokedError("revoked")]
    assert await waited(world, 2) == [30.0, 30.0]


async def test_a_wait_that_was_asked_for_is_kept_and_jitter_comes_on_top() -> None:
    world = World()
    world.chance.number = 0.5
    world.failures = [throttled(2.0) for _ in range(10)]
    assert await waited(world, 10) == [2.0 + 0.5 * min(60.0, 0.5 * 2**n) for n in range(10)]


async def test_whoever_is_throttled_waits_for_its_turn_on_the_connection_that_is_there() -> None:
    world = World()
    world.chance.number = 0.0
    world.failures, world.failure_lasts = [throttled(0.001)], 3
    async with running(world) as plane:
        plane.session.down.put_nowait(offer(SET))
        assert (await answer(plane))[0] == "ack"
        assert len(world.hellos) == 4
        assert len(world.planes) == 1
        assert world.agent.knowledge.attempts == 0


async def test_a_turn_that_is_far_away_is_not_waited_for_on_an_idle_connection() -> None:
    world = World()
    world.failures = [throttled(agent.LONGEST_TURN_SECONDS + 1), PeerError("refused")]
    waits = await waited(world, 2)
    assert waits[0] == agent.LONGEST_TURN_SECONDS + 1
    assert world.planes[0].closed
    assert len(world.planes) == 2


async def test_no_wait_that_is_asked_for_parks_an_outpost() -> None:
    world = World()
    world.failures = [throttled(10**9)]
    assert await waited(world, 1) == [agent.LONGEST_ASKED_SECONDS]


async def test_a_drain_lets_go_at_once_and_comes_back_within_its_spread() -> None:
    world = World()
    world.chance.number = 0.25
    waits = Waits(1)
    world.agent = agent.OrgAgent(ORG, replace(world.parts(), sleep=waits.sleep), "boot", "1.0")
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Drain(40))
        await asyncio.wait_for(waits.ended.wait(), PATIENCE)
        assert plane.closed
        assert waits.seconds == [10.0 + 0.25 * 0.5]


async def test_addresses_that_the_control_plane_tells_are_kept() -> None:
    world = World()
    told = ("a.example:8444", "b.example:8444")
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Endpoints(told))
        plane.session.down.put_nowait(ports.Endpoints(told))
        plane.session.down.put_nowait(ports.Endpoints(()))
        plane.session.down.put_nowait(offer(SET))
        assert (await answer(plane))[0] == "ack"
    assert [saved.enrollment.sync_endpoints for saved in world.saved] == [told]
    assert world.identity.enrollment.endpoints == (*told, "127.0.0.1:1")


async def test_a_renewal_keeps_the_addresses_that_were_told_meanwhile() -> None:
    world = World()
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Endpoints(("a.example:8444",)))
        plane.session.down.put_nowait(ports.RotateNow())
        await world.next_plane()
    assert world.identity.enrollment.sync_endpoints == ("a.example:8444",)
    assert world.identity.enrollment.join_sequence == 2


async def test_a_withheld_set_is_told_by_its_code_and_the_last_good_one_stays() -> None:
    world = World()
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Offer("n-1", "1.2", (), 0, withheld="bundle.self_test"))
        plane.session.down.put_nowait(offer(SET, "n-2"))
        assert await answer(plane) == ("ack", "n-2", "1.1")  # the withheld offer got no answer
        assert world.agent.knowledge.functions["policy"] == "bundle.self_test"
        assert world.installer.offers == []
