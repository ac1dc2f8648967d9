"""An org's token on another org's names: nothing comes back, and the answer is that for what does not exist.

``CROSS_ORG_ATTEMPTS=10000`` runs as many; without it a short form. Half of the attempts go through the command line's
own client.
"""

import contextlib
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.cli.remote import RemoteApi
from controlplane.domain.rbac import Role
from controlplane.web.api.operation import AnyOperation, Scope
from controlplane.web.api.registry import every_operation
from tests.integration.api_server import Site, api_site
from tests.unit.controlplane.test_rbac_matrix import BODIES

ATTEMPTS = int(os.environ.get("CROSS_ORG_ATTEMPTS", "500"))
SEED = 20261126
OPERATIONS = [each for each in every_operation() if each.scope in (Scope.ORG, Scope.SPACE)]
CANARY = "globex-canary"
SECONDS = 120 + ATTEMPTS // 10


async def filled(site: Site, org: str) -> dict[str, list[str]]:
    """Things of an org, by the parameter that names them."""
    bed, own = site.bed, {"org": org}
    user = await bed.person(org, f"{org}-canary-user", Role.AUDITOR)
    outpost = await bed.ok("outposts.register", own, {"name": f"{org}-canary"}, local="root")
    key = await bed.ok("keys.create", own, {"name": f"{org}-canary-key", "groups": [f"{org}-canary"]}, local="root")
    client, _, _ = await bed.machine(org, f"{org}-canary-client", Role.READ_ONLY)
    draft = {"title": f"{org}-canary", "terms": {"on_revoked": "seal"}}
    plan = await bed.ok("releases.draft", own, draft, local="root")
    await bed.ok("orgs.set_two_person", own, {"on": True}, local="root")
    approval = await bed.call("routes.publish", own, {"providers": []}, local="root")
    await bed.bench.acts.sign_grown()
    return {
        "org": [org],
        "outpost": [outpost["outpost"], f"{org}-canary"],
        "logical": [f"{org}-canary"],
        "key": [key["id"], f"{org}-canary-key"],
        "user": [user.id, user.name],
        "client": [client, f"{org}-canary-client"],
        "approval": [approval.document["id"]],
        "plan": [plan["id"]],
        "provider": ["default"],
        "role": ["policy", "timestamp"],
        "sequence": ["0", "1", "99999"],
    }


def chosen(chance: random.Random, operation: AnyOperation, org: str, things: dict[str, list[str]]) -> dict[str, str]:
    return {name: org if name == "org" else chance.choice(things[name]) for name in operation.path_fields}


async def answer(
    site: Site, client: RemoteApi, how: str, operation: AnyOperation, params: dict[str, str], token: str
) -> Any:
    body = BODIES.get(operation.name, {})
    if how == "cli":
        found = await client.call(operation.name, params, body)
        return found.status, dict(found.document)
    path = operation.path.format_map(params)
    response = await site.call(operation.method, path, token, json=body)
    return response.status_code, response.json()


def same(first: Any, second: Any) -> bool:
    """Whether two answers differ in nothing but the id of the request."""
    (status, document), (other_status, other) = first, second
    return status == other_status and {**document, "instance": ""} == {**other, "instance": ""}


@pytest.mark.timeout(SECONDS)
async def test_a_foreign_org_is_a_missing_one(tmp_path: Path) -> None:
    chance, seen, rows = random.Random(SEED), Counter[int](), 0
    async with api_site(tmp_path, "acme", "globex") as site, contextlib.AsyncExitStack() as open_clients:
        theirs = await filled(site, "globex")
        callers = []
        for role in Role:
            token = (await site.bed.person("acme", role.value.replace("_", "-"), role)).token
            headers = {"Authorization": f"Bearer {token}"}
            http = httpx.AsyncClient(base_url=site.url, verify=site.tls, headers=headers)
            callers.append((token, RemoteApi(await open_clients.enter_async_context(http), site.url)))
        for at in range(ATTEMPTS):
            (token, client), operation = chance.choice(callers), chance.choice(OPERATIONS)
            params, how = chosen(chance, operation, "globex", theirs), "cli" if at % 2 else "rest"
            foreign = await answer(site, client, how, operation, params, token)
            missing = await answer(site, client, how, operation, {**params, "org": "nobody"}, token)
            assert same(foreign, missing), operation.name
            assert (foreign[0], foreign[1]["code"]) == (404, "org.unknown"), operation.name
            rows += CANARY in str(foreign)
            seen[foreign[0]] += 1
        assert (seen, rows) == (Counter({404: ATTEMPTS}), 0)
        untouched = await site.bed.ok("outposts.show", {"org": "globex", "outpost": "globex-canary"}, local="root")
        assert untouched["state"] == "pending"


@pytest.mark.timeout(SECONDS)
async def test_a_foreign_name_in_the_own_org_is_an_unknown_one(tmp_path: Path) -> None:
    chance, rows = random.Random(SEED), 0
    async with api_site(tmp_path, "acme", "globex") as site:
        theirs = await filled(site, "globex")
        unknown = {name: ["op-" + "0" * 16] for name in theirs} | {
            "sequence": ["77777"],
            "approval": ["ap-" + "0" * 12],
            "plan": ["plan-77"],
        }
        alice = await site.bed.person("acme", "alice")
        naming = [
            each for each in OPERATIONS if set(each.path_fields) & {"outpost", "key", "user", "client", "approval"}
        ]
        client = RemoteApi(site.client, site.url)
        for _ in range(ATTEMPTS // 5):
            operation = chance.choice(naming)
            foreign = await answer(
                site, client, "rest", operation, chosen(chance, operation, "acme", theirs), alice.token
            )
            missing = await answer(
                site, client, "rest", operation, chosen(chance, operation, "acme", unknown), alice.token
            )
            assert foreign[0] == missing[0] == 404, (operation.name, foreign)
            assert same(foreign, missing), operation.name
            rows += CANARY in str(foreign)
        assert rows == 0
