"""Offers: made once for all that hold the same, withheld from who refused, and answers on their way to the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controlplane.domain.boots import Hello
from controlplane.domain.errors import ControlPlaneError, ThrottledError
from controlplane.domain.offers import DeltaPair
from controlplane.domain.outposts import IdentitySupersededError
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.domain.throttle import Rate
from controlplane.services.defaults import default_policy
from controlplane.services.delivery import KEPT_PLANS, Answer, DeliveryDesk, OfferPlan
from controlplane.services.deltas import Deltas
from controlplane.services.identity import Principal
from controlplane.services.views import Views
from controlplane.services.words import Words
from outpost.core.bundle.access import ClientKey
from outpost.core.bundle.delta import apply_delta, set_identity
from tests.fakes.unsteady_store import UnsteadyStore, full_disk
from tests.unit.controlplane.bed import Bed, bed

KEY = ClientKey("", "", "", "", (), "", "api", "internal", (), 0, 86_400, revoked=False)


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

    async def plan(self, principal: Principal, held: dict[str, bytes], *, partial: bool = True) -> OfferPlan:
        told = set_identity(held) if partial and held else b""
        found = await self.desk.plan(principal, self.desk.holding(held, told, partial=partial))
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
        assert other.number == plans[0].number
        await there.publish("seen.")
        assert (await there.plan(fleet[0], {})).number == other.number + 1


async def test_holdings_are_one_object_for_all_that_hold_the_same_and_none_when_nobody_does(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one = there.desk.holding({"a": b"1", "b": b"2"})
        assert there.desk.holding({"b": b"2", "a": b"1"}) is one
        assert there.desk.holding({"a": b"1"}) is not one
        assert there.desk.holding({"a": b"1\x00b", "": b""}).identity != one.identity
        assert len(there.desk._holdings) == 1  # the others are gone already
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        files = {file.name: file.sha256 for file in plan.packing.files}
        assert there.desk.holding(files, set_identity(files)) is plan.after
        assert there.desk.holding(files) is not plan.after  # of an outpost that knows of no changes


async def test_who_holds_the_newest_set_is_offered_no_files(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        again = await there.plan(principal, dict(plan.after.files))
        assert (again.number, again.packing.is_empty, again.inline, again.withheld) == (plan.number, True, {}, "")
        assert again.after is plan.after


async def test_only_what_changed_is_listed_unless_the_outpost_is_of_the_version_before(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        held = dict((await there.plan(principal, {})).after.files)
        await there.publish("seen.")
        partial = await there.plan(principal, held)
        assert partial.packing.base_sha256 == set_identity(held)
        assert 0 < len(partial.packing.files) < len(held)
        assert {file.name for file in partial.packing.files} == partial.packing.inline | set(partial.packing.deltas)
        whole = await there.plan(principal, held, partial=False)
        assert (whole.packing.base_sha256, whole.packing.removed, whole.packing.deltas) == (b"", (), {})
        assert {file.name for file in whole.packing.files} == set(whole.after.files)
        assert set(whole.inline) == {file.name for file in partial.packing.files}  # what is held is not sent
        assert dict(whole.after.files) == dict(partial.after.files)
        liar = there.desk.holding(held, bytes(32), partial=True)  # it holds something else than it says
        assert not liar.partial


async def test_what_no_set_had_is_neither_kept_nor_costs_the_reading_of_a_file(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        store = UnsteadyStore(there.plane.store)
        found = Deltas(store)  # type: ignore[arg-type]
        new = next(iter((await there.views.refresh("acme")).newest.files)).sha256  # type: ignore[union-attr]
        for number in range(3):
            assert await found.of("acme", DeltaPair("policy/x.json", number.to_bytes(32, "big"), new)) is None
        assert store.reads == 3  # one look for each old file
        assert found._made == {}


async def test_deltas_of_one_org_push_out_none_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.services.deltas.KEPT_DELTAS", 8)
    async with site(tmp_path) as there:
        found = Deltas(there.plane.store)
        found._keep("quiet", (bytes(32), bytes(32)), b"frame")
        for number in range(100):
            found._keep("busy", (number.to_bytes(32, "big"), bytes(32)), b"frame")
        assert {org: len(made) for org, made in found._made.items()} == {"quiet": 1, "busy": 7}


async def test_a_delta_is_made_once_of_files_that_the_org_has_and_of_no_others(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        for number in range(8):
            await there.plane.publisher.create_key("acme", replace(KEY, name=f"key-{number}"))
        await there.views.refresh("acme")
        held = dict((await there.plan(principal, {})).after.files)
        await there.plane.publisher.create_key("acme", replace(KEY, name="one-more"))
        await there.views.refresh("acme")
        plan = await there.plan(principal, held)
        (name, (frame, old_sha256)), *_ = plan.packing.deltas.items()
        assert old_sha256 in held.values()
        old = b"".join([part async for part in there.desk.fetch(principal, old_sha256, 0)])
        file = next(each for each in plan.packing.files if each.name == name)
        new = b"".join([part async for part in there.desk.fetch(principal, file.sha256, 0)])
        assert apply_delta(old, frame, file.size, file.sha256) == new
        made = dict(there.desk._deltas._made)
        await there.plan(principal, {**held, "access/extra.json": bytes(32)})  # another set, the same files
        assert there.desk._deltas._made == made
        strange = {key: (bytes(32) if digest == old_sha256 else digest) for key, digest in held.items()}
        assert name not in (await there.plan(principal, strange)).packing.deltas


async def test_a_refused_set_is_withheld_from_who_refused_it_and_from_nobody_else(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one, two = await there.principal("one"), await there.principal("two")
        plan = await there.plan(one, {})
        there.desk.refused(one, plan, Answer("bundle.self_test", "a self-test failed", "policy/packs.json", final=True))
        withheld = await there.plan(one, {})
        assert (withheld.withheld, withheld.packing.is_empty) == ("bundle.self_test", True)
        assert withheld.number == plan.number
        assert (await there.plan(two, {})) is plan
        assert (await there.word(one)).code == "bundle.self_test"
        elsewhere = Views(there.plane.store, there.plane.clock)  # another replica
        assert (await elsewhere.refresh("acme")).refused == {one.outpost_id: "bundle.self_test"}
        await there.publish("seen.")
        assert (await there.plan(one, {})).withheld == ""


async def test_what_passes_by_itself_withholds_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        there.desk.refused(principal, plan, Answer("cache.write_failed", "no space left", "slot-a"))
        word = await there.word(principal)
        assert (word.state, word.code) == (DeliveryState.FAILED, "cache.write_failed")
        assert (await there.plan(principal, {})) is plan


async def test_a_new_start_is_offered_what_the_one_before_refused(tmp_path: Path) -> None:
    """It may run another version, or on a disk that was mended."""
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        await there.desk.hello(principal, Hello("1" * 32, "1.0", "192.0.2.1"))
        await there.views.refresh("acme")
        plan = await there.plan(principal, {})
        there.desk.refused(principal, plan, Answer("bundle.self_test", final=True))
        await there.word(principal)
        await there.desk.hello(principal, Hello("1" * 32, "1.0", "192.0.2.1"))
        assert (await there.plan(principal, {})).withheld == "bundle.self_test"
        await there.desk.hello(principal, Hello("2" * 32, "1.1", "192.0.2.1"))
        assert (await there.plan(principal, {})) is plan
        await there.views.refresh("acme")
        assert (await there.plan(principal, {})) is plan
        elsewhere = Views(there.plane.store, there.plane.clock)
        assert (await elsewhere.refresh("acme")).refused == {}
        assert (await there.word(principal)).code == "bundle.self_test"  # still to be looked at


async def test_a_plan_that_could_not_be_made_is_made_by_the_next_caller(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        there.store.read_failures.append(full_disk())
        results = await asyncio.gather(*(there.plan(principal, {}) for _ in range(3)), return_exceptions=True)
        assert [getattr(each, "code", "") for each in results] == ["store.database"] * 3
        assert (await there.plan(principal, {})).packing.files


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
        there.desk.refused(
            principal, plan, Answer("bundle.hash", "wrong", "snapshot.json", final=True, downloaded=True)
        )
        word = await there.word(principal)
        assert (word.downloaded_ms, word.activated_ms) == (there.plane.clock.ms, 0)
        assert (word.state, word.code, word.message, word.resource) == (
            DeliveryState.REFUSED,
            "bundle.hash",
            "wrong",
            "snapshot.json",
        )


async def test_an_org_that_fetches_too_much_is_told_when_to_come_back_and_another_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.services.delivery.FETCHED_BYTES", Rate(1.0, 10_000))  # 1,000 bytes a second
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        plan = await there.plan(principal, {})
        largest = max(plan.packing.files, key=lambda file: file.size)
        first = b"".join([part async for part in there.desk.fetch(principal, largest.sha256, 0)])
        assert len(first) == largest.size

        async def again_and_again() -> None:
            while True:
                async for _ in there.desk.fetch(principal, largest.sha256, 0):
                    pass

        with pytest.raises(ThrottledError) as caught:
            await asyncio.wait_for(again_and_again(), 10)
        assert caught.value.retry_after_ms > 0
        with pytest.raises(ThrottledError) as later:
            await again_and_again()
        assert later.value.retry_after_ms >= caught.value.retry_after_ms + largest.size  # a moment of its own
        there.plane.clock.ms += caught.value.retry_after_ms
        assert [part async for part in there.desk.fetch(principal, largest.sha256, largest.size - 1)]
        there.desk._require_pace("globex", 10)


async def test_an_earlier_start_does_not_pass_for_the_newest_before_the_feed_tells_of_that(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        first, second = (Hello(f"{number:08x}" + "0" * 24, "1.0", "192.0.2.1") for number in (1, 2))
        await there.desk.hello(principal, first)
        await there.views.refresh("acme")
        await there.desk.hello(principal, second)
        with pytest.raises(IdentitySupersededError):
            await there.desk.hello(principal, first)


async def test_a_refusal_that_was_lost_on_the_way_is_told_again_by_its_start(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        principal = await there.principal("prod")
        newest = await there.plan(principal, {})
        first = Hello("1" * 32, "1.0", "192.0.2.1", newest.revision)
        await there.desk.hello(principal, first)
        await there.views.refresh("acme")
        assert (await there.plan(principal, {})).withheld == ""  # a start that is new here may be on a mended disk
        await there.desk.hello(principal, replace(first, refused="0.9"))
        assert (await there.plan(principal, {})).withheld == ""
        await there.desk.hello(principal, first)
        assert (await there.plan(principal, {})).withheld == "refused"
        word = await there.word(principal)
        assert (word.state, word.number, word.revision) == (DeliveryState.REFUSED, newest.number, newest.revision)
        await there.publish("seen.")
        assert (await there.plan(principal, {})).withheld == ""


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
