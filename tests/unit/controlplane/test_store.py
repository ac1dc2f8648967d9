"""The store: one file per org, transactions whole or not at all, and counters that tell other processes."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from controlplane.domain import outposts
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Outpost
from controlplane.store.engine import Database, DatabaseError, SchemaError
from controlplane.store.store import SqliteStore
from tests.unit.controlplane.bed import bed


def an_outpost(name: str = "prod", number: int = 1) -> Outpost:
    return outposts.register(name, number.to_bytes(8, "big"), 1)


async def test_an_org_sees_nothing_of_another(tmp_path: Path) -> None:
    async with bed(tmp_path, "acme", "globex") as plane:
        await plane.enrolled()
        principal = await plane.principal(await plane.enrolled("second"))
        async with plane.store.for_org("globex").read() as transaction:
            assert await transaction.outposts.all() == ()
            assert await transaction.audit.head(principal.outpost_id) is None
            with pytest.raises(ControlPlaneError):
                await transaction.outposts.get(principal.outpost_id)
        async with plane.store.for_org("acme").read() as transaction:
            newest = await transaction.releases.newest()
            assert newest is not None
        async with plane.store.for_org("globex").read() as transaction:
            hashes = [file.sha256 for file in newest.files if file.name.startswith(("policy/", "access/"))]
            assert [await transaction.releases.size_of(each) for each in hashes] == [None] * len(hashes)


@pytest.mark.parametrize("org", ["unknown", "../registry", "Acme", "", "a" * 40])
async def test_no_space_for_what_is_no_org(org: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(ControlPlaneError):
        store.for_org(org)
    await store.close()


async def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    space = await store.add_org("acme", 1)

    async def fail() -> None:
        async with space.write() as transaction:
            await transaction.outposts.add(an_outpost())
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with space.read() as transaction:
        assert await transaction.outposts.all() == ()
    assert await space.change_count() == 0
    await store.close()


async def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    space = await store.add_org("acme", 1)
    inside = asyncio.Event()

    async def hang() -> None:
        async with space.write() as transaction:
            await transaction.outposts.add(an_outpost())
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with space.write() as transaction:
        assert await transaction.outposts.all() == ()
        await transaction.outposts.add(an_outpost())
    await store.close()


async def test_another_process_sees_that_something_changed(tmp_path: Path) -> None:
    ours, theirs = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await ours.add_org("acme", 1)
    before = await ours.for_org("acme").change_count()
    async with theirs.for_org("acme").write() as transaction:
        await transaction.outposts.add(an_outpost())
    assert await ours.for_org("acme").change_count() == before + 1
    await ours.close()
    await theirs.close()


async def test_two_writers_of_two_connections_take_turns(tmp_path: Path) -> None:
    ours, theirs = SqliteStore(tmp_path), SqliteStore(tmp_path)
    await ours.add_org("acme", 1)

    async def add(store: SqliteStore, number: int) -> None:
        async with store.for_org("acme").write() as transaction:
            await transaction.outposts.add(an_outpost(f"n{number}", number))

    await asyncio.gather(*(add(ours if number % 2 else theirs, number) for number in range(1, 21)))
    async with ours.for_org("acme").read() as transaction:
        assert len(await transaction.outposts.all()) == 20
    await ours.close()
    await theirs.close()


async def test_names_of_outposts_are_unique(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    space = await store.add_org("acme", 1)
    async with space.write() as transaction:
        await transaction.outposts.add(an_outpost())
        with pytest.raises(outposts.OutpostExistsError):
            await transaction.outposts.add(an_outpost(number=2))
    await store.close()


async def test_a_ready_org_is_not_created_twice_and_an_interrupted_one_is_taken_up(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.add_org("acme", 1)
    await store.add_org("acme", 2)
    await store.make_ready("acme")
    with pytest.raises(ControlPlaneError) as caught:
        await store.add_org("acme", 3)
    assert caught.value.code == "org.exists"
    assert [(each.id, each.created_ms, each.ready) for each in await store.orgs()] == [("acme", 1, True)]
    await store.close()


async def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await plane.enrolled()
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    wide = {path for path, mode in modes.items() if mode & 0o077}
    assert wide == set()


async def test_the_first_bytes_of_a_large_file_are_read_without_the_rest(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane, plane.store.for_org("acme").read() as transaction:
        newest = await transaction.releases.newest()
        assert newest is not None
        contents = await transaction.releases.contents(newest)
        file = next(each for each in newest.files if each.name == "targets.json")
        whole = contents["targets.json"]
        assert await transaction.releases.part(file.sha256, 0, 10) == whole[:10]
        assert await transaction.releases.part(file.sha256, 100, 10**6) == whole[100:]
        assert await transaction.releases.part(file.sha256, len(whole), 10) == b""
        assert await transaction.releases.part(b"?" * 32, 0, 10) == b""


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as link:
        link.execute("PRAGMA user_version=7")
    link.close()
    database = Database(path, ("CREATE TABLE a (b)",))
    with pytest.raises(SchemaError):
        async with database.transaction(write=False):
            pass
    await database.close()


async def test_a_damaged_database_is_a_typed_error_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"secret-content" * 100)
    database = Database(path, ("CREATE TABLE a (b)",))
    with pytest.raises(DatabaseError) as caught:
        async with database.transaction(write=False):
            pass
    assert "secret" not in str(caught.value)
    await database.close()
