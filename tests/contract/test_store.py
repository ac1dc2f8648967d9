"""The store, on every engine: transactions, order of writers, moments of readers."""

import asyncio
from dataclasses import replace

import pytest

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.orgs import OPERATOR, OrgExistsError, OrgNameError, OrgUnknownError
from controlplane.domain.quotas import Quotas
from controlplane.ports.store import OrgSpace
from controlplane.store.errors import DatabaseRefusedError, ValueUnstorableError
from controlplane.store.guard import NestedTransactionError
from tests.contract.stores import ORG, OTHER, Place, a_token, an_outpost


class PlantedError(Exception):
    """A fault inside a transaction."""


async def names(space: OrgSpace) -> list[str]:
    """Names of an org's outposts."""
    async with space.read() as transaction:
        return [each.name for each in await transaction.outposts.all()]


async def test_a_failed_transaction_leaves_nothing(place: Place) -> None:
    async with place.opened(ORG) as store:
        space = store.for_org(ORG)

        async def fail() -> None:
            async with space.write() as transaction:
                await transaction.outposts.add(an_outpost())
                raise PlantedError

        with pytest.raises(PlantedError):
            await fail()
        assert await names(space) == []
        assert await store.heads([ORG]) == {ORG: 0}


async def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(place: Place) -> None:
    async with place.opened(ORG) as store:
        space, inside = store.for_org(ORG), asyncio.Event()

        async def hang() -> None:
            async with space.write() as transaction:
                await transaction.outposts.add(an_outpost())
                inside.set()
                await asyncio.Event().wait()

        for _ in range(3):
            inside.clear()
            task = asyncio.create_task(hang())
            await inside.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await names(space) == []
        async with space.write() as transaction:
            await transaction.outposts.add(an_outpost())
        assert await names(space) == ["n1"]


async def test_a_transaction_that_is_cancelled_at_any_moment_happens_or_does_not(place: Place) -> None:
    async with place.opened(ORG) as store:
        space = store.for_org(ORG)

        async def add(number: int) -> None:
            async with space.write() as transaction:
                await transaction.outposts.add(an_outpost(number))

        ended = 0
        for number in range(1, 41):
            task = asyncio.create_task(add(number))
            await asyncio.sleep(number * 0.0002)  # each one is cut off a little later than the one before
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            ended += outcome is None
        found = await names(space)
        assert ended <= len(found) <= 40
        assert (await store.heads([ORG]))[ORG] == len(found)
        await add(100)
        assert "n100" in await names(space)


async def test_a_failure_that_is_passed_over_is_not_committed(place: Place) -> None:
    async with place.opened(ORG) as store:
        space = store.for_org(ORG)

        async def pass_over() -> None:
            async with space.write() as transaction:
                await transaction.outposts.add(an_outpost())
                with pytest.raises(DatabaseRefusedError):
                    await transaction.tokens.add(a_token("op-" + "f" * 16))  # of no outpost
                with pytest.raises(DatabaseRefusedError):
                    await transaction.outposts.all()

        with pytest.raises(DatabaseRefusedError):
            await pass_over()
        assert await names(space) == []


async def test_a_failure_that_is_passed_over_at_the_end_is_not_committed_either(place: Place) -> None:
    async with place.opened(ORG) as store:
        engine = await place.engine()

        async def pass_over() -> None:
            async with engine.org(ORG, write=True) as session:
                await session.execute("INSERT INTO quotas VALUES ($1, 1, 1, 1, 1)")
                with pytest.raises(DatabaseRefusedError):
                    await session.execute("INSERT INTO quotas VALUES ($1, 2, 2, 2, 2)")

        with pytest.raises(DatabaseRefusedError):
            await pass_over()
        await engine.close()
        async with store.for_org(ORG).read() as transaction:
            assert await transaction.quotas.get() == Quotas()


async def test_a_read_cannot_write(place: Place) -> None:
    async with place.opened(ORG) as store:

        async def write() -> None:
            async with store.for_org(ORG).read() as transaction:
                await transaction.outposts.add(an_outpost())

        with pytest.raises(DatabaseRefusedError):
            await write()
        assert await names(store.for_org(ORG)) == []


async def test_a_transaction_opens_no_other_one(place: Place) -> None:
    async with place.opened(ORG, OTHER) as store, store.for_org(ORG).write():
        for inner in (store.for_org(OTHER).read(), store.for_org(ORG).write(), store.for_org(ORG).read()):
            with pytest.raises(NestedTransactionError):
                await inner.__aenter__()
        with pytest.raises(NestedTransactionError):
            await store.orgs()


async def test_writers_of_two_processes_take_turns(place: Place) -> None:
    async with place.opened(ORG) as ours, place.opened() as theirs:

        async def count_on(number: int) -> None:
            async with (ours if number % 2 else theirs).for_org(ORG).write() as transaction:
                before = await transaction.quotas.get()
                await asyncio.sleep(0)
                await transaction.quotas.put(replace(before, outposts=before.outposts + 1))

        await asyncio.gather(*(count_on(number) for number in range(40)))
        async with ours.for_org(ORG).read() as transaction:
            assert (await transaction.quotas.get()).outposts == Quotas().outposts + 40


async def test_a_reader_sees_one_moment(place: Place) -> None:
    async with place.opened(ORG) as ours, place.opened() as theirs:
        async with ours.for_org(ORG).read() as transaction:
            assert await transaction.outposts.all() == ()
            await asyncio.create_task(add_one(theirs.for_org(ORG)))
            assert await transaction.outposts.all() == ()
            assert await transaction.changes.newest() == 0
        assert await names(ours.for_org(ORG)) == ["n1"]


async def add_one(space: OrgSpace, number: int = 1) -> None:
    """One more outpost."""
    async with space.write() as transaction:
        await transaction.outposts.add(an_outpost(number))


async def test_a_writer_sees_what_was_committed_while_it_waited(place: Place) -> None:
    async with place.opened(ORG) as ours, place.opened() as theirs:
        inside, go = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with ours.for_org(ORG).write() as transaction:
                inside.set()
                await go.wait()
                await transaction.outposts.add(an_outpost())

        async def second() -> list[str]:
            async with theirs.for_org(ORG).write() as transaction:
                return [each.name for each in await transaction.outposts.all()]

        writer = asyncio.create_task(first())
        await inside.wait()
        waiter = asyncio.create_task(second())
        await asyncio.sleep(0.05)  # long enough to be inside, if anything let it
        assert not waiter.done()
        go.set()
        await writer
        assert await waiter == ["n1"]


@pytest.mark.parametrize("org", ["../registry", "Acme", "", "a", "a" * 40, "acme'; --", "acme\n"])
async def test_no_space_for_what_is_no_org_id(place: Place, org: str) -> None:
    async with place.opened(ORG) as store:
        with pytest.raises(OrgNameError):
            store.for_org(org)
        with pytest.raises(OrgNameError):
            await store.add_org(org, 1)


async def test_no_transaction_for_an_org_that_is_not_here(place: Place) -> None:
    async with place.opened(ORG) as store:
        space = store.for_org("unknown")
        for kind in (space.read(), space.write(), space.write("scope")):
            with pytest.raises(OrgUnknownError):
                await kind.__aenter__()
        assert await store.heads(["unknown", ORG]) == {ORG: 0}
        await add_one(store.for_org(ORG))  # nothing of the refusals is left


async def test_an_org_sees_nothing_of_another(place: Place) -> None:
    async with place.opened(ORG, OTHER) as store:
        await add_one(store.for_org(ORG))
        assert await names(store.for_org(OTHER)) == []
        assert await store.heads([ORG, OTHER]) == {ORG: 1, OTHER: 0}


async def test_a_ready_org_is_not_created_twice_and_an_interrupted_one_is_taken_up(place: Place) -> None:
    async with place.opened() as store:
        await store.add_org(ORG, 1)
        assert [each.ready for each in await store.orgs()] == [False]
        await store.add_org(ORG, 2)
        await store.make_ready(ORG)
        with pytest.raises(OrgExistsError):
            await store.add_org(ORG, 3)
        assert [(each.id, each.created_ms, each.ready) for each in await store.orgs()] == [(ORG, 1, True)]


async def test_the_operators_own_space_is_no_customers(place: Place) -> None:
    async with place.opened(OPERATOR, ORG) as store:
        assert [each.id for each in await store.orgs()] == [ORG]
        await add_one(store.for_org(OPERATOR))
        assert await names(store.for_org(OPERATOR)) == ["n1"]


async def test_orgs_that_one_process_makes_are_there_for_another(place: Place) -> None:
    async with place.opened() as ours, place.opened() as theirs:
        assert await theirs.heads([ORG]) == {}
        await ours.add_org(ORG, 1)
        await add_one(theirs.for_org(ORG))
        assert await names(ours.for_org(ORG)) == ["n1"]


UNSTORABLE: dict[str, object] = {
    "a NUL character": "a\x00b",
    "half a surrogate pair": "a\ud800b",
    "65 bits": 1 << 63,
    "65 bits below zero": -(1 << 63) - 1,
}


@pytest.mark.parametrize("what", UNSTORABLE)
async def test_what_no_engine_stores_is_the_callers_mistake(place: Place, what: str) -> None:
    value = UNSTORABLE[what]
    bad = an_outpost(2, **({"reason": value} if isinstance(value, str) else {"created_ms": value}))
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            with pytest.raises(ValueUnstorableError) as caught:
                await transaction.outposts.add(bad)
            await transaction.outposts.add(an_outpost())  # nothing was sent, so the transaction goes on
        assert str(value) not in caught.value.message
        assert await names(store.for_org(ORG)) == ["n1"]


async def test_errors_show_nothing_of_a_statement(place: Place) -> None:
    async with place.opened(ORG) as store:

        async def twice() -> None:
            async with store.for_org(ORG).write() as transaction:
                await transaction.outposts.add(an_outpost(1, name="secret-one"))
                await transaction.outposts.add(an_outpost(1, name="secret-two"))

        with pytest.raises(ControlPlaneError) as caught:
            await twice()
        assert caught.value.code == "store.refused"
        assert caught.value.fatal
        assert "secret" not in str(caught.value.as_dict())
        assert "INSERT" not in str(caught.value.as_dict())
