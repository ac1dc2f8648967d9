"""What outposts said of signed sets, on both engines."""

from dataclasses import replace

from controlplane.domain.records import Delivery, DeliveryState
from tests.contract.stores import ORG, Place, an_outpost


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
