"""A whole control plane without listeners, on a temporary folder and with a clock that is set by hand."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from certs.csr import build_request
from certs.join_token import JoinToken, parse
from certs.shell.signers import generate_signing_key, generate_tls_key
from controlplane.bootstrap.key_places import VaultKeys
from controlplane.domain.join import DEFAULT_TTL_MS
from controlplane.domain.orgs import OPERATOR
from controlplane.services.administer import Administration, Door, Terms
from controlplane.services.authorities import Authorities
from controlplane.services.ceremonies import Ceremonies
from controlplane.services.certification import Certifier
from controlplane.services.clones import Clones
from controlplane.services.configuration import Publisher
from controlplane.services.defaults import default_provider
from controlplane.services.delivery import DeliveryDesk
from controlplane.services.enroll import Enrolled, Enrollment, EnrollmentCall
from controlplane.services.identity import Gatekeeper, Principal
from controlplane.services.ingest import Ingest
from controlplane.services.issuance import OutpostIssuer
from controlplane.services.locks import Locks
from controlplane.services.recover import Recovery
from controlplane.services.renew import Renewal, RenewalCall
from controlplane.services.setup import Setup
from controlplane.services.trust import TrustBoard
from controlplane.services.views import Views
from controlplane.services.words import Words
from controlplane.store.sealing import Keyring
from controlplane.store.session import Engine
from controlplane.store.sqlite import SqliteEngine
from controlplane.store.store import DatabaseStore
from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.core.audit.note import Checkpoint, NoteSigner, sign_checkpoint
from outpost.core.audit.record import OutpostStarted, RecordHead

START_MS = 1_795_000_000_000
TRUST_DOMAIN = "outpost.internal"
ENDPOINT = "127.0.0.1:8443"


class HandClock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


class Chance:
    def token_bytes(self, size: int) -> bytes:
        return secrets.token_bytes(size)


@dataclass
class Bed:
    clock: HandClock
    engine: Engine
    store: DatabaseStore
    keyring: Keyring
    setup: Setup
    board: TrustBoard
    authorities: Authorities
    recovery: Recovery
    clones: Clones
    locks: Locks
    publisher: Publisher
    ceremonies: Ceremonies
    administration: Administration
    issuer: OutpostIssuer
    enrollment: Enrollment
    views: Views
    gatekeeper: Gatekeeper
    renewal: Renewal
    ingest: Ingest
    words: Words
    delivery: DeliveryDesk
    door: Door

    async def token(
        self, org: str = "acme", name: str = "prod", ttl_ms: int = DEFAULT_TTL_MS, **terms: str
    ) -> JoinToken:
        return parse((await self.administration.register(org, name, Terms(ttl_ms, **terms), self.door)).token)

    def call(self, token: JoinToken, csr: bytes | None = None, **changes: object) -> EnrollmentCall:
        values: dict[str, object] = {
            "org": token.org,
            "secret": token.secret,
            "csr_der": csr or new_csr(),
            "audit_public_key": generate_signing_key().public_key().public_bytes_raw(),
            "caller_ms": self.clock.ms,
            "software_version": "1",
            "source": "192.0.2.1",
        }
        return EnrollmentCall(**{**values, **changes})  # type: ignore[arg-type]

    async def enrolled(self, name: str = "prod", **changes: object) -> Enrolled:
        return await self.enrollment.enroll(self.call(await self.token(name=name), **changes))  # type: ignore[arg-type]

    async def principal(self, enrolled: Enrolled) -> Principal:
        from controlplane.domain.outposts import Act

        return await self.gatekeeper.identify(enrolled.chain.leaf_and_issuers, Act.SYNC)


def ask(csr: bytes, sequence: int = 1, boot: str = "0" * 32, source: str = "192.0.2.1") -> RenewalCall:
    """A request for the next certificate."""
    return RenewalCall(csr, sequence, boot, source)


def new_csr() -> bytes:
    return build_request(generate_tls_key())


@asynccontextmanager
async def bed(folder: Path, *orgs: str, engine: Engine | None = None) -> AsyncIterator[Bed]:
    clock, chance = HandClock(), Chance()
    keyring = Keyring(folder / "kek")
    keyring.create()
    engine = engine or SqliteEngine(folder)
    store = DatabaseStore(engine, keyring)
    maker = VaultKeys()
    certifier = Certifier(store, clock, chance, TRUST_DOMAIN)
    setup = Setup(store, clock, certifier, maker)
    await setup.create(("127.0.0.1",), root_stays=True)
    await store.add_org(OPERATOR, START_MS)
    board = TrustBoard(store, clock, TRUST_DOMAIN)
    await board.refresh()
    publisher = Publisher(store, clock, chance)
    issuer = OutpostIssuer(TRUST_DOMAIN, lambda: board.current, chance)
    views = Views(store, clock)
    words = Words(store, clock)
    for org in orgs or ("acme",):
        await publisher.create(org, [default_provider("http://127.0.0.1:9/v1", "provider")])
    try:
        yield Bed(
            clock=clock,
            engine=engine,
            store=store,
            keyring=keyring,
            setup=setup,
            board=board,
            authorities=Authorities(store, board, certifier, maker),
            recovery=Recovery(store, issuer, keyring.derive(b"nonce"), clock),
            clones=Clones(store, clock),
            locks=Locks(store, clock),
            publisher=publisher,
            ceremonies=Ceremonies(store, clock),
            administration=Administration(store, clock, chance),
            issuer=issuer,
            enrollment=Enrollment(store, issuer, keyring.pepper(), clock),
            views=views,
            gatekeeper=Gatekeeper(store, views, lambda: board.current.anchors, clock),
            renewal=Renewal(store, issuer, clock),
            ingest=Ingest(store, TRUST_DOMAIN, await setup.witness(), clock),
            words=words,
            delivery=DeliveryDesk(store, views, words, clock),
            door=Door(ENDPOINT, board.current.pin, keyring.pepper()),
        )
    finally:
        await words.close()
        await store.close()


class Log:
    """An outpost's audit log in memory."""

    def __init__(self, origin: str, outpost: str, key: object = None) -> None:
        self.key = key or generate_signing_key()
        self.origin = origin
        self.outpost = outpost
        self.records: list[bytes] = []

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()  # type: ignore[attr-defined,no-any-return]

    def grow(self, count: int, version: str = "1") -> None:
        head = RecordHead(START_MS, "acme", self.outpost)
        body = OutpostStarted(head, version, "1.1", "ACTIVE").to_bytes()
        first = len(self.records)
        self.records += [with_sequence(body, first + at) for at in range(count)]

    def checkpoint(self, size: int | None = None, root: bytes | None = None) -> bytes:
        size = len(self.records) if size is None else size
        tree = CompactRange().extend(leaf_hash(each) for each in self.records[:size])
        signer = NoteSigner.of_key(self.origin, self.key)  # type: ignore[arg-type]
        return sign_checkpoint(Checkpoint(self.origin, size, root or tree.root()), signer)
