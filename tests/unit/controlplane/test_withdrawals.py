"""Who lost an identity is in the list that every outpost gets, whatever broke in between."""

from pathlib import Path

import pytest

from controlplane.domain.errors import StateError
from controlplane.domain.outposts import OutpostState
from controlplane.services import withdrawals as module
from controlplane.services.locks import Locks
from controlplane.services.withdrawals import Withdrawals
from outpost.core.bundle.revocations import LOCKED, REVOKED
from tests.unit.controlplane.bed import Bed, bed


async def listed(plane: Bed) -> dict[str, str]:
    """Kinds by outpost, as the newest set lists them."""
    return {each.id: each.kind for each in (await plane.publisher.content("acme")).revocations.outposts}


async def head(plane: Bed) -> int:
    return (await plane.store.heads(["acme"]))["acme"]


class NoKeyError(StateError):
    code = "test.no_key"


async def no_key(transaction: object) -> object:
    raise NoKeyError("a key of the org is not at hand")


async def test_a_revocation_and_its_place_in_the_list_are_one_transaction(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        one = (await plane.enrolled("one")).outpost
        async with plane.store.for_org("acme").read() as transaction:
            before = await transaction.releases.newest()
        revoked = await Withdrawals(plane.store, plane.clock).revoke("acme", "one", "stolen")
        assert revoked.state is OutpostState.REVOKED
        assert await listed(plane) == {one.id: REVOKED}
        async with plane.store.for_org("acme").read() as transaction:
            after = await transaction.releases.newest()
        assert before is not None
        assert after is not None
        assert after.number == before.number + 1
        number = await head(plane)
        assert not await Withdrawals(plane.store, plane.clock).reconcile("acme")
        assert await head(plane) == number


async def test_a_store_that_fails_in_between_leaves_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bed(tmp_path) as plane:
        await plane.enrolled("one")

        async def dies(*given: object) -> None:
            raise RuntimeError("killed")

        monkeypatch.setattr(module, "keep_set", dies)
        with pytest.raises(RuntimeError):
            await Withdrawals(plane.store, plane.clock).revoke("acme", "one", "stolen")
        assert (await plane.administration.show("acme", "one")).outpost.state is OutpostState.ACTIVE


async def test_an_identity_ends_even_when_the_list_cannot_be_signed_and_maintenance_adds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bed(tmp_path) as plane:
        one = (await plane.enrolled("one")).outpost
        service = Withdrawals(plane.store, plane.clock)
        with monkeypatch.context() as broken:
            broken.setattr(module, "repository_of", no_key)
            assert (await service.revoke("acme", "one", "stolen")).state is OutpostState.REVOKED
            assert await listed(plane) == {}
            with pytest.raises(NoKeyError):
                await service.reconcile("acme")
        assert await service.reconcile("acme")
        assert await listed(plane) == {one.id: REVOKED}


async def test_maintenance_adds_who_was_ordered_to_wipe_and_whom_an_earlier_version_left_out(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        one, two, _ = [(await plane.enrolled(name)).outpost for name in ("one", "two", "three")]
        await Locks(plane.store, plane.clock).order("acme", "one")
        await plane.administration.revoke("acme", "two", "")
        service = Withdrawals(plane.store, plane.clock)
        assert await service.reconcile("acme")
        assert await listed(plane) == {one.id: LOCKED, two.id: REVOKED}
        await plane.administration.revoke("acme", "one", "")  # the stronger word counts
        assert await service.reconcile("acme")
        assert await listed(plane) == {one.id: REVOKED, two.id: REVOKED}
        assert not await service.reconcile("acme")
