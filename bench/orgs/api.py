"""Attempts over the admin API: by HTTPS, by the command line's own client, and by whole ``controlplane`` processes.

A token of one org asks for another org by its name; for things of another org in its own; and for its own lists, from
where a list of another org was left. The first two are held against the answer for what does not exist.
"""

import asyncio
import contextlib
import os
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.fleet.site import BenchError
from bench.orgs.tally import Tally, traces_in
from bench.orgs.world import ORGS, Org, ok
from certs.shell.private_files import create_private_file
from certs.shell.tls import client_context
from controlplane.bootstrap.local import local_api
from controlplane.cli.remote import RemoteApi, path_of
from controlplane.domain.rbac import Role
from controlplane.web.api.operation import AnyOperation, Scope
from controlplane.web.api.registry import every_operation
from tests.unit.controlplane.test_rbac_matrix import BODIES

SECONDS = 60.0
OPERATIONS = [each for each in every_operation() if each.scope in (Scope.ORG, Scope.SPACE)]
NAMED = {"outpost", "logical", "key", "user", "client", "approval", "plan"}  # what is one org's only
NAMING = [each for each in OPERATIONS if {*each.path_fields, *each.query_fields} & NAMED]
LISTS = [each for each in OPERATIONS if each.items and not set(each.path_fields) - {"org"}]
MISSING = dict.fromkeys(NAMED, f"op-{'0' * 16}") | {"approval": f"ap-{'0' * 12}", "plan": "plan-77"}
KINDS = {"another org": 55, "own org, another's thing": 33, "own list, another's cursor": 12}
OWNERS_SHARE = 0.8  # of the attempts; whoever may everything gets furthest
REQUEST_ID = re.compile(r"[0-9a-f]{24}")
# NAME stands for a thing of the other org, ORG for the org.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("org", "show", "ORG"),
    ("outpost", "list", "--org", "ORG"),
    ("outpost", "show", "outpost", "--org", "ORG"),
    ("outpost", "revoke", "outpost", "--org", "ORG", "--yes"),
    ("key", "list", "--org", "ORG"),
    ("key", "revoke", "key", "--org", "ORG", "--yes"),
    ("user", "list", "--org", "ORG"),
    ("user", "disable", "user", "--org", "ORG", "--yes"),
    ("client", "list", "--org", "ORG"),
    ("client", "revoke", "client", "--org", "ORG", "--yes"),
    ("approval", "list", "--org", "ORG"),
    ("approval", "show", "approval", "--org", "ORG"),
    ("release", "list", "--org", "ORG"),
    ("audit", "verify", "--org", "ORG"),
)


@dataclass(frozen=True)
class Caller:
    """A machine of an org with its token."""

    org: Org
    role: Role
    http: httpx.AsyncClient
    remote: RemoteApi
    token_file: Path


class Api:
    """Machines of every org, on a control plane that runs."""

    def __init__(self, orgs: dict[str, Org], state: Path, url: str, chance: random.Random) -> None:
        self._orgs = orgs
        self._state, self._url, self._chance = state, url, chance
        self._ca = state / "api-ca.pem"
        self._callers: dict[str, list[Caller]] = {}
        self._cursors: dict[tuple[str, str], str] = {}
        self._missing: dict[tuple[str, ...], Any] = {}
        self._stack = contextlib.AsyncExitStack()

    async def open(self, folder: Path) -> None:
        """Give everybody a token, and note where lists of each org may be gone on with."""
        folder.mkdir(mode=0o700)
        tls = client_context(self._ca.read_bytes())
        async with local_api(self._state) as api:
            for org in self._orgs.values():
                self._callers[org.name] = []
                for role, client_id, secret in org.machines:
                    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
                    token = (await ok(api, "oauth.token", {}, form))["access_token"]
                    headers = {"Authorization": f"Bearer {token}"}
                    http = httpx.AsyncClient(base_url=self._url, verify=tls, headers=headers, timeout=SECONDS)
                    await self._stack.enter_async_context(http)
                    file = folder / client_id
                    create_private_file(file, token.encode())
                    self._callers[org.name].append(Caller(org, role, http, RemoteApi(http, self._url), file))
                for operation in LISTS:
                    page = await api.call(operation.name, {"org": org.name, "limit": 1})
                    self._cursors[org.name, operation.name] = str(page.document.get("next_cursor", ""))

    async def close(self) -> None:
        """Let everything go."""
        await self._stack.aclose()

    async def attempt(self, tally: Tally, surface: str) -> None:
        """One attempt of a random machine at a random org; ``surface`` is rest or cli."""
        chance = self._chance
        caller, victim = self._pair()
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "own list, another's cursor":
            operation = chance.choice(LISTS)
            params = {"org": caller.org.name, "limit": "200"}
            cursor = self._cursors[victim.name, operation.name]
            params |= {"cursor": cursor} if cursor and chance.random() < 0.5 else {}
            missing: dict[str, str] = {}
        elif kind == "another org":
            operation = chance.choice(OPERATIONS)
            params = {name: chance.choice(victim.names[name]) for name in operation.path_fields}
            missing = {**params, "org": "nobody"}
            tally.operations.add(operation.name)
        else:
            operation = chance.choice(NAMING)
            params = _theirs(operation, caller.org, victim, chance)
            missing = {name: MISSING.get(name, value) for name, value in params.items()}
        answer = await self._answered(tally, caller, surface, (operation, params))
        tally.count(surface, kind, str(answer[0]))
        await self._compare(tally, caller, (surface, kind), operation, (answer, missing))
        silent = operation.name.startswith("acts.")  # an org's own record tells what it asked for, in its own words
        if traces_in(repr(answer).encode(), tally.others(caller.org, silent=silent)):
            tally.row(f"{operation.name} of {caller.org.name} at {victim.name}: {kind}")

    async def _compare(
        self, tally: Tally, caller: Caller, how: tuple[str, str], operation: AnyOperation, pair: tuple[Any, Any]
    ) -> None:
        """Hold an answer against the one for what does not exist."""
        answer, missing = pair
        if not missing:
            return
        key = (*how, caller.org.name, caller.role.value, operation.name)
        if key not in self._missing:
            self._missing[key] = await self._answered(tally, caller, how[0], (operation, missing))
        expected = self._missing[key]
        refused = {"another org": (404,), "own org, another's thing": (403, 404)}[how[1]]
        if answer != expected or answer[0] not in refused:
            tally.differ(f"{operation.name} {how}: {answer} instead of {expected}")

    async def command(self, tally: Tally) -> None:
        """One attempt by a process of the command line."""
        chance = self._chance
        caller, victim = self._pair()
        words = chance.choice(COMMANDS)
        typed = {name: chance.choice(values) for name, values in victim.names.items() if name in NAMED}
        if is_own := bool(set(words) & NAMED - {words[0]}) and chance.random() < 0.5:
            places = [typed | {"ORG": caller.org.name}, MISSING | {"ORG": caller.org.name}]
        else:
            places = [typed | {"ORG": victim.name}, typed | {"ORG": "nobody"}]
        lines = [[words[0], words[1], *(place.get(word, word) for word in words[2:])] for place in places]
        answer = await self._ran(caller, lines[0])
        key = (
            "process",
            *((caller.org.name, caller.role.value) if is_own else ()),
            *words,
        )  # a strange org asks no role
        if key not in self._missing:
            self._missing[key] = await self._ran(caller, lines[1])
        tally.count("cli", "process", str(answer[0]))
        tally.processes += 1
        if answer != self._missing[key] or answer[0] == 0:
            tally.differ(f"{lines[0]}: {answer} instead of {self._missing[key]}")
        if traces_in(repr(answer).encode(), tally.others(caller.org)):
            tally.row(f"{lines[0]} of {caller.org.name}")

    def _pair(self) -> tuple[Caller, Org]:
        """Who asks, and whose things he is after."""
        own, other = self._chance.sample(ORGS, 2)
        callers = self._callers[own]
        owners = [each for each in callers if each.role is Role.OWNER]
        return self._chance.choice(owners if self._chance.random() < OWNERS_SHARE else callers), self._orgs[other]

    async def _answered(
        self, tally: Tally, caller: Caller, surface: str, call: tuple[AnyOperation, Mapping[str, str]]
    ) -> tuple[int, dict[str, Any]]:
        """Status and document, without the id of the request; whoever is too fast waits."""
        operation, params = call
        body = BODIES.get(operation.name, {})
        while True:
            if surface == "cli":
                found = await caller.remote.call(operation.name, params, body)
                status, document = found.status, dict(found.document)
            else:
                query = {name: value for name, value in params.items() if name not in operation.path_fields}
                path = path_of(operation, params)
                response = await caller.http.request(operation.method, path, params=query, json=body)
                status, document = response.status_code, response.json()
            if status != 429:
                return status, {**document, "instance": ""}
            tally.again["429"] += 1
            await asyncio.sleep(1)

    async def _ran(self, caller: Caller, words: list[str]) -> tuple[int, str]:
        """Exit code and output of a command, without the id of the request."""
        where = ("--api", self._url, "--ca-file", str(self._ca), "--token-file", str(caller.token_file), "--json")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CONTROLPLANE_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", *words, *where),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        if b"Traceback" in out or process.returncode is None:
            raise BenchError(out.decode())
        return process.returncode, REQUEST_ID.sub("", out.decode())


def _theirs(operation: AnyOperation, own: Org, victim: Org, chance: random.Random) -> dict[str, str]:
    """Parameters that name a thing of another org in the own one."""
    names = {*operation.path_fields, *(NAMED & set(operation.query_fields))}
    found = {name: own.name if name == "org" else chance.choice(victim.names[name]) for name in sorted(names)}
    if "plan" in found:  # every org counts its own from one
        found["plan"] = chance.choice(
            [each for each in victim.names["plan"] if each not in own.names["plan"]] or ["plan-88"]
        )
    return found
