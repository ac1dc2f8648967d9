"""An enrolled outpost on a temporary folder: real certificates, a real log, a real signed set in a real cache."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from certs import keys
from certs.shell.dev import Hierarchy, Leaf, create_hierarchy
from certs.shell.private_files import create_private_file
from controlplane.services.defaults import default_documents, default_provider
from outpost import ports
from outpost.bootstrap.programs import open_cache
from outpost.bootstrap.world import SystemChance
from outpost.core.bundle.release import Audience, HighWater, SignedSet, VerifiedSet
from outpost.core.bundle.trust import next_high_water
from outpost.paths import StatePaths
from outpost.sync import identity as identities
from outpost.sync import tuf
from outpost.sync.install import Fetch
from tests.unit.core.bundle.samples import ORG, Keys, new_keys, repository
from tests.unit.ledger.support import LOG_KEY, ORIGIN, WITNESS, make_log

OUTPOST = "op-0123456789abcdef"
TRUST_DOMAIN = "outpost.internal"
NAME = "prod-eu"
NOTHING = HighWater(versions={}, time_floor_ms=0)


@dataclass
class Clock:
    """``ports.Clock`` that moves when told."""

    time_ms: int
    set_ms: int = 0  # by how much somebody set it forward

    def now_ms(self) -> int:
        return self.time_ms

    def monotonic(self) -> float:
        return (self.time_ms - self.set_ms) / 1000


@dataclass
class Chance:
    """``ports.Chance`` with one number for jitter."""

    number: float = 0.5

    def token_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def uniform(self) -> float:
        return self.number


def enrollment(**changes: object) -> identities.Enrollment:
    values: dict[str, object] = {
        "org": ORG,
        "outpost_id": OUTPOST,
        "name": NAME,
        "trust_domain": TRUST_DOMAIN,
        "sync_endpoint": "127.0.0.1:1",
        "witness_name": WITNESS.name,
        "witness_public_key": WITNESS.public_key.hex(),
        "join_sequence": 1,
        "enrolled_ms": 0,
        **changes,
    }
    return identities.Enrollment(**values)  # type: ignore[arg-type]


@dataclass
class Enrolled:
    """A hierarchy with one outpost, and the means to fill its state folder."""

    now_ms: int
    trust: Hierarchy = field(init=False)
    leaf: Leaf = field(init=False)
    keys: Keys = field(default_factory=new_keys)

    def __post_init__(self) -> None:
        now = self.now_ms // 1000
        self.trust = create_hierarchy(now, TRUST_DOMAIN)
        self.leaf = self.trust.outpost(ORG, OUTPOST, now)

    def identity(self, **changes: object) -> identities.Identity:
        chain = keys.certificates_pem(self.leaf.chain)
        told = enrollment(enrolled_ms=self.now_ms, **changes)
        return identities.Identity(told, self.leaf.key_pem, chain, self.trust.roots_pem)

    def documents(self) -> dict[str, bytes]:
        return default_documents(ORG, [default_provider("https://api.example.com/v1", "main-key")])

    def signed(self, age_ms: int = 0) -> SignedSet:
        return repository(self.keys).create(self.documents(), self.now_ms - age_ms)

    def fill(self, state: Path, *, records: int = 300, age_ms: int = 0, **changes: object) -> StatePaths:
        """Identity, log and active set, as after the first contact."""
        paths = StatePaths(state)
        files = paths.org(ORG)
        state.mkdir(mode=0o700, parents=True)
        identities.save(files.identity, self.identity(**changes))
        make_log(files.audit, records)
        pem = LOG_KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_private_file(files.audit / "log.key", pem)
        create_private_file(files.audit / "origin", ORIGIN.encode() + b"\n")
        signed = self.signed(age_ms)
        create_private_file(files.tuf_root, signed.metadata["1.root.json"])
        self.activate(paths, signed, self.now_ms - age_ms)
        secrets = state / "secrets"
        secrets.mkdir(mode=0o700)
        create_private_file(secrets / "main-key", ("sk-" + "canary-" + "x" * 20).encode())
        return paths

    def activate(self, paths: StatePaths, signed: SignedSet, now_ms: int) -> VerifiedSet:
        create_private_file(paths.wrap_key, os.urandom(32))
        cache = open_cache(paths, ORG, paths.wrap_key.read_bytes(), SystemChance())
        verified = tuf.verify(signed.metadata["1.root.json"], signed, NOTHING, now_ms, Audience(ORG, NAME))
        cache.activate(cache.write_idle(verified))
        cache.write_high_water(next_high_water(NOTHING, verified, now_ms))
        return verified


def offer(signed: SignedSet, nonce: str = "n-1", *, inline: bool = True) -> ports.Offer:
    """An offer of a whole set."""
    files = [
        ports.OfferedFile(name, hashlib.sha256(body).digest(), len(body), metadata, body if inline else b"")
        for metadata, group in ((True, signed.metadata), (False, signed.targets))
        for name, body in group.items()
    ]
    return ports.Offer(nonce, "1.1", tuple(files), 0)


def fetcher(signed: SignedSet, asked: list[bytes]) -> Fetch:
    """Serves the files of a set by hash, and notes which were asked for."""
    bodies = {hashlib.sha256(body).digest(): body for body in (*signed.metadata.values(), *signed.targets.values())}

    async def fetch(sha256: bytes, size: int) -> bytes:
        asked.append(sha256)
        return bodies[sha256]

    return fetch
