"""Two orgs on one control plane and one outpost: what is one org's decides, opens and records nothing else."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from controlplane.bootstrap.plane import opened
from controlplane.services.defaults import default_policy
from outpost.cli.stack import stack, wait_ready
from outpost.core.audit.merkle import TILE_WIDTH
from outpost.ledger.frames import Frame, scan
from outpost.paths import StatePaths
from tests.e2e.conftest import CARD, EMAIL, Site, install, until

A, B = "acme", "globex"
EFFECT_SECONDS = 3.0  # from the end of a command to its effect in the data path
MODELS = {A: "alpha", B: "beta"}
Sites = dict[str, Site]


def policy_of(org: str, action: str) -> str:
    """The first policy, but for what happens to e-mail addresses."""
    document = json.loads(default_policy(org))
    for rule in document["packs"][0]["rules"]:
        if rule["id"] == "personal-data":
            rule["action"] = action
            rule["conditions"] = {"entity_types": ["email"]}
    return json.dumps(document)


async def publish(sites: Sites, org: str, action: str) -> str:
    """`policy publish`; the new revision."""
    running = sites[org].stack
    file = running.folder / f"{org}-{action}.json"
    file.write_text(policy_of(org, action))
    out = await running.controlplane("policy", "publish", str(file), "--org", org, "--output", "json")
    return str(json.loads(out)["revision"])


def has(site: Site, org: str, revision: str) -> Callable[[], Awaitable[bool]]:
    async def question() -> bool:
        return bool((await site.status(org))["revision"] == revision)

    return question


def both_served(url: str) -> Callable[[], Awaitable[bool]]:
    async def question() -> bool:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as reply:
            told = (await reply.json())["orgs"]
        return all(told[org][name] == "ok" for org in (A, B) for name in ("bundle", "canary"))

    return question


async def route(sites: Sites, org: str) -> None:
    url = f"{sites[org].provider}/v1"
    models = [part for name in ("1", "*") for part in ("--model", f"{MODELS[org]}-{name}")]
    models += ["--model", "gpt-4o-mini"]
    await sites[org].stack.controlplane("route", "set", "default", "--org", org, "--url", url, *models)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sites]:
    """Both orgs are served; acme blocks e-mail addresses, globex redacts them."""
    async with stack(tmp_path_factory.mktemp("orgs") / "site") as running:
        made = await install(running, A, B)
        for org, action in ((A, "BLOCK"), (B, "REDACT")):
            await route(made, org)
            await publish(made, org, action)
        await made[A].restart("--workers", "1")
        made[B].url = made[A].url
        await wait_ready(made[A].url)
        await until(both_served(made[A].url))  # ready means: at least one is
        yield made


@contextlib.asynccontextmanager
async def steady_load(site: Site) -> AsyncIterator[list[int]]:
    """Requests one after the other; yields the statuses that were answered."""
    statuses: list[int] = []

    async def ask() -> None:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {site.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                async with session.post(f"{site.base_url}/chat/completions", json=body) as reply:
                    await reply.read()
                    statuses.append(reply.status)

    asking = asyncio.create_task(ask())
    try:
        yield statuses
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def ask_model(site: Site, model: str) -> tuple[int, dict[str, Any]]:
    return await site.post(json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode())


def local_records(site: Site, org: str) -> list[bytes]:
    """Every record of an org's log, from its segments."""
    segments = StatePaths(site.stack.outpost_state()).org(org).audit / "segments"
    files = sorted(segments.glob("*.segment"))
    return [item.payload for path in files for item in scan(path.read_bytes()) if isinstance(item, Frame)]


async def uploaded_records(site: Site, org: str) -> list[bytes]:
    """Every record of an org that the control plane stores, exact bytes."""
    found: list[bytes] = []
    async with opened(site.stack.controlplane_state) as plane, plane.store.for_org(org).read() as transaction:
        for outpost in await transaction.outposts.all():
            head = await transaction.audit.head(outpost.id)
            size = head.size if head is not None else 0
            for first in range(0, size, TILE_WIDTH):
                found += await transaction.audit.entries(outpost.id, first, min(TILE_WIDTH, size - first))
    return found


@pytest.mark.asyncio(loop_scope="module")
class TestTwoOrgs:
    async def test_a_key_shows_the_models_of_its_own_org_only(self, sites: Sites) -> None:
        for org, site in sites.items():
            headers = {"Authorization": f"Bearer {site.key}"}
            url = f"{site.base_url}/models"
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as reply:
                listed = {model["id"] for model in (await reply.json())["data"]}
            assert listed == {f"{MODELS[org]}-1", "gpt-4o-mini"}

    async def test_a_model_of_the_other_org_does_not_exist(self, sites: Sites) -> None:
        await sites[A].seen()
        for org, other in ((A, B), (B, A)):
            assert (await ask_model(sites[org], f"{MODELS[org]}-1"))[0] == 200
            status, answer = await ask_model(sites[org], f"{MODELS[other]}-1")
            assert (status, answer["error"]["code"]) == (404, "model.unknown")
        assert [json.loads(seen["body"])["model"] for seen in await sites[A].seen()] == ["alpha-1", "beta-1"]

    async def test_a_key_is_nobody_under_the_other_orgs_name(self, sites: Sites) -> None:
        await sites[A].seen()
        for org, other in ((A, B), (B, A)):
            renamed = sites[org].key.replace(f"op_{org}_", f"op_{other}_")
            assert renamed != sites[org].key
            status, answer = await Site(sites[org].stack, sites[org].url, renamed, "").chat("hello")
            assert (status, answer["error"]["code"]) == (401, "auth.unknown_key")
        assert await sites[A].seen() == []

    async def test_the_policy_of_the_callers_org_decides(self, sites: Sites) -> None:
        await sites[A].seen()
        status, answer = await sites[A].chat(f"write to {EMAIL}")
        assert (status, answer["error"]["code"]) == (403, "policy.blocked")
        assert await sites[A].seen() == []
        status, answer = await sites[B].chat(f"write to {EMAIL}")
        assert (status, EMAIL in answer["choices"][0]["message"]["content"]) == (200, True)
        (seen,) = await sites[B].seen()
        assert "[EMAIL_1]" in seen["body"]
        assert EMAIL not in seen["body"]

    async def test_the_audit_log_of_an_org_holds_nothing_of_the_other(self, sites: Sites) -> None:
        asked: dict[str, set[str]] = {A: set(), B: set()}
        for org, site in sites.items():
            for _ in range(3):
                asked[org].add((await site.chat(f"my card is {CARD}"))[1]["error"]["request_id"])

        async def caught_up() -> bool:
            held = {org: await uploaded_records(sites[org], org) for org in (A, B)}
            return all(asked[org] <= ids(held[org]) for org in (A, B))

        await until(caught_up)
        for org, other in ((A, B), (B, A)):
            local = local_records(sites[org], org)
            uploaded = await uploaded_records(sites[org], org)
            assert uploaded == local[: len(uploaded)]
            assert {json.loads(record)["org"] for record in local} == {org}
            assert asked[org] <= ids(uploaded)
            assert not asked[other] & ids(local)
            assert not any(f'"{other}"'.encode() in record for record in local)
            assert await sites[org].audited(org) >= len(uploaded)
        assert {log["org"] for log in (await sites[A].verify_audit())["logs"]} == {A, B}

    async def test_a_revoked_key_stops_and_the_other_org_notices_nothing(self, sites: Sites) -> None:
        running = sites[A].stack
        doomed = await running.create_key(A, name="leaver")
        leaver = Site(running, sites[A].url, doomed, sites[A].provider)

        async def status() -> int:
            return (await leaver.chat("hello"))[0]

        async def accepted() -> bool:
            return await status() == 200

        async def refused() -> bool:
            return await status() == 401

        await until(accepted, EFFECT_SECONDS)
        async with steady_load(sites[B]) as others:
            await running.controlplane("key", "revoke", "leaver", "--org", A, "--yes")
            began = time.monotonic()
            await until(refused, EFFECT_SECONDS)
            assert time.monotonic() - began <= EFFECT_SECONDS
            served = len(others)
            await until(lambda: _longer(others, served))
        assert set(others) == {200}
        assert (await leaver.chat("hello"))[1]["error"]["code"] == "auth.revoked"
        assert (await sites[A].chat("hello"))[0] == 200

    async def test_a_published_policy_arrives_while_requests_go_on(self, sites: Sites) -> None:
        site, running = sites[B], sites[B].stack
        before = (await site.status(B))["revision"]
        other_before = (await site.status(A))["revision"]
        async with steady_load(site) as mine, steady_load(sites[A]) as others:
            revision = await publish(sites, B, "BLOCK")
            began = time.monotonic()
            await until(has(site, B, revision), EFFECT_SECONDS)
            assert time.monotonic() - began <= EFFECT_SECONDS
            assert (await site.chat(f"write to {EMAIL}"))[0] == 403
            back = await publish(sites, B, "REDACT")
            await until(has(site, B, back), EFFECT_SECONDS)
            assert (await site.chat(f"write to {EMAIL}"))[0] == 200
        assert len({before, revision, back}) == 3
        assert set(mine) == set(others) == {200}
        assert (await site.status(A))["revision"] == other_before
        shown = json.loads(await running.controlplane("outpost", "show", "outpost", "--org", B, "--output", "json"))
        assert shown["delivery"]["revision"] == back


async def _longer(statuses: list[int], than: int) -> bool:
    return len(statuses) > than


def ids(records: list[bytes]) -> set[str]:
    return {str(json.loads(record).get("request_id", "")) for record in records}
