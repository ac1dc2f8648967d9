"""A backup is taken from either engine and restored into either: every row of every table is the same afterwards."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.domain.backup_errors import BackupError
from controlplane.domain.backup_frames import MIN_SCRYPT_N, Lock, open_chunks, unlock
from controlplane.domain.backup_items import Section
from controlplane.domain.backups import BackupHead, BackupReader
from controlplane.services.backup import BackupTaker
from controlplane.services.restoring import load
from controlplane.store.dumping import LEFT_OUT, StoreDumps, StoreLanding, is_empty, require_restorable
from controlplane.store.migrations.listing import HEAD
from controlplane.store.postgres import PostgresEngine
from controlplane.store.postgres_landing import landing
from controlplane.store.session import Engine
from controlplane.store.sqlite import ORGS_FOLDER, REGISTRY_FILE, SqliteEngine
from tests.fakes.postgres_server import Server
from tests.unit.controlplane.bed import HandClock

PASSPHRASE = b"correct horse battery staple"
ORGS = ("acme", "globex")
ROWS = 300  # more than a page
TEXT = "“€” \t\n\x7f \U0001f512"
MOST = 2**63 - 1
Rows = dict[tuple[str, str], list[tuple[object, ...]]]


def tables(link: sqlite3.Connection) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every table of a file with its columns and their types, as the database tells."""
    for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        yield name, [(row[1], row[2]) for row in link.execute(f"PRAGMA table_info({name})")]


def filled(columns: list[tuple[str, str]], org: str, number: int) -> tuple[object, ...]:
    """A row; the same number has the same values in every table, so that rows find what they refer to."""
    values = {"TEXT": f"{number:04} {TEXT}", "INTEGER": MOST - number, "BLOB": bytes([number % 256, 0, 255]) * 9}
    return tuple(org if name == "org" else values[kind] for name, kind in columns)


async def a_full_store(folder: Path) -> SqliteEngine:
    """SQLite files with rows in every table."""
    folder.mkdir(mode=0o700)
    engine = SqliteEngine(folder)
    for org in ORGS:
        async with engine.registry(write=True, org=org) as session:
            await session.execute("INSERT INTO orgs (org, created_ms, ready) VALUES ($1, 5, 1)")
        await engine.make_space(org)
    for path, org in [(folder / REGISTRY_FILE, ""), *((folder / ORGS_FOLDER / f"{org}.db", org) for org in ORGS)]:
        with closing(sqlite3.connect(path)) as link, link:
            for table, columns in tables(link):
                if table == "orgs":
                    continue
                marks = ", ".join("?" * len(columns))
                rows = [filled(columns, org, number) for number in range(ROWS)]
                link.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
    return engine


def everything(folder: Path) -> Rows:
    """All rows of the files of a folder."""
    found: Rows = {}
    for path in (folder / REGISTRY_FILE, *sorted((folder / ORGS_FOLDER).glob("*.db"))):
        with closing(sqlite3.connect(path)) as link:
            for table, _ in tables(link):
                if table not in LEFT_OUT:
                    found[path.stem, table] = sorted(link.execute(f"SELECT * FROM {table}"), key=repr)
    return found


def head() -> BackupHead:
    return BackupHead("1.2.3", HEAD, 5, "outpost.internal", {}, bytes(32))


async def taken(engine: Engine) -> bytes:
    """A backup."""
    file = io.BytesIO()
    taker = BackupTaker(StoreDumps(engine), HandClock())
    await taker.take(head(), (PASSPHRASE, Lock(bytes(32), MIN_SCRYPT_N)), file.write)
    return file.getvalue()


async def restored(data: bytes, engine: Engine) -> None:
    """It, in an empty store."""
    file = io.BytesIO(data)
    reader = BackupReader(open_chunks(file.read, unlock(file.read, PASSPHRASE)))
    await load(reader, StoreLanding(engine, reader.head.revision))


async def test_every_row_is_the_same_through_both_engines(postgres: Server, tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    engine = await a_full_store(first)
    backup = await taken(engine)
    await engine.close()

    between = tmp_path / "between"
    between.mkdir(mode=0o700)
    database = await postgres.fresh()
    server = PostgresEngine(postgres.url(database))
    async with landing(server) as one:
        assert await is_empty(one)
        await restored(backup, one)
    assert not await is_empty(server)
    again = await taken(server)
    await server.close()
    await postgres.drop(database)

    last.mkdir(mode=0o700)
    files = SqliteEngine(last)
    await restored(again, files)
    await files.close()
    before, after = everything(first), everything(last)
    assert before.keys() == after.keys()
    assert [place for place in before if not before[place]] == []
    assert [place for place in before if before[place] != after[place]] == []


async def test_a_restore_that_fails_leaves_an_empty_database(postgres: Server, tmp_path: Path) -> None:
    engine = await a_full_store(tmp_path / "first")
    backup = await taken(engine)
    await engine.close()
    database = await postgres.fresh()
    server = PostgresEngine(postgres.url(database))
    with pytest.raises(BackupError) as caught:
        async with landing(server) as one:
            await restored(backup[:-100], one)
    assert caught.value.code == "backup.truncated"
    assert await is_empty(server)
    await server.close()
    await postgres.drop(database)


async def test_a_view_is_of_one_moment(tmp_path: Path) -> None:
    engine = await a_full_store(tmp_path / "first")
    beside = SqliteEngine(tmp_path / "first")
    async with StoreDumps(engine).open("acme") as dump:
        section = next(each for each in dump.sections() if each.table == "client_keys")
        pages = dump.rows(section)
        count = len(await anext(pages))
        async with beside.org("acme", write=True) as session:
            await session.execute("DELETE FROM client_keys WHERE org = $1")
        async for page in pages:
            count += len(page)
    assert count == ROWS
    await beside.close()
    await engine.close()


UNKNOWN: dict[str, Section] = {
    "a table that is not": Section("acme", "secrets", ("id",)),
    "a column more": Section("acme", "rules", ("two_person", "other")),
    "a table of orgs that belongs to none": Section("", "keys", ("id",)),
    "a table that no backup has": Section("", "replicas", ("id", "endpoint", "seen_ms")),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_the_schema_has_not_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError) as caught:
        StoreLanding(SqliteEngine(tmp_path), HEAD).require(UNKNOWN[name])
    assert caught.value.code == "backup.schema"


@pytest.mark.parametrize("revision", ["0000", "9999", ""])
def test_a_schema_of_another_program_is_refused(revision: str) -> None:
    with pytest.raises(BackupError) as caught:
        require_restorable(revision)
    assert caught.value.code == "backup.schema"
    assert caught.value.next_step
