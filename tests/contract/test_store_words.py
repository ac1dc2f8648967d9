"""What outposts said of signed sets, on both engines."""

from dataclasses import replace

import pytest

from controlplane.domain.records import Delivery, DeliveryState
from tests.contract.stores import ORG, Place, an_outpost

ORDERS: dict[str, tuple[list[tuple[str, int]], tuple[str, int]]] = {
    "an offer that was kept back does not undo the answer": ([("ACTIVE", 20), ("OFFERED", 10)], ("ACTIVE", 20)),
    "a refusal that was kept back does not undo what came later": ([("ACTIVE", 20), ("REFUSED", 10)], ("ACTIVE", 20)),
    "a failure that was kept back neither": ([("REFUSED", 20), ("FAILED", 10)], ("REFUSED", 20)),
    "a later refusal counts": ([("ACTIVE", 10), ("REFUSED", 20)], ("REFUSED", 20)),
    "a later offer counts": ([("FAILED", 10), ("OFFERED", 20)], ("OFFERED", 20)),
    "of two words of one moment the second counts": ([("FAILED", 10), ("REFUSED", 10)], ("REFUSED", 10)),
    "a set that took effect, when the clock behind the offer is ahead": (
        [("OFFERED", 20), ("ACTIVE", 10)],
        ("ACTIVE", 10),
    ),
    "an offer that was kept back, when the clock behind it is ahead": (
        [("ACTIVE", 10), ("OFFERED", 20)],
        ("ACTIVE", 10),
    ),
    "a refusal that was kept back does not undo its pardon": ([("OFFERED", 20), ("REFUSED", 10)], ("OFFERED", 20)),
}


@pytest.mark.parametrize("name", ORDERS)
async def test_words_of_one_set_count_in_the_order_in_which_they_were_said(name: str, place: Place) -> None:
    said, expected = ORDERS[name]
    one = an_outpost()
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            await transaction.outposts.add(one)
        for state, at_ms in said:
            word = Delivery(one.id, 7, "1.7", DeliveryState[state], at_ms, downloaded_ms=1)
            async with store.for_org(ORG).write("words") as transaction:
                await transaction.releases.keep_deliveries([word])
        async with store.for_org(ORG).read() as transaction:
            (kept,) = await transaction.releases.deliveries()
        assert (kept.state.name, kept.at_ms) == expected


async def test_a_word_about_an_older_set_says_nothing_any_more_and_refusals_are_of_one_set(place: Place) -> None:
    one, two, three = (an_outpost(number) for number in range(1, 4))
    active = Delivery(one.id, 5, "1.5", DeliveryState.ACTIVE, 9, release=1, downloaded_ms=7, activated_ms=8)
    refused = Delivery(two.id, 5, "1.5", DeliveryState.REFUSED, 9, "bundle.hash", release=1, downloaded_ms=7)
    older = Delivery(three.id, 4, "1.4", DeliveryState.REFUSED, 9, "bundle.size")
    async with place.opened(ORG) as store:
        async with store.for_org(ORG).write() as transaction:
            for each in (one, two, three):
                await transaction.outposts.add(each)
        async with store.for_org(ORG).write("words") as transaction:
            await transaction.releases.keep_deliveries([active, refused, older])
        late = [
            replace(each, number=each.number - 1, at_ms=10, state=DeliveryState.OFFERED) for each in (active, refused)
        ]
        async with store.for_org(ORG).write("words") as transaction:
            await transaction.releases.keep_deliveries(late)
        async with store.for_org(ORG).read() as transaction:
            assert set(await transaction.releases.deliveries()) == {active, refused, older}
        again = replace(active, at_ms=11, downloaded_ms=0, activated_ms=11)  # after a reconnect
        async with store.for_org(ORG).write("words") as transaction:
            await transaction.releases.keep_deliveries([again])
        async with store.for_org(ORG).read() as transaction:
            assert set(await transaction.releases.deliveries()) == {active, refused, older}
            assert await transaction.releases.refusals(5) == {two.id: "bundle.hash"}
            assert await transaction.releases.refusals(4) == {three.id: "bundle.size"}
            assert await transaction.releases.refusals(6) == {}
        async with store.for_org(ORG).write() as transaction:
            told = [await transaction.releases.forgive(each.id) for each in (one, two, two, three)]
        assert told == [False, True, False, True]
        async with store.for_org(ORG).read() as transaction:
            forgiven = [replace(each, state=DeliveryState.OFFERED) for each in (refused, older)]
            assert set(await transaction.releases.deliveries()) == {active, *forgiven}
            assert await transaction.releases.refusals(5) == {}
