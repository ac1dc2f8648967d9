"""What a change costs on the wire: planned by the control plane, packed into real messages, rebuilt by an outpost."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from outpost_wire.v1 import sync_pb2

from controlplane.domain import offers
from controlplane.rpc import codec as upper
from controlplane.services.delivery import Holding, OfferPlan
from controlplane.services.sets import set_files
from outpost import ports
from outpost.core.bundle import delta, names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.release import SignedSet, VerifiedSet
from outpost.rpc import codec as lower
from outpost.sync import install, tuf
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    NOTHING,
    NOW_MS,
    ORG,
    client_key,
    documents,
    new_keys,
    repository,
    rotated,
    update,
)

KEYS = 16_000  # of an org; about 5 MB of access document
WIRE_BOUND = 8 * 1024  # bytes of a serialised offer for one changed key
ROLE_KEYS = new_keys()
REPOSITORY = repository(ROLE_KEYS)


def key(number: int) -> ClientKey:
    seed = hashlib.sha256(str(number).encode()).hexdigest()
    base = client_key(number)
    return replace(
        base,
        id=f"key-{seed[:12]}",
        name=f"laptop of user {number}",
        user=f"u-{number}",
        groups=("staff", "engineering"),
        models=("gpt-4o*",),
        not_before=1_790_000_000 + number,
        expires=1_797_776_000 + number,
    )


def access(keys: list[ClientKey]) -> dict[str, bytes]:
    return {names.KEYS_PATH: build_access(AccessDocument(ORG, tuple(keys), 60))}


MANY = [key(number) for number in range(KEYS)]
BASE = REPOSITORY.create(documents() | access(MANY), NOW_MS)
ROOT = BASE.metadata["1.root.json"]


def verified(signed: SignedSet) -> VerifiedSet:
    return tuf.verify(ROOT, signed, NOTHING, NOW_MS + 1000, AUDIENCE)


def bodies(signed: SignedSet) -> dict[bytes, bytes]:
    return {hashlib.sha256(body).digest(): body for body in (*signed.metadata.values(), *signed.targets.values())}


def offered(old: SignedSet | None, new: SignedSet, held: Mapping[str, bytes]) -> tuple[sync_pb2.SyncDown, ports.Offer]:
    """The message for an outpost that holds a set, and what the outpost reads."""
    files = set_files(new)
    former, newer = bodies(old) if old is not None else {}, bodies(new)
    found = offers.changes(files, held)
    frames = {
        pair: delta.make_delta(former[pair.old_sha256], newer[pair.new_sha256])
        for pair in offers.deltas_worth_trying(files, held, found)
    }
    packing = offers.pack(files, held, {pair: frame for pair, frame in frames.items() if frame is not None})
    contents = {**new.metadata, **new.targets}
    inline = {name: contents[name] for name in packing.inline}
    plan = OfferPlan(2, "1.2", packing, inline, Holding(b"", {}, partial=True))
    message = sync_pb2.SyncDown.FromString(upper.offer("n", NOW_MS, upper.offer_body(plan)))
    read = lower.control_message(message)
    assert isinstance(read, ports.Offer)
    return message, read


async def never(sha256: bytes, size: int) -> bytes:
    raise AssertionError("nothing may be fetched")


CHANGES = {
    "a key is revoked": [replace(each, revoked=True) if at == 8000 else each for at, each in enumerate(MANY)],
    "a key is added": [*MANY, key(KEYS)],
    "a key goes away": MANY[:100] + MANY[101:],
}


@pytest.mark.parametrize("sentence", CHANGES)
async def test_one_changed_key_of_a_large_set_costs_little(sentence: str) -> None:
    following = REPOSITORY.publish(BASE, access(CHANGES[sentence]), NOW_MS + 1)
    assert len(following.targets[names.KEYS_PATH]) > 5_000_000
    active = verified(BASE)
    message, read = offered(BASE, following, active.listing)
    size = message.ByteSize()
    print(json.dumps({"change": sentence, "offer_bytes": size}))
    assert size <= WIRE_BOUND
    assert {file.name for file in read.files} == {"access.json", "snapshot.json", "timestamp.json", names.KEYS_PATH}
    rebuilt = await install.collect(read, active, never)
    assert rebuilt == following
    assert verified(rebuilt).signed == following


async def test_a_reconnect_with_an_unchanged_set_moves_no_byte_of_it() -> None:
    active = verified(BASE)
    message, read = offered(BASE, BASE, active.listing)
    assert read.files == read.removed == ()
    assert not message.offer.base_sha256
    assert sum(len(file.inline) + len(file.delta) for file in message.offer.files) == 0
    assert message.ByteSize() < 32


async def test_a_new_release_takes_the_place_of_the_old_one() -> None:
    following = REPOSITORY.publish(BASE, update(BASE, 2), NOW_MS + 1)
    active = verified(BASE)
    _, read = offered(BASE, following, active.listing)
    assert names.release_path(1) in read.removed
    assert await install.collect(read, active, never) == following


async def test_an_outpost_that_was_enrolled_later_drops_the_roots_before() -> None:
    second = rotated(BASE, ROLE_KEYS, ROLE_KEYS)
    enrolled = tuf.verify(second.metadata["2.root.json"], second, NOTHING, NOW_MS + 1000, AUDIENCE)
    _, read = offered(second, second, enrolled.listing)
    assert read.files == read.removed == ()
    following = REPOSITORY.publish(second, access(MANY[:-1]), NOW_MS + 1)
    _, read = offered(second, following, enrolled.listing)
    assert "1.root.json" not in {file.name for file in read.files}
    rebuilt = await install.collect(read, enrolled, never)
    assert rebuilt.targets == following.targets
    assert set(following.metadata) - set(rebuilt.metadata) == {"1.root.json"}


async def test_what_holds_nothing_gets_all_of_it() -> None:
    message, read = offered(None, BASE, {})
    assert not read.base_sha256
    assert message.ByteSize() < offers.MAX_INLINE_BYTES + 8192
    known = bodies(BASE)

    async def fetch(sha256: bytes, size: int) -> bytes:
        assert sha256 == hashlib.sha256(BASE.targets[names.KEYS_PATH]).digest()
        return known[sha256]

    assert await install.collect(read, None, fetch) == BASE
