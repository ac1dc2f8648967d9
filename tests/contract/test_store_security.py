"""One org reaches nothing of another: over the store's methods, with the WHERE taken out, and in plain SQL.

Two locks keep orgs apart on PostgreSQL. That each of them holds alone is shown by breaking the other: without
``org = $1`` row level security still holds; as a superuser, who is exempt from it, ``org = $1`` still holds; with both
broken everything leaks, so the attempts have teeth.
"""

import contextlib
import random
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from certs.shell.signers import SealError
from controlplane.domain.errors import ControlPlaneError
from controlplane.store.migrations.listing import STEPS
from controlplane.store.postgres import PostgresEngine
from controlplane.store.session import Engine, PerEngine, Row, Session, Value
from controlplane.store.store import DatabaseStore, Transaction
from tests.contract.attempts import ALONE, ATTEMPTS, TABLES, Victim, fill, leaked, methods
from tests.contract.stores import ORG, OTHER, Place, an_outpost
from tests.fakes.postgres_server import APP, OWNER, SUPERUSER

COUNT = 10_000
BATCH = 25
OWN_ORG = re.compile(r"\b(\w+\.)?org = \$1")
ORG_TABLES = tuple(table.name for step in STEPS for table in step.tables() if table.of_org)
OTHER_TABLES = tuple(table.name for step in STEPS for table in step.tables() if not table.of_org)


class WithoutWhere:
    """A session whose statements have lost every ``org = $1``."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner
        self.org = inner.org

    def choose(self, text: PerEngine) -> str:
        return self._inner.choose(text)

    async def execute(self, sql: str, *values: Value) -> int:
        return await self._inner.execute(broken(sql), *values)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        await self._inner.execute_many(broken(sql), rows)

    async def fetch(self, sql: str, *values: Value) -> list[Row]:
        return await self._inner.fetch(broken(sql), *values)

    async def fetch_one(self, sql: str, *values: Value) -> Row | None:
        return await self._inner.fetch_one(broken(sql), *values)

    async def announce(self) -> None:
        await self._inner.announce()


class MutatedEngine(PostgresEngine):
    """PostgreSQL, asked by statements that forgot the org."""

    @asynccontextmanager
    async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
        async with super().org(org, write=write, scope=scope) as session:
            yield WithoutWhere(session)


def broken(sql: str) -> str:
    """A statement without its WHERE on the org."""
    return OWN_ORG.sub("$1 = $1", sql)


async def rows_of(engine: Engine, org: str) -> dict[str, list[Row]]:
    """Every row of an org, by table."""
    async with engine.org(org, write=False) as session:
        return {
            name: sorted(await session.fetch(f"SELECT * FROM {name} WHERE org = $1"), key=repr)
            for name in ORG_TABLES
            if name != "orgs"  # which a SQLite file of an org does not have
        }


async def attempt(store: DatabaseStore, victim: Victim, count: int, seed: int = 12) -> list[str]:
    """Try everything in another org's space, again and again, in random order; the attempts whose answers leaked."""
    chance, found, left = random.Random(seed), [], count
    while left > 0:
        names = [chance.choice(sorted(ATTEMPTS)) for _ in range(min(BATCH, left))]
        if any(name in ALONE for name in names):
            names = names[:1]
        left -= len(names)
        with contextlib.suppress(ControlPlaneError):
            async with store.for_org(ORG).write(chance.choice(("", "a"))) as transaction:
                for name in names:
                    if await leaks(name, transaction, victim, chance):
                        found.append(name)
    return found


async def leaks(name: str, transaction: Transaction, victim: Victim, chance: random.Random) -> bool:
    """Whether one attempt gets something of the victim."""
    try:
        return leaked(name, await ATTEMPTS[name](transaction, victim, chance))
    except SealError:
        return True  # the sealed key of another org came out; that it does not open here is a third lock
    except (ControlPlaneError, LookupError):
        return False


async def outcome(place: Place, attacker: Engine, count: int) -> tuple[list[str], list[str]]:
    """Attempts that leaked, and tables of the victim that differ afterwards."""
    honest = await place.engine()
    store, theirs = DatabaseStore(honest, place.keyring), DatabaseStore(attacker, place.keyring)
    for org in (ORG, OTHER):
        await store.add_org(org, 1)
    victim = await fill(store, OTHER)
    async with store.for_org(ORG).write() as transaction:
        await transaction.outposts.add(an_outpost(7))
    before = await rows_of(honest, OTHER)
    assert [name for name, rows in before.items() if not rows] == []  # every table is at stake
    try:
        found = await attempt(theirs, victim, count)
        after = await rows_of(honest, OTHER)
    finally:
        await store.close()
        await theirs.close()
    return sorted(set(found)), sorted(name for name in before if before[name] != after[name])


def test_every_method_of_every_table_is_tried() -> None:
    assert set(ATTEMPTS) == methods()
    assert {name.partition(".")[0] for name in ATTEMPTS} == set(TABLES)


async def test_ten_thousand_attempts_reach_nothing(place: Place) -> None:
    assert await outcome(place, await place.engine(), COUNT) == ([], [])


async def engine_of(place: Place, kind: type[PostgresEngine], role: str) -> PostgresEngine:
    """An engine of the place's database as a role."""
    await place.engine()  # makes the database
    assert place.server is not None
    return kind(place.server.url(place.database, role))


async def test_without_the_where_row_level_security_still_holds(postgres_place: Place) -> None:
    attacker = await engine_of(postgres_place, MutatedEngine, APP)
    assert await outcome(postgres_place, attacker, COUNT) == ([], [])


async def test_without_row_level_security_the_where_still_holds(postgres_place: Place) -> None:
    attacker = await engine_of(postgres_place, PostgresEngine, SUPERUSER)
    assert await outcome(postgres_place, attacker, 2_000) == ([], [])


async def test_with_both_taken_away_the_attempts_reach_everything(postgres_place: Place) -> None:
    attacker = await engine_of(postgres_place, MutatedEngine, SUPERUSER)
    found, changed = await outcome(postgres_place, attacker, 2_000)
    assert {"outposts.get", "tokens.match", "keys.all", "releases.part", "audit.entries", "quotas.get"} <= set(found)
    assert {"outposts", "tokens", "client_keys", "heads"} <= set(changed)


async def test_every_statement_on_an_orgs_table_names_the_org(place: Place) -> None:
    """What the mutation takes out is there to be taken: a statement without it would pass the test above unseen."""
    seen: list[str] = []

    class Recording(WithoutWhere):
        async def execute(self, sql: str, *values: Value) -> int:
            seen.append(sql)
            return await self._inner.execute(sql, *values)

        async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
            seen.append(sql)
            await self._inner.execute_many(sql, rows)

        async def fetch(self, sql: str, *values: Value) -> list[Row]:
            seen.append(sql)
            return await self._inner.fetch(sql, *values)

        async def fetch_one(self, sql: str, *values: Value) -> Row | None:
            seen.append(sql)
            return await self._inner.fetch_one(sql, *values)

    inner = await place.engine()

    class Engineer:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        @asynccontextmanager
        async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
            async with inner.org(org, write=write, scope=scope) as session:
                yield Recording(session)

    store = DatabaseStore(Engineer(), place.keyring)  # type: ignore[arg-type]
    await store.add_org(ORG, 1)
    victim = await fill(store, ORG)
    await attempt(store, victim, 2_000)
    await store.close()
    assert len(set(seen)) > 50
    assert [
        sql for sql in set(seen) if not re.search(r"INSERT INTO \w+ \(org, ", sql) and not OWN_ORG.search(sql)
    ] == []


@pytest.fixture
async def filled(postgres_place: Place) -> Place:
    """A database with rows of both orgs in every table."""
    async with postgres_place.opened(ORG, OTHER) as store:
        for org in (ORG, OTHER):
            await fill(store, org)
    return postgres_place


@asynccontextmanager
async def connected(place: Place, role: str = APP) -> AsyncIterator[Any]:
    """A plain connection."""
    assert place.server is not None
    connection = await asyncpg.connect(place.server.url(place.database, role))
    try:
        yield connection
    finally:
        await connection.close()


async def test_plain_sql_sees_one_org_or_none(filled: Place) -> None:
    async with connected(filled) as connection:
        for name in ORG_TABLES:
            assert await connection.fetch(f"SELECT * FROM {name}") == [], name
        for org in (ORG, OTHER):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL app.org = '{org}'")
                for name in ORG_TABLES:
                    assert {row["org"] for row in await connection.fetch(f"SELECT org FROM {name}")} == {org}, name
        assert await connection.fetch("SELECT * FROM outposts") == []


async def test_plain_sql_writes_to_no_other_org(filled: Place) -> None:
    async with connected(filled) as connection:

        async def in_org(sql: str) -> str:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL app.org = '{ORG}'")
                return str(await connection.execute(sql))

        for sql in (
            f"INSERT INTO heads VALUES ('{OTHER}-2', 1)",
            f"UPDATE heads SET org = '{OTHER}-2'",
            f"INSERT INTO quotas SELECT '{OTHER}-2', 1, 1, 1, 1",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await in_org(sql)
        assert await in_org(f"DELETE FROM deliveries WHERE org = '{OTHER}'") == "DELETE 0"
        assert await in_org("UPDATE deliveries SET code = 'x'") == "UPDATE 12"


async def test_every_table_of_orgs_is_under_forced_row_level_security(filled: Place) -> None:
    async with connected(filled, SUPERUSER) as connection:
        rows = await connection.fetch(
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org' AND NOT a.attisdropped"
            " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        )
        assert {row[0]: row[1] for row in rows} == dict.fromkeys(ORG_TABLES, True)
        everything = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200")
        assert {row[0] for row in everything} == {*ORG_TABLES, *OTHER_TABLES, "alembic_version", "schema_floor"}


LOOKUPS = {
    "list_orgs()": "ids of orgs and whether they are ready",
    "newest_changes(wanted text[])": "numbers of changes",
}
"""All that anybody may ask about more than one org at once."""

OWNERS_TABLES = {"orgs", "heads"}  # what those read


async def test_look_ups_over_all_orgs_are_a_short_list(filled: Place) -> None:
    async with connected(filled, SUPERUSER) as connection:
        rows = await connection.fetch(
            "SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.prosecdef,"
            " pg_get_userbyid(p.proowner), p.proconfig, has_function_privilege('public', p.oid, 'EXECUTE')"
            " FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
        )
        assert {row[0] for row in rows} == set(LOOKUPS)
        for row in rows:
            assert tuple(row[1:]) == (True, OWNER, ["search_path=pg_catalog, pg_temp"], False), row[0]
        policies = await connection.fetch(
            "SELECT tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies"
            " WHERE schemaname = 'public'"
        )
        own = "(org = NULLIF(current_setting('app.org'::text, true), ''::text))"
        expected = {(name, "own_org", "{public}", "ALL", own, own) for name in ORG_TABLES}
        expected |= {(name, "owner_reads", f"{{{OWNER}}}", "SELECT", "true", None) for name in OWNERS_TABLES}
        assert {tuple(row) for row in policies} == expected


async def test_look_ups_tell_no_content(filled: Place) -> None:
    async with connected(filled) as connection:
        assert {row[0] for row in await connection.fetch("SELECT org, created_ms, ready FROM list_orgs()")} == {
            ORG,
            OTHER,
        }
        rows = await connection.fetch("SELECT * FROM newest_changes($1)", [ORG, OTHER, "nobody"])
        assert {row[0]: type(row[1]) for row in rows} == {ORG: int, OTHER: int}


async def test_the_owner_sees_no_rows_but_those_of_the_look_ups(filled: Place) -> None:
    async with connected(filled, OWNER) as connection:
        seen = {name for name in ORG_TABLES if await connection.fetch(f"SELECT 1 FROM {name} LIMIT 1")}
        assert seen == OWNERS_TABLES


FORBIDDEN = {
    "remove a log's entry": "DELETE FROM log_entries",
    "change a log's entry": "UPDATE log_entries SET entry = ''",
    "change a tile": "UPDATE log_tiles SET root = ''",
    "remove an act": "DELETE FROM acts",
    "change an act": "UPDATE acts SET entry = ''",
    "remove a signed head": "DELETE FROM act_checkpoints",
    "change a key of access tokens": "UPDATE token_keys SET public_key = ''",
    "change an intent": "UPDATE issuances SET serial = 'x'",
    "empty a table past its policies": "TRUNCATE outposts",
    "turn row level security off": "ALTER TABLE outposts DISABLE ROW LEVEL SECURITY",
    "drop a policy": "DROP POLICY own_org ON outposts",
    "make a table": "CREATE TABLE t (x int)",
    "say that the schema is another one": "UPDATE alembic_version SET version_num = 'x'",
    "become the owner": f"SET ROLE {OWNER}",
    "replace a look-up": "DROP FUNCTION list_orgs",
}


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_the_application_may_not(postgres_place: Place, what: str) -> None:
    await postgres_place.engine()
    async with connected(postgres_place) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(FORBIDDEN[what])
