"""What a serving control plane does by itself goes on when the store was away at the moment of it."""

import asyncio
from pathlib import Path

import pytest

from controlplane.bootstrap import serving
from controlplane.bootstrap.api import ApiRole
from controlplane.bootstrap.workbench import workbench
from controlplane.store.errors import DatabaseError, unreachable
from controlplane.store.session import Session, Value
from controlplane.store.sqlite import SqliteEngine
from tests.integration.controlplane_client import SECONDS, Running, running


async def until(there: Running, done: asyncio.Event) -> None:
    """Serve until something happened; a background task that failed is raised."""
    async with asyncio.timeout(SECONDS):
        await there.server.run(done)


async def test_a_store_that_is_away_at_a_tick_of_the_maintenance_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAINTENANCE_SECONDS", 0.02)
    async with running(tmp_path / "cp") as there:
        store, refreshed, looks = there.plane.store, asyncio.Event(), 0
        real_orgs, real_refresh = store.orgs, there.plane.publisher.refresh

        async def orgs() -> object:
            nonlocal looks
            looks += 1
            if looks <= 3:
                raise unreachable("away")
            return await real_orgs()

        async def refresh(org: str) -> object:
            refreshed.set()
            return await real_refresh(org)

        object.__setattr__(store, "orgs", orgs)
        object.__setattr__(there.plane.publisher, "refresh", refresh)
        await until(there, refreshed)
        assert looks >= 4


async def test_who_is_missing_in_the_list_of_revocations_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAINTENANCE_SECONDS", 0.02)
    async with running(tmp_path / "cp") as there:
        await there.token()
        await there.plane.administration.revoke("acme", "prod", "")  # its row alone
        async with asyncio.timeout(SECONDS):
            while not (await there.plane.publisher.content("acme")).revocations.outposts:
                await asyncio.sleep(0.02)


async def test_heads_that_cannot_be_signed_at_the_start_end_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as there, workbench(there.plane) as bench:
        api, looked = ApiRole(there.plane, bench), asyncio.Event()

        async def away() -> object:
            looked.set()
            raise unreachable("away")

        object.__setattr__(there.plane.store, "orgs", away)
        signing = asyncio.create_task(api.sign_heads())
        async with asyncio.timeout(SECONDS):
            await looked.wait()
        await asyncio.sleep(0)
        assert not signing.done()
        signing.cancel()
        await asyncio.gather(signing, return_exceptions=True)


async def test_a_file_that_is_busy_keeps_nobody_from_hearing_of_the_others_and_is_heard_of_later(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "cp", "acme", "globex") as there:
        engine, other = there.plane.store._engine, SqliteEngine(tmp_path / "cp")
        assert isinstance(engine, SqliteEngine)
        file, both = engine._file("acme"), asyncio.Event()
        real, heard = file.look, list[str]()

        async def busy(sql: str, org: str) -> Value:
            if "globex" in heard:
                return await real(sql, org)
            raise DatabaseError("the database acme.db refused (SQLITE_BUSY)")

        def hear(org: str) -> None:
            heard.append(org)
            if {"acme", "globex"} <= set(heard):
                both.set()

        listening = asyncio.create_task(engine.listen(hear))
        async with asyncio.timeout(SECONDS):
            while not heard:
                await asyncio.sleep(0.01)
            object.__setattr__(file, "look", busy)
            for org in ("acme", "globex"):
                async with other.org(org, write=True) as session:
                    await _grow(session)
            await both.wait()
        assert not listening.done()
        assert heard.index("globex") < heard.index("acme")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await other.close()


async def _grow(session: Session) -> None:
    await session.execute("UPDATE heads SET number = number + 1 WHERE org = $1")
