"""PostgreSQL when it goes away, comes back, is busy, or holds other transactions."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.replicas import Replica
from controlplane.store import postgres as engine_module
from controlplane.store import postgres_listening
from controlplane.store.errors import CommitUnknownError, DatabaseError
from controlplane.store.postgres import PostgresEngine, lock_on
from controlplane.store.sealing import Keyring
from controlplane.store.store import DatabaseStore
from tests.contract.stores import ORG, OTHER, Place, an_outpost
from tests.contract.test_store_changes import Ear, listening, note
from tests.fakes.cut_line import line_to
from tests.fakes.postgres_server import APP, SUPERUSER, Server

RELEASE = Change(ChangeKind.RELEASE)
BACKENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cp_app'"


@asynccontextmanager
async def store_on(address: str, folder: Path, pool: int = 4) -> AsyncIterator[DatabaseStore]:
    """A store with the two orgs."""
    keyring = Keyring(folder / "kek")
    if not keyring.path.exists():
        keyring.create()
    store = DatabaseStore(PostgresEngine(address, pool), keyring)
    try:
        for org in (ORG, OTHER):
            if org not in await store.heads([org]):
                await store.add_org(org, 1)
        yield store
    finally:
        await store.close()


async def ids(store: DatabaseStore) -> list[str]:
    """Names of the org's outposts."""
    async with store.for_org(ORG).read() as transaction:
        return [each.name for each in await transaction.outposts.all()]


async def add(store: DatabaseStore, number: int) -> None:
    """One more outpost."""
    async with store.for_org(ORG).write() as transaction:
        await transaction.outposts.add(an_outpost(number))


async def test_a_server_that_restarts_is_found_again(mortal: Server, tmp_path: Path) -> None:
    async with store_on(mortal.url(await mortal.fresh()), tmp_path) as store:
        await asyncio.gather(*(add(store, number) for number in range(1, 9)))
        mortal.restart()
        assert len(await ids(store)) == 8
        await add(store, 9)
        mortal.stop()
        for work in (ids(store), add(store, 10), store.heads([ORG]), store.orgs()):
            with pytest.raises(DatabaseError) as caught:
                await work
            assert not caught.value.fatal
        mortal.start()
        await add(store, 10)
        assert len(await ids(store)) == 10


async def test_a_connection_that_is_lost_inside_a_transaction_leaves_nothing(mortal: Server, tmp_path: Path) -> None:
    async with store_on(mortal.url(await mortal.fresh()), tmp_path) as store:

        async def cut_off() -> None:
            async with store.for_org(ORG).write() as transaction:
                await transaction.outposts.add(an_outpost())
                await mortal.run(BACKENDS)
                await transaction.outposts.all()

        with pytest.raises(DatabaseError) as caught:
            await cut_off()
        assert caught.value.code == "store.database"
        assert await ids(store) == []


async def test_a_dead_connection_of_the_pool_is_replaced_before_anything_is_lost(
    mortal: Server, tmp_path: Path
) -> None:
    async with store_on(mortal.url(await mortal.fresh()), tmp_path) as store:
        for number in range(1, 6):
            await asyncio.gather(*(ids(store) for _ in range(4)))  # every connection is open
            await mortal.run(BACKENDS)
            await add(store, number)
        assert len(await ids(store)) == 5


@pytest.mark.parametrize("stored", [True, False], ids=["after it arrived", "before it arrived"])
async def test_a_line_that_is_cut_while_committing_is_told_as_such(
    postgres: Server, tmp_path: Path, stored: bool
) -> None:
    database = await postgres.fresh()
    async with line_to(postgres.port) as line:
        address = postgres.url(database).replace(str(postgres.port), str(line.port))
        async with store_on(address, tmp_path) as store:
            line.cut_at, line.pass_on = b"COMMIT\x00", stored  # the whole statement, as the protocol ends it
            with pytest.raises(CommitUnknownError):
                await add(store, 1)
            await until_ended(postgres, database)
            assert await ids(store) == (["n1"] if stored else [])


async def until_ended(server: Server, database: str) -> None:
    """Until the server ended what was cut off."""
    connection = await asyncpg.connect(server.url(database, SUPERUSER))
    question = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = $2 AND state <> 'idle'"
    async with asyncio.timeout(10):
        while await connection.fetchval(question, APP, database):
            await asyncio.sleep(0.01)
    await connection.close()


async def test_a_listener_that_is_cut_off_comes_back_and_says_that_it_missed_something(
    mortal: Server, tmp_path: Path
) -> None:
    async with store_on(mortal.url(await mortal.fresh()), tmp_path) as store, listening(store) as ear:
        for _ in range(2):
            ear.heard.clear()
            await mortal.run(BACKENDS)
            await ear.wait("")
            await note(store, RELEASE)
            await ear.wait(ORG)
        ear.heard.clear()
        mortal.restart()
        await ear.wait("")
        await note(store, RELEASE)
        await ear.wait(ORG)


async def test_a_listener_on_a_line_that_went_silent_comes_back(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_listening, "PING_SECONDS", 0.2)
    monkeypatch.setattr(postgres_listening, "ANSWER_SECONDS", 0.3)
    database = await postgres.fresh()
    async with line_to(postgres.port) as line, store_on(postgres.url(database), tmp_path) as store:
        far = PostgresEngine(postgres.url(database).replace(str(postgres.port), str(line.port)))
        ear = Ear()
        task = asyncio.create_task(far.listen(ear))
        await ear.wait("")
        line.silent = True
        await note(store, RELEASE)
        ear.heard.clear()
        before = line.connections
        async with asyncio.timeout(20):
            while line.connections == before:
                await asyncio.sleep(0.01)
        line.silent = False
        await ear.wait("")
        await note(store, RELEASE)
        await ear.wait(ORG)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_listener_ends_when_it_is_told_to_even_as_its_line_is_cut(postgres: Server, tmp_path: Path) -> None:
    database = await postgres.fresh()
    async with line_to(postgres.port) as line:
        far = PostgresEngine(postgres.url(database).replace(str(postgres.port), str(line.port)))
        for steps in range(12):  # between the cut and the word to end
            ear = Ear()
            task = asyncio.create_task(far.listen(ear))
            await ear.wait("")
            line.cut()
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait({task})


async def test_long_transactions_of_others_hold_nothing_back(postgres: Server, tmp_path: Path) -> None:
    """A cursor that stops at the oldest transaction in flight would stand still here."""
    database = await postgres.fresh()
    long = [await asyncpg.connect(postgres.url(database, SUPERUSER)) for _ in range(2)]
    await long[0].execute("BEGIN; CREATE TABLE bystander (x int); INSERT INTO bystander VALUES (1)")
    await long[1].execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), count(*) FROM heads")
    async with store_on(postgres.url(database), tmp_path) as store, listening(store) as ear:
        started = time.monotonic()
        for number in range(1, 11):
            ear.heard.clear()
            await note(store, RELEASE)
            await ear.wait(ORG)
            async with store.for_org(ORG).read() as transaction:
                assert (await transaction.changes.since(number - 1)).newest == number
        assert time.monotonic() - started < 10
    for each in long:
        await each.close()


async def test_writers_of_two_scopes_do_not_wait_for_each_other(postgres_place: Place) -> None:
    async with postgres_place.opened(ORG, OTHER) as ours, postgres_place.opened() as theirs:
        inside, go = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with ours.for_org(ORG).write():
                inside.set()
                await go.wait()

        holder = asyncio.create_task(hold())
        await inside.wait()
        async with asyncio.timeout(10):
            for store in (ours, theirs):
                for space, scope in ((store.for_org(ORG), "log/op-1"), (store.for_org(OTHER), "")):
                    async with space.write(scope) as transaction:
                        await transaction.quotas.get()
        go.set()
        await holder


async def test_writers_that_queue_for_one_org_leave_connections_for_the_others(
    postgres: Server, tmp_path: Path
) -> None:
    database = await postgres.fresh()
    async with (
        store_on(postgres.url(database), tmp_path, pool=2) as ours,
        store_on(postgres.url(database), tmp_path) as theirs,
    ):
        inside, go = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with theirs.for_org(ORG).write():
                inside.set()
                await go.wait()

        holder = asyncio.create_task(hold())
        await inside.wait()
        queue = [asyncio.create_task(add(ours, number)) for number in range(1, 21)]
        async with asyncio.timeout(10):
            for _ in range(5):
                async with ours.for_org(OTHER).write() as transaction:
                    await transaction.outposts.all()
        assert not any(task.done() for task in queue)
        go.set()
        await asyncio.gather(holder, *queue)
        assert len(await ids(ours)) == 20


async def test_a_writer_that_waits_too_long_is_told_to_come_again(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine_module.SETTINGS, "lock_timeout", "200ms")
    database = await postgres.fresh()
    other = await asyncpg.connect(postgres.url(database))
    async with store_on(postgres.url(database), tmp_path) as store:
        await other.execute(f"BEGIN; {lock_on(ORG, '')}")
        with pytest.raises(DatabaseError) as caught:
            await add(store, 1)
        assert (caught.value.fatal, caught.value.code) == (False, "store.database")
        await other.execute("ROLLBACK")
        await add(store, 1)
    await other.close()


async def test_a_pool_that_is_used_up_says_so(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "ACQUIRE_SECONDS", 0.2)
    async with store_on(postgres.url(await postgres.fresh()), tmp_path, pool=2) as store:
        go = asyncio.Event()

        async def hold(org: str, inside: asyncio.Event) -> None:
            async with store.for_org(org).write():
                inside.set()
                await go.wait()

        entered = [asyncio.Event(), asyncio.Event()]
        holders = [asyncio.create_task(hold(org, event)) for org, event in zip((ORG, OTHER), entered, strict=True)]
        for event in entered:
            await event.wait()
        with pytest.raises(DatabaseError) as caught:
            await store.orgs()
        assert "database_pool" in caught.value.next_step
        go.set()
        await asyncio.gather(*holders)


async def test_a_statement_that_takes_too_long_is_ended(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine_module.SETTINGS, "statement_timeout", "200ms")
    engine = PostgresEngine(postgres.url(await postgres.fresh()))

    async def slow() -> None:
        async with engine.registry(write=False) as session:
            await session.execute("SELECT pg_sleep(30)")

    with pytest.raises(DatabaseError) as caught:
        await slow()
    assert not caught.value.fatal
    await engine.close()


async def test_a_replica_that_hangs_inside_a_transaction_lets_the_others_go_on(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await postgres.fresh()
    with monkeypatch.context() as patched:
        patched.setitem(engine_module.SETTINGS, "idle_in_transaction_session_timeout", "300ms")
        hanging = PostgresEngine(postgres.url(database))
        inside, go = asyncio.Event(), asyncio.Event()

        async def hang() -> None:
            async with hanging.org(ORG, write=True):
                inside.set()
                await go.wait()

        async with store_on(postgres.url(database), tmp_path) as store:
            holder = asyncio.create_task(hang())
            await inside.wait()
            await add(store, 1)  # waits until the server ends the other one
            go.set()
            (outcome,) = await asyncio.gather(holder, return_exceptions=True)
            assert isinstance(outcome, DatabaseError)
    await hanging.close()


async def test_bounds_of_time_hold_on_every_connection(postgres_place: Place) -> None:
    engine = await postgres_place.engine()
    async with engine.registry(write=False) as session:
        shown = {
            name: (await session.fetch(f"SHOW {name}"))[0][0]
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path")
        }
    assert shown == {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "30s",
        "search_path": "public",
    }
    await engine.close()


async def test_no_transaction_leaves_its_org_behind(postgres_place: Place) -> None:
    """The next user of a connection starts without an org."""
    async with postgres_place.opened(ORG) as store:
        await add(store, 1)
        await store.replicas.register(Replica("a", "a:1", 1))
        engine = PostgresEngine(postgres_place.server.url(postgres_place.database), 1)  # type: ignore[union-attr]
        for write in (True, False):
            async with engine.org(ORG, write=write) as session:
                assert await session.fetch("SELECT id FROM outposts WHERE org = $1")
            async with engine.registry(write=write) as session:
                assert await session.fetch("SELECT id FROM outposts") == []
                assert (await session.fetch("SELECT coalesce(current_setting('app.org', true), '')"))[0][0] == ""
        await engine.close()
