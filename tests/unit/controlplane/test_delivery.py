"""Offers: made once for all that hold the same, withheld from who refused, and answers on their way to the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.domain.boots import Hello
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.services.defaults import default_policy
from controlplane.services.delivery import KEPT_PLANS, Answer, DeliveryDesk, OfferPlan
from controlplane.services.identity import Principal
from controlplane.services.views import Views
from controlplane.services.words import Words
from tests.fakes.unsteady_store import UnsteadyStore, full_disk
from tests.unit.controlplane.bed import Bed, bed


@dataclass
class Site:
    plane: Bed
    store: UnsteadyStore
    views: Views
    words: Words
    desk: DeliveryDesk

    async def principal(self, name: str) -> Principal:
        enrolled = await self.plane.enrolled(name)
        await self.views.refresh("acme")
        return Principal("acme", enrolled.outpost.id, enrolled.outpost.serial, 0)

    async def publish(self, word: str) -> None:
        await self.plane.publisher.publish_policy("acme", default_policy("acme").replace(b"found.", word.encode()))
        await self.views.refresh("acme")

    async def plan(self, principal: Principal, held: dict[str, bytes]) -> OfferPlan:
        found = await self.desk.plan(principal, self.desk.holding(held))
        assert found is not None
        return found

    async def word(self, principal: Principal) -> Delivery:
        await self.words.settle()
        async with self.store.for_org("acme").read() as transaction:
            words: tuple[Delivery, ...] = await transaction.releases.deliveries()
        return next(each for each in words if each.outpost_id == principal.outpost_id)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with bed(folder) as plane:
        store = UnsteadyStore(plane.store)
        views = Views(store, plane.clock)  # type: ignore[arg-type]
        words = Words(store, plane.clock)  # type: ignore[arg-type]
        desk = DeliveryDesk(store, views, words, plane.clock)  # type: ignore[arg-type]
        yield Site(plane, store, views, words, desk)
        await words.close()


async def test_an_offer_is_made_once_for_all_that_hold_the_same(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        fleet = [await there.principal(f"prod-{number}") for number in range(5)]
        before = there.store.reads
        plans = await asyncio.gather(*(there.plan(each, {"timestamp.json": b"old"}) for each in fleet))
        assert there.store.reads == before + 1
        assert len({id(each) for each in plans}) == 1
        other = await there.plan(fleet[0], {})
        assert other is not plans[0]
        assert (other.number, other.files) == (plans[0].number, plans[0].files)
        await there.publish("seen.")
        assert (await there.plan(fleet[0], {})).number == other.number + 1


async def test_holdings_are_one_object_for_all_that_hold_the_same_and_none_when_nobody_does(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one = there.desk.holding({"a": b"1", "b": b"2"})
        assert there.desk.holding({"b": b"2", "a": b"1"}) is one
        assert there.desk.holding({"a": b"1"}) is not one
        assert there.desk.holding({"a": b"1\x00b", "": b""}).digest != one.digest
        assert len(there.desk._holdings) == 1  # the others are gone already
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        assert there.desk.holding({file.name: file.sha256 for file in plan.files}) is plan.after


async def test_who_holds_the_newest_set_is_offered_no_files(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        again = await there.plan(principal, dict(plan.after.files))
        assert (again.number, again.files, again.inline, again.withheld) == (plan.number, (), {}, "")
        assert again.after is plan.after


async def test_a_refused_set_is_withheld_from_who_refused_it_and_from_nobody_else(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one, two = await there.principal("one"), await there.principal("two")
        plan = await there.plan(one, {})
        there.desk.refused(one, plan, Answer("bundle.self_test", "a self-test failed", "policy/packs.json"))
        withheld = await there.plan(one, {})
        assert (withheld.withheld, withheld.files, withheld.number) == ("bundle.self_test", (), plan.number)
        assert (await there.plan(two, {})) is plan
        assert (await there.word(one)).code == "bundle.self_test"
        elsewhere = Views(there.plane.store, there.plane.clock)  # another replica
        assert (await elsewhere.refresh("acme")).refused == {one.outpost_id: "bundle.self_test"}
        await there.publish("seen.")
        assert (await there.plan(one, {})).withheld == ""


async def test_a_plan_that_could_not_be_made_is_made_by_the_next_caller(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        there.store.read_failures.append(full_disk())
        results = await asyncio.gather(*(there.plan(principal, {}) for _ in range(3)), return_exceptions=True)
        assert [getattr(each, "code", "") for each in results] == ["store.database"] * 3
        assert (await there.plan(principal, {})).files


async def test_plans_for_whatever_is_claimed_to_be_held_are_bounded(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        for number in range(KEPT_PLANS + 10):
            await there.plan(principal, {"claimed": number.to_bytes(32, "big")})
        assert len(there.desk._shelves["acme"].plans) == KEPT_PLANS


async def test_answers_are_stored_with_their_reason(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        there.desk.offered(principal, plan)
        assert (await there.word(principal)).state is DeliveryState.OFFERED
        there.desk.acknowledged(principal, plan, Answer(release=7, downloaded=True, downloaded_ms=5, activated_ms=6))
        word = await there.word(principal)
        assert (word.state, word.release, word.downloaded_ms, word.activated_ms) == (DeliveryState.ACTIVE, 7, 5, 6)
        there.desk.refused(principal, plan, Answer("bundle.hash", "wrong", "snapshot.json", downloaded=True))
        word = await there.word(principal)
        assert (word.downloaded_ms, word.activated_ms) == (there.plane.clock.ms, 0)
        assert (word.state, word.code, word.message, word.resource) == (
            DeliveryState.REFUSED,
            "bundle.hash",
            "wrong",
            "snapshot.json",
        )


async def test_a_hello_of_the_start_that_is_known_costs_no_transaction(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        await there.desk.hello(principal, Hello("1" * 32, "1.0", "192.0.2.1"))
        await there.views.refresh("acme")
        before = there.store.writes
        await there.desk.hello(principal, Hello("1" * 32, "1.0", "192.0.2.1"))
        assert there.store.writes == before
        await there.desk.hello(principal, Hello("1" * 32, "1.1", "192.0.2.1"))
        await there.desk.hello(principal, Hello("2" * 32, "1.1", "192.0.2.1"))
        await there.views.refresh("acme")
        with pytest.raises(ControlPlaneError) as caught:
            await there.desk.hello(principal, Hello("1" * 32, "1.1", "192.0.2.1"))
        assert caught.value.code == "identity.superseded"
