"""Two processes on one place: what either stores, both have, whoever opens and closes the database meanwhile."""

import asyncio
import sys
from pathlib import Path

from controlplane.domain import outposts
from controlplane.store.postgres import PostgresEngine
from controlplane.store.sealing import Keyring
from controlplane.store.session import Engine
from controlplane.store.sqlite import SqliteEngine
from controlplane.store.store import DatabaseStore
from tests.contract.stores import ORG, Place, an_outpost
from tests.contract.test_store_changes import listening

SECONDS = 30.0


async def add(folder: str, address: str, number: int) -> None:
    """What the other process does: one more outpost, and everything closed again."""
    engine: Engine = PostgresEngine(address) if address else SqliteEngine(Path(folder))
    store = DatabaseStore(engine, Keyring(Path(folder) / "kek"))
    async with store.for_org(ORG).write() as transaction:
        await transaction.outposts.add(outposts.register(f"theirs-{number}", number.to_bytes(8, "big"), number))
    await store.orgs()
    await store.close()


async def beside(place: Place, number: int) -> None:
    """Run it, and wait for its end."""
    address = place.server.url(place.database) if place.server else ""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(place.folder), address, str(number)
    )
    assert await asyncio.wait_for(process.wait(), SECONDS) == 0


async def test_a_process_that_comes_and_goes_leaves_its_work_behind(place: Place) -> None:
    async with place.opened(ORG) as store, listening(store) as ear:
        for number in (1, 2, 3):
            async with store.for_org(ORG).write() as transaction:  # every link to the database is open
                await transaction.outposts.add(an_outpost(100 + number))
            async with store.for_org(ORG).read() as transaction:
                await transaction.outposts.all()
            before = (await store.heads([ORG]))[ORG]
            ear.heard.clear()
            await beside(place, number)
            assert (await store.heads([ORG]))[ORG] == before + 1
            async with store.for_org(ORG).read() as transaction:
                assert len(await transaction.outposts.all()) == 2 * number
            await ear.wait(ORG)
    async with place.opened() as again, again.for_org(ORG).read() as transaction:
        assert len(await transaction.outposts.all()) == 6


if __name__ == "__main__":
    asyncio.run(add(sys.argv[1], sys.argv[2], int(sys.argv[3])))
