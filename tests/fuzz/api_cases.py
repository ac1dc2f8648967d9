"""Requests that schemathesis makes from the OpenAPI document, sent to a real API with the tokens of two orgs.

Half of them fit the document, half break it. Names of things that exist, own ones and the other org's, stand in about
half of the paths, so that requests get past the look-up. Counted are server errors, statuses that the operation does
not document, answers that do not fit their schema, and rows of the other org in an answer.
"""

import asyncio
import base64
import contextlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import Role
from controlplane.web.api.openapi import document, statuses_of
from controlplane.web.api.operation import Scope
from controlplane.web.api.registry import named
from tests.integration.api_server import CA_FILE, api_site

ORGS = ("acme", "globex")
MARK = "-mark-of-"
SEED = 20261126
SECONDS = 60.0
ROUNDS = 10


@dataclass
class Found:
    """What came of it.

    Attributes:
        statuses: by operation and status.
        faults: what must not be, in words.
    """

    examples: int = 0
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    server_errors: int = 0
    undocumented: int = 0
    foreign_rows: int = 0
    malformed: int = 0


@dataclass(frozen=True)
class Target:
    """A running API.

    Attributes:
        tokens: by org, and the operator's.
        names: values of path parameters by org.
    """

    url: str
    ca_file: str
    tokens: dict[str, str]
    names: dict[str, dict[str, list[str]]]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Target]:
    """An API in a thread of its own, with two orgs that have something of everything."""
    ready, stop = threading.Event(), asyncio.Event()
    made: list[Target] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with api_site(folder, *ORGS) as site:
            tokens, names = {}, {}
            for org in (*ORGS, OPERATOR):
                _, _, tokens[org] = await site.bed.machine(org, "fuzz", Role.OWNER)
            for org in ORGS:
                names[org] = await things(site.bed, org)
            made.append(Target(site.url, str(folder / CA_FILE), tokens, names))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(SECONDS)
    try:
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(SECONDS)


async def things(bed: Any, org: str) -> dict[str, list[str]]:
    """Something of everything in an org, by the parameter that names it."""
    own = {"org": org}
    for at in range(5):
        name = f"{at}{MARK}{org}"
        await bed.ok("outposts.register", own, {"name": name}, local="root")
        await bed.ok("keys.create", own, {"name": name}, local="root")
        await bed.ok("users.create", own, {"name": name, "role": "auditor"}, local="root")
        await bed.ok("clients.create", own, {"name": name, "role": "read_only"}, local="root")
    plan = await bed.ok("releases.draft", own, {"terms": {"on_revoked": "seal"}}, local="root")
    await bed.ok("orgs.set_two_person", own, {"on": True}, local="root")
    waiting = await bed.call("routes.publish", own, {"providers": []}, local="root")
    await bed.bench.acts.sign_grown()
    named_so = [f"{at}{MARK}{org}" for at in range(5)]
    return {
        "org": [org],
        "outpost": named_so,
        "logical": named_so,
        "key": named_so,
        "user": named_so,
        "client": named_so,
        "approval": [waiting.document["id"]],
        "plan": [plan["id"], "plan-2"],
        "provider": ["default"],
        "role": ["policy", "timestamp"],
        "kind": ["root", "outposts", "servers"],
        "ingress": ["edge"],
        "sequence": ["0", "5"],
    }


def fuzz(target: Target, examples: int) -> Found:
    """Send about so many requests, the same ones for the same number."""
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document())))
    operations = [each.ok() for each in schema.get_all_operations()]
    found, each_time = Found(), max(1, examples // (2 * len(operations)))
    with requests.Session() as session:
        session.verify = target.ca_file
        for round_number in range(ROUNDS):  # a strategy may have fewer cases than are asked for
            for operation in operations:
                for mode in GenerationMode:
                    if found.examples < examples:
                        one(target, session, operation, (mode, each_time, round_number), found)
    return found


def one(target: Target, session: Any, operation: Any, plan: tuple[GenerationMode, int, int], found: Found) -> None:
    """Requests of one operation, all right or all wrong."""
    mode, count, round_number = plan
    name = operation.definition.raw["operationId"]
    chance = random.Random(f"{SEED} {name} {mode} {round_number}")
    left = [count]

    @seed(SEED + round_number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        if left[0] > 0:
            left[0] -= 1
            send(target, session, case, chance, found)

    try:
        run()
    except Exception as error:  # a strategy that has nothing wrong to make
        if "Unsatisfiable" not in type(error).__name__:
            raise


def send(target: Target, session: Any, case: Any, chance: random.Random, found: Found) -> None:
    """One request, and what is said of its answer."""
    name = case.operation.definition.raw["operationId"]
    caller = chance.choice(ORGS) if named(name).scope is not Scope.OPERATOR else OPERATOR
    place(case, target, chance, caller)
    headers = {"Authorization": f"Bearer {target.tokens[caller]}"} if chance.random() < 0.95 else hostile(chance)
    try:
        response = case.call(base_url=target.url, session=session, headers=headers, verify=target.ca_file)
    except (requests.exceptions.InvalidHeader, UnicodeError):
        return  # no client can send that
    found.examples += 1
    judge(name, caller, case, response, found)


def hostile(chance: random.Random) -> dict[str, str]:
    """No token, or something that only looks like one."""
    heads = ("[" * 3_000, '{"kid": ' * 350, '{"kid": []}', '{"kid": "x", "alg": 1e999}', "\x00" * 99, '"' * 9, "")
    head = base64.urlsafe_b64encode(chance.choice(heads).encode()).rstrip(b"=").decode()
    return chance.choice(
        ({}, {"Authorization": f"Bearer {head}.{head[:9]}.x"}, {"Authorization": "Bearer " + "." * 99})
    )


def place(case: Any, target: Target, chance: random.Random, caller: str) -> None:
    """Put names of things that exist into most paths: own ones, sometimes the other org's."""
    if not case.path_parameters:
        return
    org = caller if caller in ORGS and chance.random() < 0.85 else chance.choice(ORGS)
    for parameter in case.path_parameters:
        if parameter == "org" or chance.random() < 0.5:
            case.path_parameters[parameter] = chance.choice(target.names[org][parameter])


def judge(name: str, caller: str, case: Any, response: Any, found: Found) -> None:
    """Hold an answer against what was promised."""
    status = response.status_code
    found.statuses[name, status] += 1
    if status >= 500:
        found.server_errors += 1
        found.faults.append(f"{name}: {status} {response.text[:200]}")
    if status not in statuses_of(named(name)):
        found.undocumented += 1
        found.faults.append(f"{name}: {status} is not documented")
    others = [org for org in ORGS if org != caller]
    if caller in ORGS and any(f"{MARK}{org}" in response.text for org in others):
        found.foreign_rows += 1
        found.faults.append(f"{name}: rows of another org")
    if not case.operation.is_valid_response(response):
        found.malformed += 1
        found.faults.append(f"{name}: {status} does not fit its schema: {response.text[:200]}")
