"""The store's parts that need no database: what changed, addresses, sealing, turns, steps as text."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from certs.shell.private_files import PrivateFileExistsError
from certs.shell.signers import SealError, generate_signing_key
from controlplane.domain.changes import Change, Changed, ChangeKind, changed
from controlplane.domain.errors import ControlPlaneError, InputError
from controlplane.domain.orgs import OPERATOR, checked_customer_id, checked_id
from controlplane.domain.quotas import MOST, Quotas
from controlplane.domain.quotas import checked as checked_quotas
from controlplane.store.blobs import assembled
from controlplane.store.errors import DatabaseAddressError, NotInitialisedError
from controlplane.store.migrations.step import Change as Statement
from controlplane.store.migrations.step import OnPostgres, Step, Table, sqlite_down, sqlite_up
from controlplane.store.postgres import lock_on
from controlplane.store.postgres_address import checked_address, user_of
from controlplane.store.postgres_faults import translate
from controlplane.store.sealing import Keyring, role_place, vault_place
from controlplane.store.session import PerEngine, storable
from controlplane.store.sqlite import may_differ
from controlplane.store.turns import Turns

OUTPOST = Change(ChangeKind.OUTPOST, "op-1")
RELEASE = Change(ChangeKind.RELEASE)
FEEDS: dict[str, tuple[int, int, list[Change], Changed]] = {
    "nothing new": (3, 3, [], Changed(3)),
    "an outpost": (3, 4, [OUTPOST], Changed(4, frozenset({ChangeKind.OUTPOST}), frozenset({"op-1"}))),
    "a set": (0, 1, [RELEASE], Changed(1, frozenset({ChangeKind.RELEASE}))),
    "one change is not there any more": (2, 4, [OUTPOST], Changed(4, whole=True)),
    "a cursor from later than the store": (9, 4, [], Changed(4, whole=True)),
}


@pytest.mark.parametrize("name", FEEDS)
def test_what_a_reader_has_to_read(name: str) -> None:
    cursor, newest, kept, expected = FEEDS[name]
    assert changed(cursor, newest, kept) == expected
    assert changed(cursor, newest, kept).releases is (expected.whole or RELEASE in kept)


@pytest.mark.parametrize("value", [0, -1, MOST + 1])
def test_quotas_have_bounds(value: int) -> None:
    with pytest.raises(InputError) as caught:
        checked_quotas(Quotas(connects_per_second=value))
    assert caught.value.field == "connects_per_second"
    assert checked_quotas(Quotas(1, MOST, 1, 1)).outposts == 1


def test_the_operators_id_is_an_id_and_no_customers() -> None:
    assert checked_id(OPERATOR) == OPERATOR
    assert checked_customer_id("operators") == "operators"
    with pytest.raises(ControlPlaneError) as caught:
        checked_customer_id(OPERATOR)
    assert caught.value.code == "org.reserved"


TLS = "sslmode=verify-full"
ADDRESSES = {
    "a server elsewhere has to prove itself": (
        "postgresql://u:p@db.example/cp",
        f"postgresql://u:p@db.example/cp?{TLS}",
    ),
    "an option more": ("postgres://u@10.0.0.1:5433/cp?x=1", f"postgres://u@10.0.0.1:5433/cp?x=1&{TLS}"),
    "what is written down counts": ("postgresql://u@db/cp?sslmode=disable", "postgresql://u@db/cp?sslmode=disable"),
    "this machine": ("postgresql://u@127.0.0.1/cp", "postgresql://u@127.0.0.1/cp"),
    "this machine by name": ("postgresql://u@localhost/cp", "postgresql://u@localhost/cp"),
    "this machine over IPv6": ("postgresql://u@[::1]:5432/cp", "postgresql://u@[::1]:5432/cp"),
    "a socket": ("postgresql://u@/cp?host=/run/pg", "postgresql://u@/cp?host=/run/pg"),
}


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses(name: str) -> None:
    given, expected = ADDRESSES[name]
    assert checked_address(given) == expected
    assert user_of(given) == "u"


@pytest.mark.parametrize(
    "text",
    ["", "x", "postgresql:///cp", "postgresql://h/cp", "postgresql://u@h", "postgresql://u@h/", "http://u@h/cp"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DatabaseAddressError):
        checked_address(text)


FAULTS: dict[str, tuple[BaseException, str]] = {
    "the server is away": (ConnectionRefusedError(), "store.database"),
    "no answer": (TimeoutError(), "store.database"),
    "a connection that is gone": (asyncpg.InterfaceError("connection is closed"), "store.database"),
    "two statements at once": (asyncpg.InterfaceError("another operation is in progress"), "store.refused"),
    "the server stops": (asyncpg.AdminShutdownError("secret"), "store.database"),
    "a deadlock": (asyncpg.DeadlockDetectedError("secret"), "store.database"),
    "too many connections": (asyncpg.TooManyConnectionsError("secret"), "store.database"),
    "a schema that changed under a statement": (asyncpg.FeatureNotSupportedError("secret"), "store.database"),
    "a row that is there already": (asyncpg.UniqueViolationError("secret"), "store.refused"),
    "another org's row": (asyncpg.InsufficientPrivilegeError("secret"), "store.refused"),
    "a table that is not there": (asyncpg.UndefinedTableError("secret"), "store.refused"),
    "a wrong password": (asyncpg.InvalidPasswordError("secret"), "store.address"),
    "no such database": (asyncpg.InvalidCatalogNameError("secret"), "store.address"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_database_are_typed_and_show_nothing(name: str) -> None:
    fault, code = FAULTS[name]
    error = translate(fault)
    assert (error.code, error.fatal) == (code, code != "store.database")
    assert "secret" not in str(error.as_dict())
    assert error.next_step


def test_a_key_opens_in_its_place_only(tmp_path: Path) -> None:
    ring, other = Keyring(tmp_path / "kek"), Keyring(tmp_path / "other")
    with pytest.raises(NotInitialisedError):
        ring.seal(generate_signing_key(), b"")
    ring.create()
    other.create()
    with pytest.raises(PrivateFileExistsError):
        ring.create()
    key, place = generate_signing_key(), role_place("acme", "root", 1)
    sealed = ring.seal(key, place)
    assert Keyring(tmp_path / "kek").open(sealed, place, name="x").sign(b"m") == key.sign(b"m")  # type: ignore[call-arg]
    places = (
        role_place("acme", "root", 2),
        role_place("acm", "eroot", 1),
        role_place("b", "root", 1),
        vault_place("x"),
    )
    for elsewhere in places:
        with pytest.raises(SealError):
            ring.open(sealed, elsewhere, name="x")
    for damaged in (b"", sealed[:11], sealed[:-1], sealed + b"x", bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(SealError):
            ring.open(damaged, place, name="x")
    with pytest.raises(SealError):
        other.open(sealed, place, name="x")
    assert ring.seal(key, place) != sealed


def test_what_is_derived_is_the_same_at_every_replica_and_for_one_purpose(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "kek")
    ring.create()
    (tmp_path / "link").symlink_to(tmp_path / "kek")  # as a mounted secret is
    assert Keyring(tmp_path / "link").pepper() == ring.pepper()
    assert len({ring.pepper(), ring.derive(b"a"), ring.derive(b"b"), ring.kek}) == 4


async def test_turns_are_taken_in_order_and_leave_nothing() -> None:
    turns, order = Turns(), list[int]()

    async def take(number: int, key: str) -> None:
        async with turns.taken(key):
            order.append(number)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(take(number, "a")) for number in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await take(9, "b")
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number in order if number != 9] == [0, 1, 3, 4]
    assert order.index(9) < 3  # another key does not wait
    assert len(turns) == 0


def test_scopes_have_locks_of_their_own() -> None:
    numbers = {lock_on(org, scope) for org in ("acme", "globex", "acmea") for scope in ("", "a", "log/op-1")}
    assert len(numbers) == 9


def test_files_are_put_together_from_their_chunks() -> None:
    assert assembled([("a", b"1"), ("a", b"2"), ("b", b"3")]) == {"a": b"12", "b": b"3"}
    assert assembled([]) == {}


def test_values_that_both_engines_store_pass() -> None:
    values = ("", "é😀", 0, -(1 << 63), (1 << 63) - 1, b"\x00", None)
    assert storable(values) == values


SECOND = 1_000_000_000
STAMPS = {
    "another time": ((5, 1), (4, 1), 9 * SECOND, True),
    "another size": ((5, 2), (5, 1), 9 * SECOND, True),
    "never seen": ((5, 1), None, 9 * SECOND, True),
    "written just now: the clock of files may stand still": ((5, 1), (5, 1), 6, True),
    "long ago, and the same": ((5, 1), (5, 1), 9 * SECOND, False),
}


@pytest.mark.parametrize("name", STAMPS)
def test_files_that_may_hold_something_new(name: str) -> None:
    stamp, before, now_ns, expected = STAMPS[name]
    assert may_differ(stamp, before, now_ns) is expected


STEP = Step(
    "0007",
    "sample",
    org=(
        Table("things", "org TEXT NOT NULL, n BIGINT NOT NULL, b BYTEA NOT NULL, PRIMARY KEY (org, n)"),
        Table("heaps", "org TEXT NOT NULL PRIMARY KEY, b BYTEA NOT NULL", large=True),
        Statement("ALTER TABLE things ADD COLUMN m BIGINT NOT NULL DEFAULT 0", "ALTER TABLE things DROP COLUMN m"),
        OnPostgres("SELECT 1"),
    ),
)


def test_a_step_becomes_text_for_each_engine() -> None:
    up = sqlite_up(STEP.org)
    assert up[0].endswith(
        "(org TEXT NOT NULL, n INTEGER NOT NULL, b BLOB NOT NULL, PRIMARY KEY (org, n)) STRICT, WITHOUT ROWID"
    )
    assert up[1].endswith(") STRICT")
    assert up[2:] == ("ALTER TABLE things ADD COLUMN m INTEGER NOT NULL DEFAULT 0",)
    down = sqlite_down(STEP.org)
    assert down == ("ALTER TABLE things DROP COLUMN m", "DROP TABLE heaps", "DROP TABLE things")
    assert STEP.postgres_down() == down
    there = STEP.postgres_up()
    assert [text for text in there if "FORCE ROW LEVEL SECURITY" in text] == [
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY" for name in ("things", "heaps")
    ]
    assert there[-1] == "SELECT 1"


@pytest.mark.parametrize("body", ["id TEXT NOT NULL PRIMARY KEY, org TEXT", "organisation TEXT NOT NULL PRIMARY KEY"])
def test_a_table_without_the_orgs_column_in_front_is_no_table_of_orgs(body: str) -> None:
    assert not Table("t", body).of_org


def test_texts_per_engine_differ() -> None:
    text = PerEngine("a", "b")
    assert (text.sqlite, text.postgres) == ("a", "b")
