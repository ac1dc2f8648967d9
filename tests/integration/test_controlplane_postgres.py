"""A control plane on PostgreSQL: made, migrated, and served by two replicas at once."""

import asyncio
import json
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.bootstrap.plane import InitialisedError, initialise, opened
from controlplane.bootstrap.replica import ReplicaBeat
from controlplane.domain.replicas import LOST_MS
from controlplane.services.defaults import default_policy, default_provider
from controlplane.services.repository import VALIDITY_MS
from controlplane.settings import FILE_NAME, Settings
from controlplane.store.errors import DatabaseAddressError, DatabaseRoleError, SchemaError
from controlplane.store.migrations.listing import HEAD, STEPS
from tests.fakes.postgres_server import APP, OWNER, SUPERUSER, Server
from tests.integration.controlplane_client import SECONDS, Client, ended, read_offer, serving
from tests.integration.test_controlplane_cli import ok, run

PROVIDER = default_provider("http://127.0.0.1:9/v1", "provider")


def url_file(folder: Path, server: Server, database: str, role: str = APP) -> Path:
    """A file with an address."""
    path = folder / f"{role}.url"
    path.write_text(server.url(database, role) + "\n")
    path.chmod(0o600)
    return path


async def made(folder: Path, server: Server) -> Path:
    """State directory of a first replica, with one org."""
    database = await server.fresh()
    state = folder / "first"
    address = url_file(folder, server, database)
    await initialise(state, Settings(enroll_port=0, grpc_port=0, database_url_file=str(address)), None)
    async with opened(state) as plane:
        await plane.publisher.create("acme", [PROVIDER])
    return state


def one_more(state: Path, name: str) -> Path:
    """State directory of another replica: settings and key, nothing else."""
    other = state.parent / name
    other.mkdir(mode=0o700)
    for each in (FILE_NAME, "kek"):
        shutil.copy(state / each, other / each)
    return other


async def test_what_one_replica_does_the_other_knows(postgres: Server, tmp_path: Path) -> None:
    state = await made(tmp_path, postgres)
    assert sorted(path.name for path in state.iterdir()) == [FILE_NAME, "kek"]
    async with serving(state) as first, serving(one_more(state, "second")) as second:
        assert first.ready["pin"] == second.ready["pin"]
        live = await first.plane.store.replicas.live(0)
        assert {each.endpoint for each in live} == {first.ready["grpc"], second.ready["grpc"]}

        client = await Client.enroll(await first.token())
        there = Client(client.answer, client.key_pem, client.log, second.ready["grpc"])
        call = await there.hello()
        offer = await read_offer(call)
        await there.contents(offer)

        policy = default_policy("acme").replace(b'"input":"ALLOW"', b'"input":"BLOCK"')
        started = time.monotonic()
        published = await first.plane.publisher.publish_policy("acme", policy)
        assert (await read_offer(call)).revision == published.revision
        assert time.monotonic() - started < 5

        there.log.grow(300)
        assert (await there.append(0, there.log.records[:256], b"")).status == 200
        appended = await client.append(256, there.log.records[256:], there.log.checkpoint())
        assert (appended.status, appended.known_size) == (200, 300)

        started = time.monotonic()
        await first.plane.administration.revoke("acme", "prod", "stolen")
        assert (await ended(call))[1].code == "outpost.revoked"
        assert time.monotonic() - started < 5


async def test_a_replica_whose_connections_are_all_busy_still_hears_of_a_revocation(
    postgres: Server, tmp_path: Path
) -> None:
    state = await made(tmp_path, postgres)
    async with serving(state) as first, serving(one_more(state, "second")) as second, AsyncExitStack() as busy:
        client = await Client.enroll(await first.token())
        there = Client(client.answer, client.key_pem, client.log, second.ready["grpc"])
        call = await there.hello()
        await read_offer(call)
        engine = second.plane.store._engine
        for _ in range(second.plane.settings.database_pool):
            await asyncio.create_task(busy.enter_async_context(engine.registry(write=False)))
        await first.plane.administration.revoke("acme", "prod", "stolen")
        assert (await asyncio.wait_for(ended(call), SECONDS / 2))[1].code == "outpost.revoked"
        await client.channel.close()
        await there.channel.close()
    async with opened(state) as plane:
        assert await plane.store.replicas.live(0) == ()
        assert not await plane.is_served()


async def test_a_replica_whose_clock_is_wrong_is_not_lost_and_loses_no_other(postgres: Server, tmp_path: Path) -> None:
    state = await made(tmp_path, postgres)
    async with serving(state) as first, serving(one_more(state, "second")) as second:
        for wrong_ms in (-10 * LOST_MS, 10 * LOST_MS):
            there = SkewedClock(second.plane.clock, wrong_ms)
            beat = ReplicaBeat(replace(second.plane, clock=there), "skewed:1", lambda told: None)
            await beat.start()
            everybody = {"skewed:1", str(first.ready["grpc"]), str(second.ready["grpc"])}
            assert set(beat.endpoints) == everybody
            await beat.leave()


@dataclass
class SkewedClock:
    """A clock that is off."""

    clock: Any
    wrong_ms: int

    def now_ms(self) -> int:
        return int(self.clock.now_ms() + self.wrong_ms)

    def monotonic(self) -> float:
        return float(self.clock.monotonic())


async def test_a_stream_outlives_a_restart_of_the_database(mortal: Server, tmp_path: Path) -> None:
    state = await made(tmp_path, mortal)
    async with serving(state) as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        offer = await read_offer(call)
        await client.contents(offer)
        mortal.restart()
        policy = default_policy("acme").replace(b'"input":"ALLOW"', b'"input":"BLOCK"')
        published = await cp.plane.publisher.publish_policy("acme", policy)
        assert (await read_offer(call)).revision == published.revision
        await client.channel.close()


async def test_what_must_happen_once_happens_once(postgres: Server, tmp_path: Path) -> None:
    state = await made(tmp_path, postgres)
    async with opened(state) as ours, opened(one_more(state, "second")) as theirs:

        class Later:
            def now_ms(self) -> int:
                return int(time.time() * 1000) + VALIDITY_MS["timestamp"] * 3 // 4

            def monotonic(self) -> float:
                return time.monotonic()

        publishers = [plane.publisher for plane in (ours, theirs) for _ in range(4)]
        for publisher in publishers:
            publisher._clock = Later()
        done = await asyncio.gather(*(publisher.refresh("acme") for publisher in publishers))
        assert [each.number for each in done if each is not None] == [2]

        hosts = ("cp.example",)
        trust = await ours.trust()
        first, second = await asyncio.gather(*(plane.setup.server_identity(hosts, trust) for plane in (ours, theirs)))
        assert first == second


async def test_init_needs_a_schema_or_its_owner(postgres: Server, tmp_path: Path) -> None:
    database = await postgres.empty()
    app, owner = (url_file(tmp_path, postgres, database, role) for role in (APP, OWNER))
    settings = Settings(enroll_port=0, grpc_port=0, database_url_file=str(app))
    with pytest.raises(SchemaError) as caught:
        await initialise(tmp_path / "a", settings, None)
    assert "controlplane migrate --database-url-file" in caught.value.next_step
    await initialise(tmp_path / "b", settings, tmp_path / "root.pem", owner)
    assert b"PRIVATE KEY" in (tmp_path / "root.pem").read_bytes()
    with pytest.raises(InitialisedError) as again:
        await initialise(tmp_path / "c", settings, tmp_path / "other.pem", owner)
    assert "copy controlplane.toml and kek" in again.value.next_step
    assert not (tmp_path / "other.pem").exists()
    everybody = settings.model_copy(
        update={"database_url_file": str(url_file(tmp_path, postgres, database, SUPERUSER))}
    )
    with pytest.raises(DatabaseRoleError):
        await initialise(tmp_path / "d", everybody, None)


ADDRESSES = {
    "no file": None,
    "an empty file": "",
    "something else": "hello",
    "no user": "postgresql://127.0.0.1/cp",
    "no database": "postgresql://cp@127.0.0.1",
    "a port that is none": "postgresql://cp@127.0.0.1:x/cp",
    "another scheme": "mysql://cp@127.0.0.1/cp",
    "TLS without a CA": "postgresql://cp:secret-word@db.example/cp?sslmode=verify-full",
}


@pytest.mark.parametrize("what", ADDRESSES)
async def test_addresses_that_are_not_usable(tmp_path: Path, what: str) -> None:
    path, text = tmp_path / "x.url", ADDRESSES[what]
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    with pytest.raises(DatabaseAddressError) as caught:
        await initialise(tmp_path / "state", Settings(database_url_file=str(path)), None)
    assert "secret-word" not in str(caught.value.as_dict())


async def test_a_file_that_others_may_read_is_refused(postgres: Server, tmp_path: Path) -> None:
    path = url_file(tmp_path, postgres, "cp")
    path.chmod(0o644)
    with pytest.raises(DatabaseAddressError) as caught:
        await initialise(tmp_path / "state", Settings(database_url_file=str(path)), None)
    assert "only its owner" in caught.value.message


async def test_an_operators_way_from_nothing_to_two_replicas(postgres: Server, tmp_path: Path) -> None:
    database = await postgres.empty()
    app, owner = (url_file(tmp_path, postgres, database, role) for role in (APP, OWNER))
    state = tmp_path / "state"
    init = ("init", "--database-url-file", str(app), "--enroll-port", "0", "--grpc-port", "0")
    refused = await run(state, *init)
    assert (refused.status, "error store.schema: the database has no schema yet" in refused.err) == (6, True)
    shutil.rmtree(state)

    migrate = ("migrate", "--database-url-file", str(owner))
    told = await ok(state, *migrate, "--to", "0001", "--app-role", APP)
    assert told.out.splitlines()[0] == "postgresql database brought from base to 0001"
    told = await ok(state, *migrate, "--output", "json")
    assert told.json == {
        "schema": "controlplane.migration/1",
        "database": "postgresql",
        "from": "0001",
        "to": HEAD,
        "steps": [f"{step.revision} {step.title}" for step in STEPS[1:]],
        "app_roles": [APP],
    }
    assert "nothing to do" in (await ok(state, *migrate)).out
    back = await run(state, *migrate, "--to", "0001")
    assert (back.status, "error migrate.down" in back.err) == (8, True)
    assert "error migrate.revision" in (await run(state, *migrate, "--to", "7777")).err

    await ok(state, *init)
    await ok(state, "org", "create", "acme", "--single-person", "--provider-url", "http://127.0.0.1:9/v1")
    listed = await ok(one_more(state, "second"), "org", "list", "--output", "json")
    assert [each["id"] for each in listed.json["orgs"]] == ["acme"]
    wrong = await run(state, "migrate")
    assert (wrong.status, "error store.address" in wrong.err) == (8, True)
    reserved = await run(state, "org", "create", "operator")
    assert (reserved.status, "error org.reserved" in reserved.err) == (5, True)
    undone = await ok(state, *migrate, "--to", "0001", "--down")
    assert "undone 0002 replicas and quotas" in undone.out
    early = await run(state, "org", "list", "--output", "json")
    assert (early.status, json.loads(early.err)["error"]["code"]) == (6, "store.schema")


async def test_a_database_that_is_away_is_told_without_its_address(postgres: Server, tmp_path: Path) -> None:
    state = await made(tmp_path, postgres)
    path = tmp_path / "away.url"
    path.write_text("postgresql://cp_app:secret-word@127.0.0.1:1/cp")
    path.chmod(0o600)
    text = (state / FILE_NAME).read_text().replace(str(tmp_path / f"{APP}.url"), str(path))
    (state / FILE_NAME).write_text(text)
    away = await asyncio.wait_for(run(state, "org", "list"), SECONDS)
    assert (away.status, "error store.database: the database cannot be asked" in away.err) == (6, True)
    assert "secret-word" not in away.err + away.out
