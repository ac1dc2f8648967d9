"""Everything of signed configuration that an attacker may hand over, each with its real receiver.

A receiver takes the name and the bytes of one file and gives what would come into force; it raises when it refuses. So
an altered file is harmless in two ways only: it is refused, or exactly the same comes out as of the honest one.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from outpost_wire.v1 import sync_pb2

from certs.signer import KeySigner
from controlplane.domain import offers, releases
from controlplane.domain.ceremony import Ceremony
from controlplane.domain.ceremony_reading import read_ceremony, require_summary
from controlplane.domain.summary import summarise
from controlplane.rpc import codec as upper
from controlplane.services.delivery import Holding, OfferPlan
from controlplane.services.repository import Repository
from controlplane.services.sets import set_files
from outpost import ports
from outpost.bootstrap.programs import Programs, load_verified, open_cache, open_verifier
from outpost.bootstrap.world import SystemChance
from outpost.cache.slots import INLINE_BYTES
from outpost.core.bundle import names, trust
from outpost.core.bundle.access import AccessDocument, build_access
from outpost.core.bundle.archive import pack_archive, unpack_archive
from outpost.core.bundle.delta import make_delta, pack_chunk
from outpost.core.bundle.extension import Extension, verify_extension
from outpost.core.bundle.lock import Addressee, LockOrder, build_lock, verify_lock
from outpost.core.bundle.loosening import require_not_looser
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import Audience, HighWater, SignedSet, VerifiedSet
from outpost.core.errors import BundleError
from outpost.paths import OrgPaths
from outpost.rpc import client
from outpost.rpc import codec as lower
from outpost.sync import install, tuf
from outpost.sync.files import WITHDRAWN, withdrawn_code
from outpost.sync.obey import LockMark, is_locked, write_mark
from tests.unit.core.bundle.samples import NOTHING, ORG, client_key, key_id, repository, role_keys
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import NAME, OUTPOST, Clock, Enrolled

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000
CLIENT_KEYS = 40  # enough for a document of which a delta is worth it
Receive = Callable[[str, bytes], object]


@dataclass(frozen=True, slots=True)
class Surface:
    """A place where an attacker may alter bytes.

    Attributes:
        name: for people.
        share: of all flips, relative to the others.
        files: name to the honest bytes.
        receive: name and bytes to what comes into force; raises on refusal.
    """

    name: str
    share: int
    files: Mapping[str, bytes]
    receive: Receive


class Stand:
    """An org in which two sets were installed and a third is on its way; and what its customer signs."""

    def __init__(self, folder: Path) -> None:
        self.made = Enrolled(NOW_MS)
        self.paths = self.made.fill(folder / "state", records=1)
        self.repository: Repository = repository(self.made.keys)
        self.audience = Audience(ORG, NAME)
        wrap_key = self.paths.wrap_key.read_bytes()
        self.cache = open_cache(self.paths, ORG, wrap_key, SystemChance())
        first = self.cache.load_active()
        self.root = first.metadata["1.root.json"]
        more = access(CLIENT_KEYS) | {"vendor/model.bin": os.urandom(INLINE_BYTES + 1)}
        self.second = self.repository.publish(first, more, NOW_MS + 1000)
        verifier = open_verifier(self.paths, ORG)
        self.active = verifier.verify(self.second, self.cache.read_high_water(), NOW_MS + 1000)
        self.cache.activate(self.cache.write_idle(self.active))
        self.high_water = trust.next_high_water(self.cache.read_high_water(), self.active, NOW_MS + 1000)
        self.cache.write_high_water(self.high_water)
        self.third = self.repository.publish(self.second, access(CLIENT_KEYS + 1), NOW_MS + 2000)

    def warm(self) -> tuf.Verifier:
        """A verifier that remembers the set in force."""
        verifier = tuf.Verifier(self.root, self.audience)
        verifier.verify(self.second, NOTHING, NOW_MS + 1000)
        return verifier

    def accept(self, verifier: tuf.Verifier, signed: SignedSet) -> SignedSet:
        """As an installation does, up to where it would write: cold and with what is remembered."""
        cold = outcome(tuf.Verifier(self.root, self.audience), signed, self.high_water)
        verified = outcome(verifier, signed, self.high_water)
        if cold != verified:
            raise AssertionError(f"what is remembered makes a difference: {cold!r}, {verified!r}")
        if isinstance(verified, str):
            raise RefusedError(verified)
        require_not_looser(self.active.content, verified.content)
        trust.require_one_per_version(self.active, verified)
        return verified.signed


class RefusedError(BundleError):
    """Refused, with the code of whoever did."""

    def __init__(self, told: str) -> None:
        super().__init__("refused")
        self.told = told


def outcome(verifier: tuf.Verifier, signed: SignedSet, high_water: HighWater) -> VerifiedSet | str:
    """A verified set, or the code with which it is refused."""
    try:
        return verifier.verify(signed, high_water, NOW_MS + 3000)
    except BundleError as error:
        return error.code


def access(count: int) -> dict[str, bytes]:
    """An access document of so many keys."""
    keys = tuple(client_key(number) for number in range(count))
    return {names.KEYS_PATH: build_access(AccessDocument(ORG, keys, 60))}


def sets(stand: Stand) -> list[Surface]:
    """Files of a set, one altered at a time."""
    verifier = stand.warm()

    def metadata(name: str, data: bytes) -> object:
        return stand.accept(verifier, SignedSet({**stand.third.metadata, name: data}, stand.third.targets))

    def targets(name: str, data: bytes) -> object:
        return stand.accept(verifier, SignedSet(stand.third.metadata, {**stand.third.targets, name: data}))

    return [
        Surface("metadata", 20, stand.third.metadata, metadata),
        Surface("targets", 15, stand.third.targets, targets),
    ]


def disk(stand: Stand) -> list[Surface]:
    """Files of the state folder, one altered at a time, and a start of what serves and of the agent."""
    folder = stand.paths.org(ORG).folder
    watched = [path for path in (folder / "cache").rglob("*") if path.is_file()]
    watched += [folder / "high-water.json", folder / "root.json", stand.paths.wrap_key]
    honest = {str(path.relative_to(stand.paths.state)): path.read_bytes() for path in watched}
    scanner = shared_database().clone()

    def start(name: str, data: bytes) -> object:
        (stand.paths.state / name).write_bytes(data)
        try:
            wrap_key = stand.paths.wrap_key.read_bytes()
            programs = Programs(stand.paths, wrap_key, scanner, (Clock(NOW_MS + 2000), SystemChance()))
            told = programs.state_of(ORG)
            if not told.state.serves:
                raise RefusedError(told.code)
            cache = open_cache(stand.paths, ORG, wrap_key, SystemChance())
            verified = load_verified(open_verifier(stand.paths, ORG), cache, NOW_MS + 2000)
            return told, verified and verified.signed, cache.read_high_water()
        finally:
            (stand.paths.state / name).write_bytes(honest[name])

    return [Surface("cache", 20, honest, start), _marks(folder / "marked")]


def _marks(folder: Path) -> Surface:
    """A mark that an order was obeyed, or that the identity is withdrawn, is one whatever becomes of its bytes."""
    paths, reading = OrgPaths(folder), {"locked.json": is_locked, WITHDRAWN: lambda paths: withdrawn_code(paths.folder)}
    folder.mkdir()
    write_mark(paths, LockMark(ORG, OUTPOST, "prod", "sold", NOW_MS, NOW_MS, "0" * 64))
    withdrawn = b"outpost.revoked\n"
    honest = {"locked.json": paths.lock_mark.read_bytes(), WITHDRAWN: withdrawn}

    def read(name: str, data: bytes) -> object:
        for path in folder.iterdir():
            path.unlink()
        (folder / name).write_bytes(data)
        return bool(reading[name](paths))

    return Surface("marks", 2, honest, read)


def wire(stand: Stand) -> list[Surface]:
    """Serialised messages, as they stand in the stream."""
    verifier = stand.warm()
    served = {hashlib.sha256(body).digest(): body for body in stand.third.targets.values()}

    async def fetch(sha256: bytes, size: int) -> bytes:
        if sha256 not in served:
            raise client.FetchError("nothing is there under this hash")
        return served[sha256]

    def offer(name: str, data: bytes) -> object:
        message = lower.control_message(sync_pb2.SyncDown.FromString(data))
        if not isinstance(message, ports.Offer):
            raise BundleError("it is no offer any more")
        signed = asyncio.run(install.collect(message, stand.active, fetch))
        return stand.accept(verifier, signed)

    def chunk(name: str, data: bytes) -> object:
        async def chunks() -> AsyncIterator[sync_pb2.FetchChunk]:
            yield sync_pb2.FetchChunk.FromString(data)

        return asyncio.run(client.fetched(chunks(), hashlib.sha256(body).digest(), len(body), bytearray()))

    body = stand.third.targets[names.KEYS_PATH]
    plain = sync_pb2.FetchChunk(data=body).SerializeToString()
    packed = sync_pb2.FetchChunk(data=pack_chunk(body), plain_bytes=len(body)).SerializeToString()
    complete, changes = offered(stand, {}), offered(stand, stand.active.listing)
    return [
        Surface("offer, complete", 8, {"offer": complete}, offer),
        Surface("offer, changes and deltas", 12, {"offer": changes}, offer),
        Surface("delivery, plain and packed", 5, {"plain": plain, "packed": packed}, chunk),
        _locks(stand),
    ]


def offered(stand: Stand, held: Mapping[str, bytes]) -> bytes:
    """The message for an outpost that holds some files, with deltas where they are worth it."""
    files = set_files(stand.third)
    old = {hashlib.sha256(body).digest(): body for body in {**stand.second.metadata, **stand.second.targets}.values()}
    new = {hashlib.sha256(body).digest(): body for body in {**stand.third.metadata, **stand.third.targets}.values()}
    pairs = offers.deltas_worth_trying(files, held, offers.changes(files, held))
    frames = {pair: make_delta(old[pair.old_sha256], new[pair.new_sha256]) for pair in pairs}
    packing = offers.pack(files, held, {pair: frame for pair, frame in frames.items() if frame is not None})
    bodies = {**stand.third.metadata, **stand.third.targets}
    inline = {name: bodies[name] for name in packing.inline}
    plan = OfferPlan(3, "1.3", packing, inline, Holding(b"", {}, partial=True))
    return upper.offer("n", NOW_MS, upper.offer_body(plan))


def _locks(stand: Stand) -> Surface:
    """A lock order in its message."""
    order = build_lock(LockOrder(ORG, OUTPOST, 1, NOW_MS, "operator.lock"))
    (key,) = stand.made.keys["access"]
    signature = sync_pb2.LockSignature(key_id=key_id(key), signature=key.sign(order))
    honest = sync_pb2.SyncDown(lock=sync_pb2.Lock(reason="operator.lock", order=order, signatures=[signature]))

    def receive(name: str, data: bytes) -> object:
        lock = sync_pb2.SyncDown.FromString(data).lock
        signatures = {each.key_id: each.signature for each in lock.signatures}
        access_keys = stand.active.role_keys[names.ACCESS]
        return verify_lock(lock.order, signatures, access_keys, Addressee(ORG, OUTPOST, 1))

    return Surface("lock order", 4, {"lock": honest.SerializeToString()}, receive)


def files(stand: Stand) -> list[Surface]:
    """Files that people carry: ceremonies, extensions, whole sets."""
    (policy,) = stand.made.keys["policy"]
    extension = Extension(ORG, NOW_MS + 9 * DAY_MS, NOW_MS)
    extension = replace(extension, signatures={key_id(policy): policy.sign(extension.payload)})
    verifier = stand.warm()

    def extend(name: str, data: bytes) -> object:
        return verify_extension(data, stand.active.role_keys[names.POLICY], ORG, NOW_MS)

    def archive(name: str, data: bytes) -> object:
        return stand.accept(verifier, unpack_archive(data, ORG))

    return [
        *ceremonies(stand),
        Surface("extension", 3, {"extension": extension.to_bytes()}, extend),
        Surface("bundle file", 3, {"bundle": pack_archive(stand.third, ORG)}, archive),
    ]


def ceremonies(stand: Stand) -> list[Surface]:
    """A customer takes his keys over and then publishes a policy with them."""
    root, targets, policy = ([Ed25519PrivateKey.generate() for _ in range(count)] for count in (3, 1, 2))
    layout = {names.ROOT: role_keys(root, 2), names.TARGETS: role_keys(targets), names.POLICY: role_keys(policy, 2)}
    takeover = stand.repository.propose_keys(stand.third, layout, frozenset(), NOW_MS + 3000)
    takeover = signed_by(takeover, *root[:2], *targets, *policy)
    taken = stand.repository.adopt(stand.third, takeover, {}, NOW_MS + 3000)
    online = Repository(ORG, {role: [KeySigner(key) for key in stand.made.keys[role]] for role in ONLINE})
    content = read_documents(taken.targets, ORG)
    draft = releases.Draft({}, {"max_body_bytes": 2_000_000})
    changes = releases.with_release(taken.targets, content, draft, beside=True)
    release = signed_by(online.propose_release(taken, changes, NOW_MS + 4000), *policy)
    rollout = releases.at_once(content, 2)
    keys_file, release_file = {"takeover": takeover.to_bytes()}, {"release": release.to_bytes()}
    apply = partial(adopt, stand.repository, stand.third, {})
    publish = partial(adopt, online, taken, rollout)
    return [
        Surface("ceremony of keys", 4, keys_file, apply),
        Surface("ceremony of a release", 4, release_file, publish),
    ]


ONLINE = (names.TIMESTAMP, names.SNAPSHOT, names.VENDOR, names.ACCESS, names.ROLLOUT)


def adopt(
    online: Repository, current: SignedSet, changes: Mapping[str, bytes | None], name: str, data: bytes
) -> SignedSet:
    """As the control plane takes a file back."""
    ceremony = read_ceremony(data, ORG)
    require_summary(ceremony, summarise(ceremony))
    return online.adopt(current, ceremony, changes, NOW_MS + 5000)


def signed_by(ceremony: Ceremony, *keys: Ed25519PrivateKey) -> Ceremony:
    """The file with the signatures of its key holders."""
    for key in keys:
        payloads = {part.role: key.sign(part.payload) for part in ceremony.parts if part.may_sign(key_id(key))}
        ceremony = ceremony.signed_by(key.public_key().public_bytes_raw(), payloads)
    return replace(ceremony, summary=summarise(ceremony))


def surfaces(folder: Path) -> list[Surface]:
    """All of them, over one org."""
    stand = Stand(folder)
    return [*sets(stand), *disk(stand), *wire(stand), *files(stand)]
