"""What a restored control plane remembers, and what is void after a restore, on every engine."""

from dataclasses import replace

from controlplane.domain.restorations import Restoration, RestoredOrg
from tests.contract.stores import ORG, Place, a_token, an_outpost


async def test_what_is_remembered_of_restores(place: Place) -> None:
    async with place.opened(ORG) as store:
        assert await store.restorations.all() == ()
        older, newer = Restoration("b", 1, 10, "1.0"), Restoration("a", 2, 20, "2.0")
        for each in (older, newer):
            await store.restorations.add(each)
        assert await store.restorations.all() == (newer, older)
        async with store.for_org(ORG).write() as transaction:
            assert await transaction.restored.get() is None
            for remembered in (RestoredOrg(1, 2), RestoredOrg(3, 4, "d" * 64, 5, 6, "code")):
                await transaction.restored.put(remembered)
                assert await transaction.restored.get() == remembered


async def test_every_token_can_be_void_at_once(place: Place) -> None:
    outpost = an_outpost()
    spent, open_, offline = (a_token(outpost.id, digit * 64) for digit in "123")
    offline = replace(offline, offline=True, anew=True)
    async with place.opened(ORG) as store, store.for_org(ORG).write() as transaction:
        table = transaction.tokens
        await transaction.outposts.add(outpost)
        for each in (spent, open_, offline):
            await table.add(each)
        assert await table.match(offline.digest) == offline
        assert await table.spend(spent, "c" * 64, "1", 1_500)
        assert (await table.void_all(), await table.void_all()) == (2, 0)
        assert await table.match(open_.digest) == replace(open_, expires_ms=open_.created_ms)
