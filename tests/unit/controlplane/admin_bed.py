"""The admin API without listeners: its dispatcher on a temporary folder, with a clock that is set by hand.

Every answer is held against what OpenAPI says of its operation, so each test is a test of the documented statuses too.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyotp

from controlplane.bootstrap.key_places import VaultKeys
from controlplane.bootstrap.workbench import acts_signer
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.pace import Pace
from controlplane.domain.rbac import Principal, PrincipalKind, Role
from controlplane.ports.store import Store
from controlplane.services.acts import ActLog
from controlplane.services.administer import Door
from controlplane.services.authorities import Authorities
from controlplane.services.certification import Certifier
from controlplane.services.ingresses import IngressDesk
from controlplane.services.judging import PolicyJudge
from controlplane.services.persons import Persons
from controlplane.services.setup import Setup
from controlplane.services.sign_in import Instruments, SignIn
from controlplane.services.tokens import Tokens
from controlplane.services.trust import TrustBoard
from controlplane.store.seal import KekSeal
from controlplane.store.sealing import Keyring
from controlplane.store.session import Engine
from controlplane.store.sqlite import SqliteEngine
from controlplane.store.store import DatabaseStore
from controlplane.store.token_keys import StoredTokenKeys
from controlplane.web.api.calls import Answer, Call, parsed
from controlplane.web.api.context import Origin, Workbench
from controlplane.web.api.dispatch import Dispatcher, Rates
from controlplane.web.api.openapi import document, statuses_of
from controlplane.web.api.registry import named
from tests.fakes.passwords import QuickPasswords
from tests.unit.controlplane.bed import ENDPOINT, TRUST_DOMAIN, Chance, HandClock

PASSWORD = "correct horse " + "battery staple"
PROVIDER = "http://127.0.0.1:9/v1"
STEP_MS = 30_000


@dataclass
class Person:
    """A user who can sign in."""

    org: str
    name: str
    id: str
    role: Role
    secret: str
    token: str = ""


@dataclass
class AdminBed:
    clock: HandClock
    engine: Engine
    store: DatabaseStore
    keyring: Keyring
    bench: Workbench
    dispatcher: Dispatcher
    passwords: QuickPasswords
    pauses: list[float]
    setup: Setup
    board: TrustBoard
    answers: list[Answer] = field(default_factory=list)

    async def call(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        *,
        token: str = "",
        local: str = "",
        **more: str,
    ) -> Answer:
        """Carry out an operation as the holder of a token, or as a local user."""
        operation = named(name)
        texts = {key: str(value) for key, value in (params or {}).items()}

        async def read_body() -> Mapping[str, object]:
            return parsed(operation, orjson.dumps(body or {}))

        answer = await self.dispatcher.answer(
            Call(
                operation=operation,
                origin=Origin(more.pop("source", "192.0.2.1"), secrets.token_hex(12)),
                path={key: value for key, value in texts.items() if key in operation.path_fields},
                query={key: value for key, value in texts.items() if key not in operation.path_fields},
                read_body=read_body,
                token=token,
                local=local_user(local) if local else None,
                **more,  # type: ignore[arg-type]
            )
        )
        assert answer.status in statuses_of(operation), (name, answer)
        orjson.dumps(answer.document)
        self.answers.append(answer)
        return answer

    async def ok(self, name: str, *args: Any, **options: Any) -> Any:
        """The document of a call that must succeed."""
        answer = await self.call(name, *args, **options)
        assert answer.status < 300, (name, answer)
        return answer.document

    async def refused(self, name: str, *args: Any, **options: Any) -> tuple[int, str]:
        """Status and code of a call that must not."""
        answer = await self.call(name, *args, **options)
        assert answer.status >= 400, (name, answer)
        return answer.status, str(answer.document.get("code", answer.document.get("error")))

    async def org(self, name: str, *, two_person: bool = False) -> None:
        """Make an org."""
        body = {"org": name, "provider_urls": [PROVIDER], "two_person": two_person}
        await self.ok("orgs.create", None, body, local="root")

    async def person(self, org: str, name: str, role: Role = Role.OWNER) -> Person:
        """A user who has signed in; made behind the two-person rule's back, as an org begins."""
        async with self.store.for_org(org).write() as transaction:
            invited = await Persons(self.store, self.clock, Chance()).invite(transaction, name, role)
        return await self.first_sign_in(org, name, invited.code)

    async def first_sign_in(self, org: str, name: str, code: str) -> Person:
        """A user who uses his sign-in code."""
        who = {"org": org, "user": name, "code": code}
        shown = await self.ok("sessions.activate", None, {**who, "password": PASSWORD})
        async with self.store.for_org(org).read() as transaction:
            user = await transaction.users.find(name)
        person = Person(org, name, user.id, user.role, shown["secret"])
        await self.ok("sessions.confirm", None, {**who, "totp": self.otp(person)})
        await self.sign_in(person)
        return person

    async def sign_in(self, person: Person) -> str:
        """A fresh token; time moves by a step, since a one-time password works once."""
        self.clock.ms += STEP_MS
        body = {"org": person.org, "user": person.name, "password": PASSWORD, "totp": self.otp(person)}
        person.token = (await self.ok("sessions.create", None, body))["access_token"]
        return person.token

    def otp(self, person: Person) -> str:
        """What the authenticator shows now."""
        return pyotp.TOTP(person.secret).at(self.clock.ms // 1000)

    async def machine(self, org: str, name: str, role: Role, **wish: Any) -> tuple[str, str, str]:
        """Id, secret and token of a machine client."""
        made = await self.ok("clients.create", {"org": org}, {"name": name, "role": role.value, **wish}, local="root")
        return made["id"], made["secret"], await self.machine_token(made["id"], made["secret"])

    async def machine_token(self, client_id: str, secret: str, **form: str) -> str:
        """A token of a machine client."""
        body = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, **form}
        return str((await self.ok("oauth.token", None, body))["access_token"])

    async def acts(self, org: str) -> list[Any]:
        """Every record of a log, oldest first."""
        rows = (await self.ok("acts.list", {"org": org, "limit": 200}, local="root"))["acts"]
        return [row["record"] for row in reversed(rows)]


def local_user(name: str) -> Principal:
    """Somebody who has the files."""
    return Principal(PrincipalKind.LOCAL, f"local/{name}", name, "", Role.OWNER)


def no_limit() -> Rates:
    """Rates that nobody reaches."""
    return Rates(Pace(1e6, 1_000_000), Pace(1e6, 1_000_000))


@asynccontextmanager
async def admin_bed(
    folder: Path, *orgs: str, engine: Engine | None = None, rates: Rates | None = None, now_ms: int = 0
) -> AsyncIterator[AdminBed]:
    """A control plane with these orgs, which one person alone administers."""
    clock, chance, passwords = HandClock(), Chance(), QuickPasswords()
    clock.ms = now_ms or clock.ms
    keyring = Keyring(folder / "kek")
    keyring.create()
    engine = engine or SqliteEngine(folder)
    store = DatabaseStore(engine, keyring)
    certifier, maker = Certifier(store, clock, chance, TRUST_DOMAIN), VaultKeys()
    setup = Setup(store, clock, certifier, maker)
    await setup.create(("127.0.0.1",), root_stays=True)
    board = TrustBoard(store, clock, TRUST_DOMAIN)
    await board.refresh()
    await store.add_org(OPERATOR, clock.now_ms())
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.ms += int(seconds * 1000)

    async def is_served() -> bool:
        return False

    seal = KekSeal(keyring)

    async def door() -> Door:
        return Door(ENDPOINT, board.current.pin, keyring.pepper())

    port: Store = store
    bench = Workbench(
        store=port,
        clock=clock,
        chance=chance,
        seal=seal,
        acts=ActLog(port, TRUST_DOMAIN, await acts_signer(store.vault), clock),
        tokens=Tokens(StoredTokenKeys(port), TRUST_DOMAIN, clock),
        sign_in=SignIn(Instruments(port, passwords, seal, clock, chance, TRUST_DOMAIN, pause)),
        trust_domain=TRUST_DOMAIN,
        witness=await setup.witness(),
        door=door,
        silent_ms=30_000,
        is_served=is_served,
        describe=document,
        authorities=Authorities(store, board, certifier, maker),
        ingresses=IngressDesk(store, board, certifier),
        judge=PolicyJudge(clock),
    )
    dispatcher = Dispatcher(bench, rates or no_limit())
    made = AdminBed(clock, engine, store, keyring, bench, dispatcher, passwords, pauses, setup, board)
    try:
        for org in orgs:
            await made.org(org)
        yield made
    finally:
        bench.judge.close()
        await store.close()
