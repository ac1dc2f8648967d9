"""Plans, their histories and the org's terms on both engines."""

from dataclasses import replace

import pytest

from controlplane.domain.plans import Moved, PlanState, PlanUnknownError
from controlplane.domain.rollout_terms import RolloutTerms
from tests.contract.attempts_plans import a_plan
from tests.contract.stores import ORG, OTHER, Place, a_release


async def test_a_plan_comes_back_as_it_was(place: Place) -> None:
    async with place.opened(ORG, OTHER) as store:
        async with store.for_org(ORG).write() as transaction:
            table = transaction.plans
            assert (await table.next_number(), await table.highest_release()) == (1, 0)
            await table.add(a_plan(1))
            await table.add(replace(a_plan(2), draft=b"", ceremony=b"", state=PlanState.LINTED))
        changed = replace(a_plan(1), state=PlanState.HALTED, code="bundle.self_test", reason="wüst ☃")
        async with store.for_org(ORG).write() as transaction:
            await transaction.plans.save(changed)
        async with store.for_org(ORG).read() as transaction:
            table = transaction.plans
            assert await table.get(1) == changed
            assert (await table.next_number(), await table.highest_release()) == (3, 2)
            assert [each.number for each in await table.newest(0, 10)] == [2, 1]
            assert [each.number for each in await table.newest(2, 10)] == [1]
            assert [each.number for each in await table.newest(0, 1)] == [2]
            with pytest.raises(PlanUnknownError):
                await table.get(3)
        async with store.for_org(OTHER).read() as transaction:
            assert await transaction.plans.newest(0, 10) == ()


async def test_what_rolls_and_what_waits(place: Place) -> None:
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        table = transaction.plans
        assert (await table.rolling(), await table.waiting()) == (None, None)
        await table.add(replace(a_plan(1), state=PlanState.APPROVED, ceremony=b""))
        await table.add(rolling := a_plan(2))
        assert (await table.rolling(), await table.waiting()) == (rolling, None)
        await table.add(waiting := replace(a_plan(3), state=PlanState.APPROVED))
        assert (await table.rolling(), await table.waiting()) == (rolling, waiting)
        await table.save(replace(rolling, state=PlanState.COMPLETE))
        assert await table.rolling() is None


async def test_a_history_is_kept_in_order(place: Place) -> None:
    steps = [Moved(at, state, at, f"c{at}", f"r{at}", "who") for at, state in enumerate(PlanState)]
    async with place.opened(ORG) as store:
        for step in steps:
            async with store.for_org(ORG).write() as transaction:
                await transaction.plans.note(1, step)
                await transaction.plans.note(2, step)
        async with store.for_org(ORG).read() as transaction:
            assert await transaction.plans.history(1) == tuple(steps)
            assert await transaction.plans.history(3) == ()


async def test_terms_of_roll_outs_are_the_usual_ones_until_others_are_set(place: Place) -> None:
    async with place.opened(ORG, OTHER) as store:
        async with store.for_org(ORG).write() as transaction:
            assert await transaction.plans.terms() == RolloutTerms()
            for seconds in (5, 6):
                await transaction.plans.put_terms(RolloutTerms((50, 100), seconds))
        async with store.for_org(ORG).read() as transaction:
            assert await transaction.plans.terms() == RolloutTerms((50, 100), 6)
        async with store.for_org(OTHER).read() as transaction:
            assert await transaction.plans.terms() == RolloutTerms()


async def test_the_newest_set_that_holds_a_file_is_found(place: Place) -> None:
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        for number, names in ((1, ("one", "both")), (2, ("two", "both")), (3, ("three",))):
            await transaction.releases.add(*a_release(number, **dict.fromkeys(names, b"%d" % number)))
        for name, number in (("one", 1), ("both", 2), ("three", 3)):
            held = await transaction.releases.holding(f"policy/{name}")
            assert held is not None
            assert held.number == number
            assert f"policy/{name}" in {file.name for file in held.files}
        assert await transaction.releases.holding("policy/four") is None
