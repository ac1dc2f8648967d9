"""A gateway on loopback with the real ledger, the real detectors and the simulator behind it."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from openai import AsyncOpenAI

from controlplane.domain.releases import first_release
from outpost.bootstrap.world import SystemChance, SystemClock
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.documents import DetectorsDocument, Provider, RoutesDocument, build_detectors, build_routes
from outpost.core.bundle.kill import KillDocument, KillList, build_kill
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import RoleKeys, SignedSet, VerifiedSet
from outpost.core.bundle.release_document import Release, SelfTest
from outpost.core.bundle.revocations import RevocationsDocument, build_revocations
from outpost.core.bundle.rollout import RolloutDocument, build_rollout
from outpost.core.bundle.trust import OrgState, State
from outpost.core.detect.pattern import Scanner
from outpost.core.detect.rules import RULES
from outpost.core.policy.document import canonical_bytes, parse_document
from outpost.core.program import OrgProgram, build
from outpost.gateway import canary, server
from outpost.gateway.context import Gateway, GatewayOptions, GatewayPorts, OrgFunctions
from outpost.gateway.upstream import AiohttpUpstream
from outpost.ledger.door import LocalLedger
from outpost.ledger.identity import create_identity
from outpost.ledger.ledger import Ledger
from outpost.ledger.reader import iterate
from outpost.secrets.files import FileSecrets
from outpost.simulator.server import Simulator

ORG = "acme"
OTHER_ORG = "globex"
CARD = " ".join(["4111", "1111", "1111", "1111"])
EMAIL = "ada.lovelace@" + "example.com"
EMAIL_2 = "grace.hopper@" + "example.org"
AWS_KEY = "AKIA" + "QWERTYUIOPASDFGH"
KEYS = {
    name: f"op_{ORG}_" + name.ljust(43, "k") for name in ("main", "narrow", "expired", "revoked", "future", "human")
}
OTHER_KEY = f"op_{OTHER_ORG}_" + "k" * 43


def rule(name: str, action: str, applies_to: str, **conditions: Any) -> dict[str, Any]:
    return {"id": name, "action": action, "applies_to": applies_to, "conditions": conditions}


SECRETS = ["aws_access_key", "api_key", "private_key", "jwt", "connection_string"]
DEFAULT_RULES = (
    rule("cards", "BLOCK", "both", entity_types=["credit_card"]),
    rule("secrets", "BLOCK", "both", entity_types=SECRETS),
    rule("mail", "REDACT", "input", entity_types=["email"]),
)


def policy(org: str, rules: tuple[dict[str, Any], ...], default: str = "ALLOW") -> bytes:
    numbered = [{**each, "sequence": 10 * place} for place, each in enumerate(rules, 1)]
    return orjson.dumps(
        {
            "schema": "outpost.policy/1",
            "org": org,
            "default": {"input": default, "output": "ALLOW"},
            "combining": "first_applicable",
            "packs": [{"id": "base", "name": "Base", "kind": "custom", "rules": numbered}],
            "org_chain": ["base"],
        }
    )


def client_key(name: str, text: str, **changes: Any) -> ClientKey:
    key = ClientKey(
        id=f"key-{name}",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        name=name,
        user="",
        groups=("staff",),
        agent="",
        channel="api",
        data_class="internal",
        models=(),
        not_before=0,
        expires=4_000_000_000,
        revoked=False,
    )
    return replace(key, **changes)


def client_keys(org: str) -> tuple[ClientKey, ...]:
    if org == OTHER_ORG:
        return (client_key("other", OTHER_KEY),)
    return (
        client_key("main", KEYS["main"]),
        client_key("narrow", KEYS["narrow"], models=("gpt-4o*",)),
        client_key("expired", KEYS["expired"], expires=1_000),
        client_key("revoked", KEYS["revoked"], revoked=True),
        client_key("future", KEYS["future"], not_before=3_900_000_000),
        client_key("human", KEYS["human"], channel="interactive"),
    )


@cache
def shared_database() -> Scanner:
    return Scanner.compile(RULES)


def verified_set(
    org: str,
    base_url: str,
    rules: tuple[dict[str, Any], ...] = DEFAULT_RULES,
    *,
    default: str = "ALLOW",
    per_minute: int = 0,
    max_body_bytes: int = 1_048_576,
    read_timeout_ms: int = 5_000,
    version: int = 1,
    killed: KillList | None = None,
) -> VerifiedSet:
    """What a verified configuration holds; signatures are another test's business."""
    release = Release(
        org=org,
        version=version,
        fallback=None,
        required_tiers=(1,),
        seal_after_seconds=None,
        max_body_bytes=max_body_bytes,
        self_tests=(SelfTest(f"pay with {CARD}", "credit_card"),),
        resources={},
    )
    provider = Provider("sim", "openai", base_url, "sim-key", ("gpt-*",), 2_000, read_timeout_ms)
    routes = build_routes(RoutesDocument(org, (provider,)))
    resources = {
        names.PACKS: canonical_bytes(parse_document(policy(org, rules, default))),
        names.ROUTES: routes,
        names.DETECTORS: build_detectors(DetectorsDocument(org, "builtin-1", ())),
        names.CAPS: build_caps(CapsDocument(org)),
    }
    kills = {hashlib.sha256(routes).hexdigest(): killed} if killed is not None else {}
    return verified_of(
        {
            **first_release(release, resources),
            names.KEYS_PATH: build_access(AccessDocument(org, client_keys(org), per_minute)),
            names.REVOCATIONS_PATH: build_revocations(RevocationsDocument(org)),
            names.KILL_PATH: build_kill(KillDocument(org, kills)),
            names.ROLLOUT_PATH: build_rollout(RolloutDocument(org, version)),
        },
        org,
    )


def verified_of(documents: dict[str, bytes], org: str = ORG) -> VerifiedSet:
    content = read_documents(documents, org)
    return VerifiedSet(
        org=org,
        revision=f"{content.rollout.stable}.1",
        chosen=content.stable,
        content=content,
        documents=documents,
        versions={names.SNAPSHOT: 1},
        role_keys={names.POLICY: RoleKeys(1, {})},
        signed_at_ms=1,
        timestamp_expires_ms=4_000_000_000_000,
        signed=SignedSet({}, documents),
        listing={},
    )


def program(org: str = ORG, base_url: str = "http://127.0.0.1:9/v1", **settings: Any) -> OrgProgram:
    return build(verified_set(org, base_url, **settings), shared_database().clone())


@dataclass
class Stack:
    """Everything that a test needs."""

    folder: Path
    simulator: Simulator
    ledger: Ledger
    gateway: Gateway
    states: dict[str, OrgState] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def configure(self, org: str = ORG, base_url: str = "", **settings: Any) -> None:
        self.gateway.programs.put(program(org, base_url or self.simulator.url, **settings))

    def client(self, key: str = KEYS["main"], **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.url, api_key=key, **options)

    async def records(self, org: str = ORG) -> list[dict[str, Any]]:
        """What stands in the log on disk, once the background records are written."""
        while self.gateway.in_flight.count:  # a client may see the end of a stream before the handler returns
            await asyncio.sleep(0)
        await asyncio.gather(*self.gateway.background)
        self.ledger.log(org).checkpoint()
        return [orjson.loads(data) for data in iterate(self.folder / "orgs" / org / "audit")]

    async def events(self, org: str = ORG) -> list[str]:
        return [record["event"] for record in await self.records(org)]

    def seen(self) -> list[dict[str, Any]]:
        return [orjson.loads(each.body) for each in self.simulator.seen]


def _gateway(folder: Path, ledger: Ledger, upstream: AiohttpUpstream, states: dict[str, OrgState]) -> Gateway:
    clock = SystemClock()
    ports = GatewayPorts(LocalLedger(ledger), upstream, FileSecrets(folder / "secrets"), clock, SystemChance())
    functions = OrgFunctions(
        state_of=lambda org: states.get(org, OrgState(State.ACTIVE)),
        outpost_of=lambda _org: "op-0123456789abcdef",
        certificate_expires_ms=lambda _org: clock.now_ms() + 1_000_000,
    )
    return Gateway(ports, functions, lambda: (ORG, OTHER_ORG), GatewayOptions(version="test", reply_seconds=20))


@contextlib.asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[Stack]:
    """Start simulator, ledger and gateway; stop them in order."""
    (folder / "secrets").mkdir()
    (folder / "secrets" / "sim-key").write_text("provider-secret\n")
    for org in (ORG, OTHER_ORG):
        create_identity(folder / "orgs" / org / "audit", f"outpost.internal/org/{org}/outpost/op-0123456789abcdef")
    ledger = Ledger(folder / "orgs")
    ledger.open_all()
    simulator = Simulator()
    await simulator.start()
    upstream = AiohttpUpstream()
    states: dict[str, OrgState] = {}
    made = Stack(folder, simulator, ledger, _gateway(folder, ledger, upstream, states), states)
    made.configure()
    made.configure(OTHER_ORG)
    await canary.run_once(made.gateway)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    made.port = listener.getsockname()[1]
    runner: web.AppRunner = await server.serve(made.gateway, listener, None)
    try:
        yield made
    finally:
        await made.gateway.drain(1.0)
        await runner.cleanup()
        await upstream.close()
        await simulator.stop()
        ledger.close()
