"""What an agent says of the set that it holds, and what it makes of offers that are none or only changes."""

from dataclasses import replace
from pathlib import Path

import pytest

from outpost import ports
from outpost.core.bundle.delta import difference, set_identity
from outpost.core.bundle.errors import RollbackError
from tests.unit.sync.agent_world import NEXT, SET, World, answer, running, verified
from tests.unit.sync.enrolled import offer

REFUSED = RollbackError("older", field="snapshot")


async def test_a_hello_before_the_first_set_names_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with running(world):
        hello = world.hellos[0]
        assert (hello.set_sha256, hello.refused_revision) == (b"", "")
        assert len(hello.trust_bundle_sha256) == 32


async def test_a_hello_names_the_set_that_is_held(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    async with running(world):
        assert world.hellos[0].set_sha256 == set_identity(verified(SET).listing)


async def test_a_refused_revision_is_told_at_the_next_hello_until_something_is_installed(tmp_path: Path) -> None:
    world = World(tmp_path, REFUSED)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(replace(offer(NEXT, "n-1"), revision="9.9"))
        assert (await answer(plane))[0] == "nack"
        plane.session.down.put_nowait(None)
        again = await world.next_plane()
        assert world.hellos[-1].refused_revision == "9.9"
        world.installer.result = verified(NEXT)
        again.session.down.put_nowait(offer(NEXT, "n-2"))
        assert (await answer(again))[0] == "ack"
        again.session.down.put_nowait(None)
        await world.next_plane()
        assert world.hellos[-1].refused_revision == ""


async def test_a_refused_revision_of_any_length_is_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, REFUSED)
    async with running(world) as plane:
        plane.session.down.put_nowait(replace(offer(NEXT, "n-1"), revision="9" * 1000))
        assert (await answer(plane))[0] == "nack"
        assert world.agent.knowledge.refused == "9" * 32


async def test_a_withheld_offer_is_noted_and_not_answered(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Offer("n-1", "9.9", (), 0, withheld="bundle.rollback"))
        plane.session.down.put_nowait(ports.Offer("n-2", "1.1", (), 0))
        assert await answer(plane) == ("ack", "n-2", "1.1")
        assert world.agent.knowledge.functions["policy"] == "bundle.rollback"
        assert world.installer.offers == []


@pytest.mark.parametrize("removed", [(), ("vendor/old.bin",)])
async def test_an_offer_of_changes_reaches_the_installer(removed: tuple[str, ...], tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    held = verified(SET).listing
    found = difference(held, verified(NEXT).listing)
    files = tuple(file for file in offer(NEXT).files if file.name in found.changed)
    changes = ports.Offer("n-1", "1.1", files, 0, base_sha256=found.base_sha256, removed=removed)
    world.installer.result = verified(NEXT)
    async with running(world) as plane:
        plane.session.down.put_nowait(changes)
        assert await answer(plane) == ("ack", "n-1", "1.1")
        assert world.installer.offers == [changes]


async def test_files_that_only_go_away_are_a_change(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.agent.adopt(verified(SET))
    base = set_identity(verified(SET).listing)
    world.installer.result = verified(SET)
    async with running(world) as plane:
        plane.session.down.put_nowait(ports.Offer("n-1", "1.1", (), 0, base_sha256=base, removed=("vendor/x.bin",)))
        assert (await answer(plane))[0] == "ack"
        assert len(world.installer.offers) == 1
