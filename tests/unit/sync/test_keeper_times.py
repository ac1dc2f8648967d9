"""Moments at which an agent does something with its certificate: when it is asked to, and by whose clock."""

from pathlib import Path

import pytest

from outpost import issuing, ports
from outpost.core.errors import OutpostError
from outpost.sync.keeper import LONGEST_ASKED_SECONDS, RETRY_CAP_SECONDS
from tests.unit.sync.agent_world import NOW_MS, World, away, running, until
from tests.unit.sync.test_agent_pace import throttled
from tests.unit.sync.test_keeper import HOUR_MS, established


@pytest.mark.parametrize("answers", [[None], [away()]], ids=["that comes", "that is lost"])
async def test_who_is_asked_to_renew_while_an_answer_is_on_its_way_renews_again(
    answers: list[OutpostError | None], tmp_path: Path
) -> None:
    """That answer was made before whatever made the control plane ask."""
    world = World(tmp_path)
    answer = world.authority.answer

    def asked_meanwhile(way: str, csr_der: bytes, sequence: int) -> issuing.RenewalAnswer:
        world.authority.answer = answer  # type: ignore[method-assign]
        world.authority.failures = list(answers)
        try:
            return answer(way, csr_der, sequence)
        finally:
            world.agent._keeper.rotate(0)

    async with running(world) as plane:
        await established(plane)
        world.authority.answer = asked_meanwhile  # type: ignore[method-assign]
        plane.session.down.put_nowait(ports.RotateNow())
        await until(lambda: world.identity.enrollment.join_sequence == 3 - bool(answers[0]))


@pytest.mark.parametrize("asked_seconds", [2.0, 2**32 / 1000])
async def test_a_server_that_asks_for_a_long_wait_is_asked_again_within_bounds(
    asked_seconds: float, tmp_path: Path
) -> None:
    world = World(tmp_path)
    async with running(world):
        wait = await world.agent._keeper._failed(throttled(asked_seconds))
    least = min(asked_seconds, LONGEST_ASKED_SECONDS)
    assert least <= wait <= least + RETRY_CAP_SECONDS


async def test_a_clock_that_is_ahead_is_named_and_a_good_certificate_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.time_ms = NOW_MS + 72 * HOUR_MS
    world.authority.ahead_ms = -72 * HOUR_MS
    async with running(world) as plane:
        assert world.authority.asked == []
        assert world.known.functions["clock"] == "clock.skew"
        assert "259200 s ahead of" in world.known.notes["clock"]
        assert world.known.functions["certificate"] == "ok"
        world.clock.time_ms = NOW_MS
        plane.session.down.put_nowait(ports.Offer("n", "1.1", (), NOW_MS))
        await until(lambda: world.known.functions["clock"] == "ok")


async def test_what_was_measured_of_a_clock_is_forgotten_when_somebody_sets_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.clock.time_ms = NOW_MS + 72 * HOUR_MS
    world.authority.ahead_ms = -72 * HOUR_MS
    async with running(world):
        assert world.known.functions["clock"] == "clock.skew"
        wrong_ms, world.authority.ahead_ms = world.clock.time_ms, 0
        world.age(0.7)  # set right, and by that clock the renewal is due
        world.clock.set_ms = world.clock.time_ms - wrong_ms
        await until(lambda: world.identity.enrollment.join_sequence == 2)
        assert world.known.functions["clock"] == "ok"
