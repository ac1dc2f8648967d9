"""Every engine of the store: a place where data lies, and stores on it, each as another process would open it."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from controlplane.domain import outposts
from controlplane.domain.join import JoinToken
from controlplane.domain.offers import SetFile, SignedRelease
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.records import CertificateRecord
from controlplane.store.postgres import PostgresEngine
from controlplane.store.sealing import Keyring
from controlplane.store.session import Engine
from controlplane.store.sqlite import SqliteEngine
from controlplane.store.store import DatabaseStore
from outpost.core.bundle.access import ClientKey
from tests.fakes.postgres_server import APP, Server

ENGINES = ("sqlite", "postgres")
ORG, OTHER = "acme", "globex"


@dataclass
class Place:
    """Where the data of one control plane lies.

    Attributes:
        server: of PostgreSQL; None for SQLite.
        role: that the stores log in as.
    """

    folder: Path
    server: Server | None = None
    role: str = APP
    database: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def keyring(self) -> Keyring:
        """The one key-encryption key."""
        ring = Keyring(self.folder / "kek")
        if not ring.path.exists():
            ring.create()
        return ring

    async def engine(self) -> Engine:
        """One more engine."""
        if self.server is None:
            return SqliteEngine(self.folder)
        self.database = self.database or await self.server.fresh()
        return PostgresEngine(self.server.url(self.database, self.role))

    @asynccontextmanager
    async def opened(self, *orgs: str) -> AsyncIterator[DatabaseStore]:
        """One more store, with these orgs."""
        store = DatabaseStore(await self.engine(), self.keyring)
        try:
            for org in orgs:
                await store.add_org(org, 1)
                await store.make_ready(org)
            yield store
        finally:
            await store.close()


def an_outpost(number: int = 1, name: str = "", **changes: object) -> Outpost:
    """A pending outpost."""
    made = outposts.register(name or f"n{number}", number.to_bytes(8, "big"), number)
    return Outpost(**{**{each: getattr(made, each) for each in made.__slots__}, **changes})  # type: ignore[arg-type]


def an_active_outpost(number: int = 1, **changes: object) -> Outpost:
    """An outpost with every column filled."""
    full: dict[str, object] = {
        "state": OutpostState.ACTIVE,
        "activated_ms": 2,
        "revoked_ms": 3,
        "reason": "why",
        "join_sequence": 4,
        "serial": f"a{number:x}",
        "next_serial": f"b{number:x}",
        "audit_public_key": bytes(range(32)),
        "software_version": "1.2.3",
        "boot_id": "c" * 32,
        "superseded_boots": ("d" * 32, "e" * 32),
        "alert": "identity.cloned",
        "logical": "plant-7",
        "locked_ms": 5,
        "enrolled_sequence": 3,
        "boot_source": "192.0.2.1",
        "draining": (f"a{number:x}", f"b{number:x}"),
        "advanced_ms": 6,
        "recoveries": 2,
        "alert_sources": ("192.0.2.1", "2001:db8::1"),
        "alert_ms": 7,
        "lock_order": '{"schema":"outpost.lock/1"}',
        "lock_signatures": (("f" * 64, "0" * 128), ("e" * 64, "1" * 128)),
        "lock_confirmed_ms": 8,
    }
    return an_outpost(number, **{**full, **changes})


def a_token(outpost_id: str, digest: str = "1" * 64) -> JoinToken:
    """A join token that lives for 1,000 ms."""
    return JoinToken(digest, outpost_id, 1_000, 2_000, network="192.0.2.0/24", anew=True)


def a_certificate(outpost_id: str, serial: str = "5a", issued_s: int = 7) -> CertificateRecord:
    """An intent."""
    told = ("2" * 64, "3" * 64, "4" * 64, issued_s, issued_s + 86_400)
    return CertificateRecord(serial, outpost_id, *told, sequence=4, source="192.0.2.1", issuer="5" * 64)


def a_client_key(name: str = "alice", key_id: str = "key-1", digest: str = "6" * 64) -> ClientKey:
    """A client key with every column filled."""
    return ClientKey(
        key_id, digest, name, "u-1", ("staff", "dev"), "agent", "api", "internal", ("gpt-*",), 1, 99, revoked=False
    )


def a_release(number: int = 1, **bodies: bytes) -> tuple[SignedRelease, dict[str, bytes]]:
    """A set of these files and a timestamp of its own."""
    contents = {"timestamp.json": b"t%d" % number, **{f"policy/{name}": body for name, body in bodies.items()}}
    files = tuple(
        SetFile(name, sha256(body).digest(), len(body), not name.startswith("policy/"))
        for name, body in sorted(contents.items())
    )
    return SignedRelease(number, f"1.{number}", 10 * number, 20 * number, files), contents
