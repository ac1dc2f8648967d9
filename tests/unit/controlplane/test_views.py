"""What is known of an org in memory: who is told of what, who shares a comparison, and when it denies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Act
from controlplane.domain.quotas import Quotas
from controlplane.domain.records import Delivery, DeliveryState
from controlplane.services.defaults import default_policy
from controlplane.services.views import MAX_AGE_SECONDS, OrgView, Views
from controlplane.services.words import Words
from tests.fakes.unsteady_store import UnsteadyStore, full_disk
from tests.unit.controlplane.bed import Bed, ask, bed, new_csr

PATIENCE = 10.0


@dataclass
class Site:
    plane: Bed
    store: UnsteadyStore
    views: Views
    told: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    failures: int = 0  # of the listener

    def note(self, view: OrgView, changed: frozenset[str]) -> None:
        if self.failures:
            self.failures -= 1
            raise full_disk()
        self.told.append((view.org, changed))


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    async with bed(folder) as plane:
        store = UnsteadyStore(plane.store)
        there = Site(plane, store, Views(store, plane.clock))  # type: ignore[arg-type]
        there.views.listen(there.note, lambda: ("acme",))
        yield there


async def test_only_outposts_that_changed_are_named_and_a_new_set_names_none(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one, two = await there.plane.enrolled("one"), await there.plane.enrolled("two")
        await there.views.refresh("acme")
        assert there.told == [("acme", frozenset({one.outpost.id, two.outpost.id}))]
        await there.plane.administration.revoke("acme", "one", "")
        view = await there.views.refresh("acme")
        assert there.told[1:] == [("acme", frozenset({one.outpost.id}))]
        before = view.number
        policy = default_policy("acme").replace(b"found.", b"seen.")
        await there.plane.publisher.publish_policy("acme", policy)
        assert (await there.views.refresh("acme")).number == before + 1
        assert there.told[2:] == [("acme", frozenset())]
        await there.views.refresh("acme")
        assert len(there.told) == 3


async def test_what_the_listener_did_not_take_it_is_told_again(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one = await there.plane.enrolled("one")
        there.failures = 1
        with pytest.raises(ControlPlaneError):
            await there.views.refresh("acme")
        two = await there.plane.enrolled("two")
        await there.views.refresh("acme")
        await there.views.refresh("acme")
        assert there.told == [("acme", frozenset({one.outpost.id, two.outpost.id}))]


async def test_what_another_replica_was_told_is_known_here_and_only_what_changed_is_read(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        one = await there.plane.enrolled("one")
        await there.plane.enrolled("two")
        view = await there.views.refresh("acme")
        newest = view.newest
        word = Delivery(one.outpost.id, view.number, "1.1", DeliveryState.REFUSED, 1, "bundle.hash")
        other = Words(there.plane.store, there.plane.clock)  # of another replica
        other.answer("acme", word, urgent=True)
        await other.close()
        assert (await there.views.refresh("acme")).refused == {one.outpost.id: "bundle.hash"}
        assert view.newest is newest  # it was not read again
        assert there.told[1:] == [("acme", frozenset())]
        async with there.plane.store.for_org("acme").write() as transaction:
            await transaction.quotas.put(Quotas(connects_per_second=7))
        assert there.views.connects_per_second("acme") == Quotas().connects_per_second
        await there.views.refresh("acme")
        assert there.views.connects_per_second("acme") == 7
        assert there.views.connects_per_second("globex") == Quotas().connects_per_second


async def test_callers_that_wait_share_one_comparison(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        there.plane.clock.ms += 1
        clock = there.plane.clock
        real = clock.monotonic
        clock.monotonic = lambda: (setattr(clock, "ms", clock.ms + 1), real())[1]  # type: ignore[method-assign]
        await asyncio.gather(*(there.views.refresh("acme") for _ in range(50)))
        assert there.store.counts <= 3  # the one that ran, and the next, which all others share


async def test_a_comparison_that_began_before_a_call_does_not_answer_it(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.views.refresh("acme")
        enrolled = await there.plane.enrolled("late")
        assert enrolled.outpost.id in (await there.views.refresh("acme")).outposts


async def test_a_view_that_cannot_be_compared_denies_and_is_good_again_when_it_can(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.views.refresh("acme")
        there.plane.clock.ms += int(MAX_AGE_SECONDS * 1000) + 1
        there.store.read_failures.append(full_disk())
        with pytest.raises(ControlPlaneError):
            await there.views.refresh("acme")
        with pytest.raises(ControlPlaneError) as caught:
            there.views.held("acme")
        assert (caught.value.code, caught.value.fatal) == ("identity.view_stale", False)
        await there.views.refresh("acme")
        there.views.held("acme")


async def test_an_unknown_org_is_not_remembered(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        with pytest.raises(ControlPlaneError) as caught:
            await there.views.refresh("nobody")
        assert caught.value.code == "org.unknown"
        assert there.views._asking == {}


async def test_the_watch_goes_on_after_a_failure_and_can_be_poked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.services.views.POLL_SECONDS", 3600.0)
    async with site(tmp_path) as there:
        there.store.read_failures.append(full_disk())
        watch = asyncio.create_task(there.views.watch())
        async with asyncio.timeout(PATIENCE):
            while there.store.read_failures:
                await asyncio.sleep(0)
            there.views.poke()
            while not there.told:
                await asyncio.sleep(0.001)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


class SlowStore(UnsteadyStore):
    """Reads of one org wait until they may."""

    def __init__(self, store: object, slow: str, may: asyncio.Event) -> None:
        super().__init__(store)
        self._slow, self._may = slow, may

    async def heads(self, orgs: Any) -> Any:
        return dict(sorted((await super().heads(orgs)).items(), key=lambda each: each[0] != self._slow))

    def for_org(self, org: str) -> Any:
        return _SlowSpace(super().for_org(org), self._may) if org == self._slow else super().for_org(org)


class _SlowSpace:
    def __init__(self, space: Any, may: asyncio.Event) -> None:
        self._space, self._may = space, may

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        await self._may.wait()
        async with self._space.read() as transaction:
            yield transaction


async def test_an_org_that_is_slow_to_read_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with bed(tmp_path, "acme", "globex") as plane:
        may, told = asyncio.Event(), list[str]()
        views = Views(SlowStore(plane.store, "acme", may), plane.clock)  # type: ignore[arg-type]
        views.listen(lambda view, changed: told.append(view.org), lambda: ("acme", "globex"))
        watch = asyncio.create_task(views.watch())
        async with asyncio.timeout(PATIENCE):
            while "globex" not in told:
                await asyncio.sleep(0.001)
            assert "acme" not in told
            may.set()
            while "acme" not in told:
                await asyncio.sleep(0.001)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_refusal_is_never_given_by_an_old_view(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        first = await plane.enrolled("first")
        await plane.principal(first)  # the view is read
        late = await plane.enrolled("late")  # by another replica: this view does not know it yet
        await plane.principal(late)
        principal = await plane.principal(first)
        renewed = await plane.renewal.renew(principal, ask(new_csr()))
        plane.views.held("acme")
        fresh = await plane.gatekeeper.identify(renewed.chain.leaf_and_issuers, Act.SYNC)
        assert fresh.serial != principal.serial


@pytest.mark.parametrize("heard", ["acme", ""])
async def test_a_revocation_counts_at_once_where_no_stream_keeps_the_view_fresh(heard: str, tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        principal = await plane.principal(await plane.enrolled())
        await plane.gatekeeper.admit(principal, Act.RENEW)
        await plane.administration.revoke("acme", "prod", "")
        plane.clock.ms += 1
        plane.views.poke(heard)
        with pytest.raises(ControlPlaneError) as caught:
            await plane.gatekeeper.admit(principal, Act.RENEW)
        assert caught.value.code == "outpost.revoked"


async def test_a_change_that_was_heard_of_is_asked_about_once(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        there.views.listen(there.note, tuple)
        await there.views.refresh("acme")
        there.plane.clock.ms += 1
        there.views.poke("acme")
        assert there.views.is_behind("acme")
        there.plane.clock.ms += 1
        await there.views.refresh("acme")
        assert not there.views.is_behind("acme")
        there.views.poke("globex")  # whom nobody asked for
        assert not there.views.is_behind("globex")


async def test_a_chain_is_verified_once_and_judged_each_time(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        enrolled = await plane.enrolled()
        chain = enrolled.chain.leaf_and_issuers
        assert plane.gatekeeper.known(b"digest") is None
        principal = plane.gatekeeper.prove(chain, b"digest")
        assert plane.gatekeeper.known(b"digest") is principal
        await plane.gatekeeper.admit(principal, Act.SYNC)
        await plane.administration.revoke("acme", "prod", "")
        await plane.views.refresh("acme")
        with pytest.raises(ControlPlaneError) as caught:
            await plane.gatekeeper.admit(principal, Act.SYNC)
        assert caught.value.code == "outpost.revoked"
        plane.clock.ms = principal.not_after_ms
        with pytest.raises(ControlPlaneError) as caught:
            await plane.gatekeeper.admit(principal, Act.DRAIN)
        assert caught.value.code == "identity.refused"


async def test_what_proves_nothing_is_not_remembered_and_what_is_remembered_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.services.identity.KEPT_PROOFS", 3)
    async with bed(tmp_path) as plane:
        chain = (await plane.enrolled()).chain.leaf_and_issuers
        with pytest.raises(ControlPlaneError):
            plane.gatekeeper.prove((), b"bad")
        assert plane.gatekeeper.known(b"bad") is None
        for number in range(10):
            plane.gatekeeper.prove(chain, bytes([number]))
        assert [number for number in range(10) if plane.gatekeeper.known(bytes([number]))] == [7, 8, 9]
