"""What outposts say reaches the store: together, in order, and whatever the store does meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat
from controlplane.services import words as module
from controlplane.services.enroll import Enrolled
from controlplane.services.identity import Principal
from controlplane.services.words import MAX_ITEMS, Words
from tests.fakes.unsteady_store import UnsteadyStore, full_disk
from tests.unit.controlplane.bed import START_MS, Bed, bed

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come soon; the window between two commits is as in production."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(module, "MAX_RETRY_SECONDS", 0.002)


@dataclass
class Site:
    plane: Bed
    store: UnsteadyStore
    words: Words
    fleet: list[Enrolled]

    def id(self, number: int) -> str:
        return self.fleet[number].outpost.id

    def principal(self, number: int) -> Principal:
        return Principal("acme", self.id(number), self.fleet[number].outpost.serial, 0)

    def beat(self, number: int, seen_ms: int, **status: object) -> Heartbeat:
        return Heartbeat(self.id(number), status, seen_ms)

    def answer(self, number: int, at_ms: int, state: DeliveryState = DeliveryState.ACTIVE) -> Delivery:
        return Delivery(self.id(number), 1, "1.1", state, at_ms)

    async def settled(self) -> None:
        await asyncio.wait_for(self.words.settle(), PATIENCE)

    async def stored(self) -> tuple[dict[str, int], dict[str, int]]:
        """Times of the stored heartbeats and answers, by outpost."""
        async with self.store.for_org("acme").read() as transaction:
            beats = {each.id: each.last_seen_ms for each in await transaction.outposts.all() if each.last_seen_ms}
            return beats, {each.outpost_id: each.at_ms for each in await transaction.releases.deliveries()}


@asynccontextmanager
async def site(folder: Path, count: int = 3) -> AsyncIterator[Site]:
    async with bed(folder) as plane:
        store = UnsteadyStore(plane.store)
        words = Words(store, plane.clock)  # type: ignore[arg-type]
        fleet = [await plane.enrolled(f"prod-{number}") for number in range(count)]
        try:
            yield Site(plane, store, words, fleet)
        finally:
            await words.close()


@contextmanager
def logged(event: str) -> Iterator[list[logging.LogRecord]]:
    """Lines of one event."""
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == event:
                found.append(record)

    logger, handler = logging.getLogger("controlplane"), Keep()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


async def test_what_comes_together_is_one_transaction(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        for number in range(3):
            there.words.beat("acme", there.beat(number, START_MS + number))
            there.words.answer("acme", there.answer(number, START_MS + 10 + number))
        await there.settled()
        assert there.store.writes == 1
        beats, answers = await there.stored()
        assert beats == {there.id(n): START_MS + n for n in range(3)}
        assert answers == {there.id(n): START_MS + 10 + n for n in range(3)}
        assert there.words.written == 6


async def test_of_one_outpost_the_newest_word_counts(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        for moment in range(50):
            there.words.beat("acme", there.beat(0, START_MS + moment))
        there.words.answer("acme", there.answer(0, START_MS, DeliveryState.OFFERED))
        there.words.answer("acme", there.answer(0, START_MS + 1, DeliveryState.ACTIVE))
        await there.settled()
        beats, answers = await there.stored()
        assert (beats[there.id(0)], answers[there.id(0)]) == (START_MS + 49, START_MS + 1)
        assert there.words.written == 2


async def test_many_words_are_written_before_the_window_is_over_and_in_bounded_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW_SECONDS", 3600.0)
    monkeypatch.setattr(module, "MAX_ITEMS", 4)
    async with site(tmp_path, count=10) as there:
        for number in range(10):
            there.words.beat("acme", there.beat(number, START_MS + 1))
        await there.settled()
        assert there.store.writes == 3
        assert len((await there.stored())[0]) == 10
    assert MAX_ITEMS == 256


async def test_a_refusal_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_SECONDS", 3600.0)
    async with site(tmp_path) as there:
        there.words.answer("acme", there.answer(0, START_MS, DeliveryState.REFUSED), urgent=True)
        async with asyncio.timeout(PATIENCE):
            while not (await there.stored())[1]:
                await asyncio.sleep(0.001)


async def test_a_failing_store_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    with logged("words.failed") as lines:
        async with site(tmp_path) as there:
            there.store.failures.extend(full_disk() for _ in range(2))
            there.words.beat("acme", there.beat(0, START_MS + 1, state="OLD"))
            there.words.answer("acme", there.answer(1, START_MS + 1))
            async with asyncio.timeout(PATIENCE):
                while there.words.failed < 1:
                    await asyncio.sleep(0)
            there.words.beat("acme", there.beat(0, START_MS + 9, state="NEW"))  # comes while the old one is put back
            await there.settled()
            beats, answers = await there.stored()
            assert beats == {there.id(0): START_MS + 9}
            assert answers == {there.id(1): START_MS + 1}
            assert (there.words.failed, there.words.dropped) == (2, 0)
    assert len(lines) == 2


async def test_a_store_that_is_away_for_long_loses_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, count=12) as there:
        there.store.failures.extend(full_disk() for _ in range(40))  # more than all probes of several rounds
        for number in range(12):
            there.words.beat("acme", there.beat(number, START_MS + 1))
        await there.settled()
        assert len((await there.stored())[0]) == 12
        assert there.words.dropped == 0


async def test_an_item_that_the_store_never_takes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with logged("words.dropped") as lines:
        async with site(tmp_path, count=12) as there:
            there.store.poison = lambda row: row.outpost_id == there.id(5)
            for number in range(12):
                there.words.beat("acme", there.beat(number, START_MS + 1))
            await there.settled()
            beats, _ = await there.stored()
            assert set(beats) == {there.id(n) for n in range(12) if n != 5}
            assert there.words.dropped == 1
            lost = there.id(5)
    assert [line.fields["outpost"] for line in lines] == [lost]  # type: ignore[attr-defined]


async def test_a_hello_is_told_of_a_failure_at_once_and_of_its_verdict_after_the_commit(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        there.store.failures.append(full_disk())
        with pytest.raises(ControlPlaneError) as caught:
            await asyncio.wait_for(there.words.hello(there.principal(0), "1" * 32, "1"), PATIENCE)
        assert caught.value.code == "store.database"
        await asyncio.wait_for(there.words.hello(there.principal(0), "1" * 32, "1"), PATIENCE)
        await asyncio.wait_for(there.words.hello(there.principal(0), "2" * 32, "1"), PATIENCE)
        with pytest.raises(ControlPlaneError) as caught:
            await asyncio.wait_for(there.words.hello(there.principal(0), "1" * 32, "1"), PATIENCE)
        assert caught.value.code == "identity.superseded"
        async with there.store.for_org("acme").read() as transaction:
            outpost = await transaction.outposts.get(there.id(0))
        assert (outpost.boot_id, outpost.alert) == ("2" * 32, "identity.superseded")


async def test_hellos_of_many_are_one_transaction(tmp_path: Path) -> None:
    async with site(tmp_path, count=8) as there:
        before = there.store.writes
        hellos = [there.words.hello(there.principal(n), f"{n:032x}", "1") for n in range(8)]
        await asyncio.wait_for(asyncio.gather(*hellos), PATIENCE)
        assert there.store.writes == before + 1


async def test_a_stop_writes_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_SECONDS", 3600.0)
    async with site(tmp_path) as there:
        there.words.beat("acme", there.beat(0, START_MS + 1))
        await asyncio.wait_for(there.words.close(), PATIENCE)
        assert (await there.stored())[0] == {there.id(0): START_MS + 1}


async def test_a_stop_with_a_store_that_is_away_ends_and_says_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING_SECONDS", 0.05)
    with logged("words.dropped") as lines:
        async with site(tmp_path) as there:
            there.store.poison = lambda row: True
            there.words.beat("acme", there.beat(0, START_MS + 1))
            there.words.answer("acme", there.answer(1, START_MS + 1))
            await asyncio.wait_for(there.words.close(), PATIENCE)
    assert [line.fields["number"] for line in lines] == [2]  # type: ignore[attr-defined]
