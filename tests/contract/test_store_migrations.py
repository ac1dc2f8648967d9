"""Steps of the schema, on every engine: up, down and up again is the same; old programs work on new schemas."""

import asyncio
import contextlib
import json
import random
import re
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from controlplane.domain.errors import ControlPlaneError
from controlplane.store.errors import DatabaseRoleError, SchemaError
from controlplane.store.migrations import listing, postgres_schema, sqlite_files
from controlplane.store.migrations.listing import BASE, HEAD, STEPS, position, revision_at
from controlplane.store.migrations.postgres_schema import migrate
from controlplane.store.migrations.sqlite_files import FileKind
from controlplane.store.migrations.step import Change, Step, Table
from controlplane.store.postgres import PostgresEngine
from controlplane.store.postgres_checks import require_ready
from controlplane.store.sqlite import SqliteEngine, bring_files
from controlplane.store.sqlite_file import bring_file, steps_seen
from controlplane.store.store import DatabaseStore
from tests.contract.attempts import ATTEMPTS, fill
from tests.contract.recorded import FOLDER, Recorder, path_of, record, replay, texts
from tests.contract.stores import ORG, Place
from tests.fakes.postgres_server import APP, OWNER, SUPERUSER, Server, binaries

REVISIONS = [step.revision for step in STEPS]


def test_steps_are_numbered_without_a_gap_and_each_has_its_module() -> None:
    assert [f"{number:04d}" for number in range(1, len(STEPS) + 1)] == REVISIONS
    modules = sorted((Path(listing.__file__).parent / "steps").glob("s*.py"))
    assert [path.name[1:5] for path in modules] == REVISIONS
    assert all(step.oldest <= step.revision for step in STEPS)


def sqlite_schema(path: Path) -> list[tuple[str, ...]]:
    """What a file's schema says of itself."""
    with sqlite3.connect(path) as link:
        rows = link.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    link.close()
    return rows


@pytest.mark.parametrize("kind", list(FileKind))
def test_up_down_up_is_the_same_on_sqlite(tmp_path: Path, kind: FileKind) -> None:
    path = tmp_path / "x.db"
    seen = {}
    for count in (*range(1, len(STEPS) + 1), *range(len(STEPS) - 1, -1, -1), *range(1, len(STEPS) + 1)):
        bring_file(path, kind, count)
        assert steps_seen(path) == count
        assert seen.setdefault(count, sqlite_schema(path)) == sqlite_schema(path)
    assert seen[0] == []
    assert len(seen[len(STEPS)]) > 2


async def dump_schema(server: Server, database: str) -> str:
    """The schema with its policies and rights, as pg_dump writes it."""
    command = [f"{binaries()}/pg_dump", "--schema-only", "--dbname", server.url(database, SUPERUSER)]
    done = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout.decode())


async def test_up_down_up_is_the_same_on_postgresql(postgres: Server) -> None:
    database = await postgres.empty()
    seen = {BASE: await dump_schema(postgres, database)}
    away = [*REVISIONS, *reversed(REVISIONS[:-1]), *REVISIONS[1:], BASE, HEAD]
    at = BASE
    for revision in away:
        done = await migrate(postgres.url(database, OWNER), revision, APP)
        assert (done.before, done.after) == (at, revision)
        at = revision
        if revision != BASE:  # Alembic's own table and the right to use the schema stay
            dumped = await dump_schema(postgres, database)
            assert seen.setdefault(revision, dumped) == dumped, revision
    assert "own_org" in seen[HEAD]
    again = await migrate(postgres.url(database, OWNER))
    assert (again.before, again.after, again.app_roles) == (HEAD, HEAD, (APP,))
    assert await dump_schema(postgres, database) == seen[HEAD]


async def test_both_engines_have_the_same_tables(postgres: Server, tmp_path: Path) -> None:
    connection = await asyncpg.connect(postgres.url(await postgres.fresh(), SUPERUSER))
    kinds = {"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB"}
    rows = await connection.fetch(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name NOT IN ('alembic_version', 'schema_floor')"
    )
    await connection.close()
    theirs = {(row[0], row[1], kinds[row[2]], row[3]) for row in rows}
    ours = set()
    for kind in FileKind:
        path = tmp_path / f"{kind}.db"
        bring_file(path, kind, len(STEPS))
        with sqlite3.connect(path) as link:
            for (table,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = link.execute(f"PRAGMA table_info({table})").fetchall()
                ours |= {(table, each[1], each[2], "NO" if each[3] else "YES") for each in columns}
        link.close()
    assert ours == theirs


@pytest.mark.parametrize("revision", REVISIONS)
async def test_old_programs_work_on_the_newest_schema(place: Place, revision: str) -> None:
    document = json.loads(path_of(revision).read_text())
    engine = await place.engine()
    try:
        assert await replay(engine, document["transactions"]) == []
    finally:
        await engine.close()


def test_every_revision_has_its_recording_and_nothing_else_is_there() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [path_of(revision).name for revision in REVISIONS]


async def test_the_newest_recording_is_what_this_program_says() -> None:
    recorded = texts(json.loads(path_of(HEAD).read_text())["transactions"])
    assert texts(await record()) == recorded, "run: python -m tests.contract.recorded"


async def test_a_recording_that_does_not_fit_is_noticed(place: Place) -> None:
    transactions = json.loads(path_of(HEAD).read_text())["transactions"]
    lines = [line for each in transactions for line in each["statements"] if line["act"] == "fetch" and line["rows"]]
    lines[0]["rows"].append(lines[0]["rows"][0])
    lines[-1]["sql"] = lines[-1]["sql"].replace("SELECT ", "SELECT no_such_column, ", 1)
    engine = await place.engine()
    with pytest.raises(ControlPlaneError):
        await replay(engine, transactions)
    await engine.close()


async def test_rows_survive_the_way_up(place: Place) -> None:
    """Data of the first revision is there, and complete, at the newest one."""
    if place.server is None:
        for kind, name in ((FileKind.REGISTRY, "registry.db"), (FileKind.ORG, f"orgs/{ORG}.db")):
            bring_file(place.folder / name, kind, 1)
    else:
        place.database = await place.server.empty()
        await migrate(place.server.url(place.database, OWNER), "0001", APP)
    engine = await place.engine()
    transactions = json.loads(path_of("0001").read_text())["transactions"]
    if place.server is None:
        bring_files(place.folder, len(STEPS), lambda found: None)
    assert await replay(engine, transactions) == []
    await engine.close()
    if place.server is not None:
        await migrate(place.server.url(place.database, OWNER))
    async with place.opened() as store, store.for_org(ORG).read() as transaction:
        assert [each.name for each in await transaction.outposts.all()] == ["n1", "n2"]
        assert (await transaction.quotas.get()).outposts > 0


async def test_two_migrations_at_once_take_turns(postgres: Server) -> None:
    database = await postgres.empty()
    done = await asyncio.gather(*(migrate(postgres.url(database, OWNER), HEAD, APP) for _ in range(4)))
    assert sorted(each.before for each in done) == [HEAD] * 3 + [BASE]
    await require_ready(PostgresEngine(postgres.url(database)))


BROKEN = Step("9999", "broken", org=(Table("good", "org TEXT NOT NULL PRIMARY KEY"), Change("CREATE NONSENSE", "")))


def test_a_step_that_fails_leaves_a_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    bring_file(path, FileKind.ORG, len(STEPS))
    before = sqlite_schema(path)
    monkeypatch.setattr(sqlite_files, "STEPS", (*STEPS, BROKEN))
    with pytest.raises(ControlPlaneError):
        bring_file(path, FileKind.ORG, len(STEPS) + 1)
    assert (sqlite_schema(path), steps_seen(path)) == (before, len(STEPS))


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await postgres.empty()
    await migrate(postgres.url(database, OWNER), "0001", APP)
    before = await dump_schema(postgres, database)
    monkeypatch.setattr(postgres_schema, "_grants", lambda *_: ["GRANT NONSENSE"])
    with pytest.raises(ControlPlaneError):
        await migrate(postgres.url(database, OWNER))
    assert await dump_schema(postgres, database) == before


async def test_a_migration_waits_no_longer_than_it_may(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_schema, "LOCK_SECONDS", 1)
    database = await postgres.fresh()
    busy = await asyncpg.connect(postgres.url(database))
    await busy.execute("BEGIN; SELECT * FROM quotas")
    with pytest.raises(ControlPlaneError) as caught:
        await migrate(postgres.url(database, OWNER), "0001")
    assert not caught.value.fatal
    await busy.close()
    assert (await migrate(postgres.url(database, OWNER), "0001")).after == "0001"


async def ready(postgres: Server, database: str, role: str = APP) -> str:
    """Code of what stands in the way of a program, or nothing."""
    try:
        await require_ready(PostgresEngine(postgres.url(database, role)))
    except ControlPlaneError as error:
        return f"{error.code}: {error.message}"
    return ""


async def test_a_program_refuses_a_schema_that_it_cannot_work_on(postgres: Server) -> None:
    database = await postgres.empty()
    assert "no schema yet" in await ready(postgres, database)
    await migrate(postgres.url(database, OWNER), "0001")
    assert "no rights" in await ready(postgres, database)
    await migrate(postgres.url(database, OWNER), "0001", APP)
    assert f"is at revision 0001, and this program needs {HEAD}" in await ready(postgres, database)
    await migrate(postgres.url(database, OWNER))
    assert await ready(postgres, database) == ""
    await postgres.run("UPDATE alembic_version SET version_num = '9999'", database=database)
    assert await ready(postgres, database) == ""  # newer, and it keeps what this program needs
    await postgres.run("UPDATE schema_floor SET oldest = '9998'", database=database)
    assert "cannot work any more" in await ready(postgres, database)
    with pytest.raises(SchemaError):
        await migrate(postgres.url(database, OWNER))


async def test_a_role_that_sees_every_org_is_refused(postgres: Server) -> None:
    database = await postgres.fresh()
    await postgres.run("CREATE ROLE cp_exempt LOGIN BYPASSRLS", f"CREATE ROLE cp_member LOGIN IN ROLE {OWNER}, {APP}")
    await migrate(postgres.url(database, OWNER), HEAD, "cp_exempt")
    for role in (SUPERUSER, OWNER, "cp_exempt", "cp_member"):
        assert (await ready(postgres, database, role)).startswith(DatabaseRoleError.code), role
    assert await ready(postgres, database) == ""


async def test_a_role_that_is_not_there_is_told(postgres: Server) -> None:
    with pytest.raises(SchemaError) as caught:
        await migrate(postgres.url(await postgres.fresh(), OWNER), HEAD, "cp_nobody")
    assert "CREATE ROLE cp_nobody" in caught.value.next_step


async def test_an_older_program_refuses_a_newer_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SqliteEngine(tmp_path)
    await engine.make_space(ORG)
    await engine.close()
    monkeypatch.setattr(sqlite_files, "STEPS", STEPS[:1])
    engine = SqliteEngine(tmp_path)
    with pytest.raises(SchemaError):
        await engine.make_space(ORG)
    await engine.close()


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Step:
    """A step more, as the next version might bring one."""
    step = Step(
        "0099",
        "a column",
        org=(
            Change(
                "ALTER TABLE outposts ADD COLUMN site TEXT NOT NULL DEFAULT ''", "ALTER TABLE outposts DROP COLUMN site"
            ),
            Change("CREATE INDEX outposts_site ON outposts (org, site)", "DROP INDEX outposts_site"),
        ),
    )
    monkeypatch.setattr(sqlite_files, "STEPS", (*STEPS, step))
    return step


async def test_a_step_that_only_adds_lets_the_program_of_today_go_on(place: Place, grown: Step) -> None:
    engine = await place.engine()
    await engine.make_space(ORG)
    if place.server is None:
        bring_file(place.folder / "orgs" / f"{ORG}.db", FileKind.ORG, len(STEPS) + 1)
    else:
        await place.server.run(*grown.postgres_up(), database=place.database)
    transactions = json.loads(path_of(HEAD).read_text())["transactions"]
    assert await replay(engine, transactions) == []
    await engine.close()


def test_revisions_have_places() -> None:
    assert [revision_at(position(each)) for each in (BASE, *REVISIONS)] == [BASE, *REVISIONS]
    with pytest.raises(LookupError):
        position("9999")


async def test_the_way_down_and_up_keeps_what_the_older_revision_knows(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with place.opened(ORG) as store:
        await fill(store, ORG)
    bring_files(tmp_path, 1, lambda found: None)
    bring_files(tmp_path, len(STEPS), lambda found: None)
    store = DatabaseStore(SqliteEngine(tmp_path), replace(place).keyring)
    async with store.for_org(ORG).read() as transaction:
        assert len(await transaction.outposts.all()) == 12
    await store.close()


async def test_the_recording_has_everything_that_the_store_can_say(place: Place) -> None:
    recorder = Recorder(await place.engine())
    store = DatabaseStore(recorder, place.keyring)  # type: ignore[arg-type]
    await store.add_org(ORG, 1)
    victim, chance = await fill(store, ORG), random.Random(5)
    for name in sorted(ATTEMPTS):
        with contextlib.suppress(ControlPlaneError, LookupError):
            async with store.for_org(ORG).write() as transaction:
                await ATTEMPTS[name](transaction, victim, chance)
    await store.close()
    recorded = texts(json.loads(path_of(HEAD).read_text())["transactions"])
    assert texts(recorder.transactions) - recorded == set()
