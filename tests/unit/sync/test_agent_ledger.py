"""An activation stands in the audit log, or it is not acknowledged."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from outpost.core.errors import StoreError
from tests.unit.sync.agent_world import SET, World, answer, running
from tests.unit.sync.enrolled import offer


async def test_an_activation_that_could_not_be_recorded_is_offered_and_recorded_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    append, refusals = world.ledger.append, [StoreError("the audit log does not answer")]

    async def once(org: str, records: Sequence[bytes]) -> Sequence[int]:
        if refusals:
            raise refusals.pop()
        return await append(org, records)

    monkeypatch.setattr(world.ledger, "append", once)
    async with running(world) as first:
        first.session.down.put_nowait(offer(SET, "n-1"))
        second = await world.next_plane()
        assert world.hellos[-1].held == {}  # nothing was adopted, so all of it is offered again
        assert first.session.answers.empty()
        second.session.down.put_nowait(offer(SET, "n-2"))
        assert await answer(second) == ("ack", "n-2", "1.1")
        assert world.ledger.events == ["bundle.activated"]
