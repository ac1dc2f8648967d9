"""The change feed, on every engine: no change is skipped, none is told before it is there, and every process hears."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from controlplane.domain.changes import KEPT_CHANGES, PRUNE_EVERY, Change, Changed, ChangeKind
from controlplane.ports.store import Store
from controlplane.store.store import DatabaseStore
from tests.contract.stores import ORG, OTHER, Place, a_release, an_outpost

SECONDS = 20.0
RELEASE = Change(ChangeKind.RELEASE)


async def since(store: Store, cursor: int, org: str = ORG) -> Changed:
    """What a reader at a cursor gets."""
    async with store.for_org(org).read() as transaction:
        return await transaction.changes.since(cursor)


async def note(store: Store, *changes: Change, org: str = ORG, scope: str = "") -> None:
    """A transaction that makes changes."""
    async with store.for_org(org).write(scope) as transaction:
        for each in changes:
            transaction.changes.note(each)


async def test_what_changes_is_told(place: Place) -> None:
    outpost = an_outpost()
    release, contents = a_release()
    async with place.opened(ORG) as store:
        assert await since(store, 0) == Changed(0)
        async with store.for_org(ORG).write() as transaction:
            await transaction.outposts.add(outpost)
            await transaction.outposts.save(replace(outpost, alert="x"))
            assert await transaction.changes.since(0) == Changed(0)  # not before it is committed
        async with store.for_org(ORG).write() as transaction:
            await transaction.releases.add(release, contents)
        kinds = frozenset({ChangeKind.OUTPOST, ChangeKind.RELEASE})
        assert await since(store, 0) == Changed(2, kinds, frozenset({outpost.id}))
        told = await since(store, 1)
        assert (told.outposts, told.releases) == (frozenset(), True)
        assert await since(store, 2) == Changed(2)


async def test_what_changes_nothing_tells_nothing(place: Place) -> None:
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            await transaction.outposts.save(an_outpost())  # there is none
        await note(store)
        assert await store.heads([ORG]) == {ORG: 0}


async def test_a_reader_of_another_time_reads_everything(place: Place) -> None:
    async with place.opened(ORG) as store:
        await note(store, RELEASE)
        assert (await since(store, 7)).whole  # the store was restored to an earlier day
        assert (await since(store, 7)).releases


async def test_old_changes_are_pruned_and_who_is_behind_reads_everything(place: Place) -> None:
    many = [Change(ChangeKind.OUTPOST, f"op-{number}") for number in range(PRUNE_EVERY)]
    rounds = KEPT_CHANGES // PRUNE_EVERY + 2
    async with place.opened(ORG) as store:
        for _ in range(rounds):
            await note(store, *many)
        newest = rounds * PRUNE_EVERY
        assert await since(store, newest - KEPT_CHANGES - 1) == Changed(newest, whole=True)
        assert len((await since(store, newest - KEPT_CHANGES)).outposts) == PRUNE_EVERY
        assert (await since(store, 0)).whole


async def test_no_change_is_skipped_while_others_write(place: Place) -> None:
    """Writers of three processes and several scopes, one of them slow or failing now and then; readers follow them."""
    async with place.opened(ORG) as ours, place.opened() as theirs, place.opened() as third:
        stores, chance, done = (ours, theirs, third), random.Random(7), asyncio.Event()
        written: set[str] = set()

        async def write(number: int) -> None:
            store, scope = chance.choice(stores), chance.choice(("", "", "a", "b"))
            fails = chance.random() < 0.2
            with contextlib.suppress(ArithmeticError):
                async with store.for_org(ORG).write(scope) as transaction:
                    for part in range(chance.randint(1, 3)):
                        transaction.changes.note(Change(ChangeKind.OUTPOST, f"op-{number}-{part}"))
                        if not fails:
                            written.add(f"op-{number}-{part}")
                    await asyncio.sleep(chance.random() * 0.01)
                    if fails:
                        raise ArithmeticError

        async def follow(store: DatabaseStore) -> set[str]:
            cursor, seen, last = 0, set[str](), False
            while True:
                last = done.is_set()
                told = await since(store, cursor)
                assert not told.whole
                cursor = told.newest
                seen |= told.outposts
                if last:
                    return seen

        readers = [asyncio.create_task(follow(store)) for store in (ours, third)]
        await asyncio.gather(*(write(number) for number in range(150)))
        done.set()
        for seen in await asyncio.gather(*readers):
            assert seen == written


async def test_a_writer_in_flight_hides_nobodys_change(place: Place) -> None:
    """While one writer is about to commit, another scope's change is either seen at once or numbered behind it."""
    async with place.opened(ORG) as ours, place.opened() as theirs:
        inside, go = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            async with ours.for_org(ORG).write("slow") as transaction:
                transaction.changes.note(Change(ChangeKind.OUTPOST, "op-slow"))
                await transaction.changes.store()  # its number is taken, and not yet committed
                inside.set()
                await go.wait()

        first = asyncio.create_task(slow())
        await inside.wait()
        second = asyncio.create_task(note(theirs, Change(ChangeKind.OUTPOST, "op-quick"), scope="quick"))
        told = await since(theirs, 0)
        assert told == Changed(0)
        go.set()
        await asyncio.gather(first, second)
        assert (await since(theirs, told.newest)).outposts == {"op-slow", "op-quick"}


async def test_heads_of_many_orgs_in_one_question(place: Place) -> None:
    orgs = [f"org-{number}" for number in range(30)]
    async with place.opened(*orgs) as store:
        for number, org in enumerate(orgs):
            for _ in range(number % 3):
                await note(store, RELEASE, org=org)
        assert await store.heads(orgs) == {org: number % 3 for number, org in enumerate(orgs)}
        assert await store.heads([]) == {}
        assert await store.heads(["nobody"]) == {}


class Ear:
    """What was heard, with a way to wait for it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, org: str) -> None:
        self.heard.append(org)
        self._more.set()

    async def wait(self, org: str) -> None:
        """Until an org, or everything, was told."""
        async with asyncio.timeout(SECONDS):
            while org not in self.heard:
                self._more.clear()
                await self._more.wait()


@contextlib.asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Ear]:
    """An ear that is sure to hear what comes from here on."""
    ear = Ear()
    task = asyncio.create_task(store.listen(ear))
    try:
        await ear.wait("")
        yield ear
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_commits_of_every_process_are_heard(place: Place) -> None:
    async with place.opened(ORG, OTHER) as ours, place.opened() as theirs:
        async with listening(ours) as here, listening(theirs) as there:
            await note(ours, RELEASE)
            await asyncio.gather(here.wait(ORG), there.wait(ORG))
            assert OTHER not in here.heard + there.heard
            await note(theirs, RELEASE, org=OTHER)
            await asyncio.gather(here.wait(OTHER), there.wait(OTHER))
        assert (here.heard.count(""), there.heard.count("")) == (1, 1)


async def test_what_is_heard_is_there(place: Place) -> None:
    async with place.opened(ORG) as ours, place.opened() as theirs, listening(theirs) as ear:
        for number in range(1, 6):
            ear.heard.clear()
            await note(ours, RELEASE)
            await ear.wait(ORG)
            assert await theirs.heads([ORG]) == {ORG: number}


async def test_of_a_transaction_that_fails_nothing_is_heard(place: Place) -> None:
    async with place.opened(ORG, OTHER) as store, listening(store) as ear:

        async def fail() -> None:
            async with store.for_org(ORG).write() as transaction:
                transaction.changes.note(RELEASE)
                await transaction.changes.store()
                raise ArithmeticError

        with pytest.raises(ArithmeticError):
            await fail()
        await note(store, RELEASE, org=OTHER)
        await ear.wait(OTHER)
        assert ORG not in ear.heard


async def test_an_org_that_is_made_later_is_heard(place: Place) -> None:
    async with place.opened() as ours, place.opened() as theirs, listening(theirs) as ear:
        await ours.add_org(ORG, 1)
        await note(ours, RELEASE)
        await ear.wait(ORG)
