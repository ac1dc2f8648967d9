"""Lists and what they list: each metadata file against its parent, and what is remembered between sets."""

from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import Metadata

from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.trust import next_high_water
from outpost.core.errors import BundleError
from outpost.sync.tuf import Verifier, require_root, reverify, verify
from outpost.sync.tuf_metadata import read_metadata
from outpost.sync.tuf_signatures import MetadataMemory
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    DAY_MS,
    NOTHING,
    NOW_MS,
    Forge,
    forge,
    repository,
    rotated,
    update,
)

FORGE = forge()
LISTED = (names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES)


def parent(role: str) -> str:
    return names.TIMESTAMP if role == names.SNAPSHOT else names.SNAPSHOT


def beside(role: str) -> str:
    """Another role whose keys the same file names."""
    same = (names.TIMESTAMP, names.SNAPSHOT, names.TARGETS) if role in (names.SNAPSHOT, names.TARGETS) else LISTED[2:]
    return next(each for each in same if each != role)


def entry(f: Forge, role: str, change: Callable[[dict[str, Any]], object]) -> SignedSet:
    """The parent's entry of a role altered, everything above it signed to match."""
    return f.edited(parent(role), lambda part: change(part["meta"][f"{role}.json"]))


def flipped(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


EACH: dict[str, tuple[Callable[[Forge, str], SignedSet], str]] = {
    "is not signed": (lambda f, role: f.edited(role, lambda p: None, []), "bundle.unsigned"),
    "is signed by the key of a role beside it": (
        lambda f, role: f.edited(role, lambda p: None, f.keys[beside(role)]),
        "bundle.wrong_role_key",
    ),
    "has another bit": (lambda f, r: f.replaced(f"{r}.json", flipped(f.signed.metadata[f"{r}.json"])), "bundle.hash"),
    "is listed with a later version": (
        lambda f, role: entry(f, role, lambda listed: listed.update(version=2)),
        "bundle.mix_and_match",
    ),
    "is listed without a hash": (lambda f, r: entry(f, r, lambda listed: listed.pop("hashes")), "bundle.malformed"),
    "is listed without a length": (lambda f, r: entry(f, r, lambda listed: listed.pop("length")), "bundle.malformed"),
    "is listed under a weak hash": (
        lambda f, r: entry(f, r, lambda listed: listed.update(hashes={"md5": "0" * 32})),
        "bundle.hash_algorithm",
    ),
    "is listed under a weak hash too": (
        lambda f, r: entry(f, r, lambda listed: listed["hashes"].update(md5="0" * 32)),
        "bundle.hash_algorithm",
    ),
    "is listed with another length": (
        lambda f, r: entry(f, r, lambda listed: listed.update(length=listed["length"] - 1)),
        "bundle.length",
    ),
    "is no JSON": (lambda f, role: f.relisted(f"{role}.json", b"no JSON"), "bundle.malformed"),
    "is JSON of another form": (
        lambda f, role: f.relisted(f"{role}.json", b" " + f.signed.metadata[f"{role}.json"]),
        "bundle.malformed",
    ),
}


@pytest.mark.parametrize("role", LISTED)
@pytest.mark.parametrize("what", EACH)
def test_a_listed_role_is_refused_when_it(what: str, role: str) -> None:
    make, code = EACH[what]
    offered = make(FORGE, role)
    with pytest.raises(BundleError) as refused:
        verify(FORGE.root, offered, NOTHING, NOW_MS, AUDIENCE)
    assert refused.value.code == code


def signed_by(f: Forge, name: str, signature: dict[str, str]) -> SignedSet:
    value = decode(f.signed.metadata[name], name)
    signatures = value["signatures"]
    assert isinstance(signatures, list)
    signatures.append(signatures[0] | signature)
    return f.replaced(name, encode(value))


TOP: dict[str, tuple[Callable[[Forge], SignedSet], str]] = {
    "the next root is no JSON": (lambda f: f.replaced("2.root.json", b"no JSON"), "bundle.malformed"),
    "the next root is a snapshot": (
        lambda f: f.replaced("2.root.json", f.signed.metadata["snapshot.json"]),
        "bundle.wrong_type",
    ),
    "the timestamp is no JSON": (lambda f: f.replaced("timestamp.json", b"no JSON"), "bundle.malformed"),
    "the timestamp is a list": (lambda f: f.replaced("timestamp.json", b"[]"), "bundle.malformed"),
    "one key signs the timestamp twice": (lambda f: signed_by(f, "timestamp.json", {}), "bundle.malformed"),
    "a signature names no key": (lambda f: signed_by(f, "timestamp.json", {"keyid": ""}), "bundle.malformed"),
    "a signature is no number": (lambda f: signed_by(f, "timestamp.json", {"sig": "eyJhbGciOi"}), "bundle.malformed"),
    "a signature has half its length": (lambda f: signed_by(f, "timestamp.json", {"sig": "00"}), "bundle.malformed"),
    "the signed part is a list": (
        lambda f: f.replaced("timestamp.json", encode({"signatures": [], "signed": []})),
        "bundle.malformed",
    ),
}


@pytest.mark.parametrize("sentence", TOP)
def test_refused_with_its_own_code(sentence: str) -> None:
    make, code = TOP[sentence]
    with pytest.raises(BundleError) as refused:
        verify(FORGE.root, make(FORGE), NOTHING, NOW_MS, AUDIENCE)
    assert refused.value.code == code


def test_a_set_that_has_expired_since_is_the_base_of_the_next() -> None:
    first = verify(FORGE.root, FORGE.signed, NOTHING, NOW_MS, AUDIENCE)
    later_ms = NOW_MS + 3 * DAY_MS
    assert later_ms > first.timestamp_expires_ms
    high_water = next_high_water(NOTHING, first, NOW_MS)
    assert reverify(FORGE.root, FORGE.signed, high_water, AUDIENCE).revision == "1.1"
    updated = repository(FORGE.keys).publish(FORGE.signed, update(FORGE.signed, 2), later_ms)
    assert verify(FORGE.root, updated, high_water, later_ms, AUDIENCE).revision == "2.2"


def test_the_roots_between_are_kept_so_that_a_restart_walks_them_again() -> None:
    third = rotated(rotated(FORGE.signed, FORGE.keys, FORGE.keys), FORGE.keys, FORGE.keys)
    verified = verify(FORGE.root, third, NOTHING, NOW_MS, AUDIENCE)
    assert {"1.root.json", "2.root.json", "3.root.json"} <= set(verified.signed.metadata)
    high_water = next_high_water(NOTHING, verified, NOW_MS)
    assert reverify(FORGE.root, verified.signed, high_water, AUDIENCE).versions["root"] == 3


POISONED: dict[str, Callable[[bytes], bytes]] = {
    "without signatures": lambda data: encode({**decode(data, "root"), "signatures": []}),
    "with another bit": flipped,
}


@pytest.mark.parametrize("what", POISONED)
def test_a_root_between_that_was_altered_is_never_passed_over(what: str) -> None:
    third = rotated(rotated(FORGE.signed, FORGE.keys, FORGE.keys), FORGE.keys, FORGE.keys)
    verifier = Verifier(FORGE.root, AUDIENCE)
    high_water = next_high_water(NOTHING, verifier.verify(third, NOTHING, NOW_MS), NOW_MS)
    altered = Forge(FORGE.keys, third).replaced("2.root.json", POISONED[what](third.metadata["2.root.json"]))
    with pytest.raises(BundleError):
        verifier.reverify(altered, high_water)
    with pytest.raises(BundleError):
        verifier.verify(altered, high_water, NOW_MS)
    assert verifier.verify(third, high_water, NOW_MS).versions["root"] == 3


def test_without_signatures_a_first_root_is_no_root() -> None:
    bare = encode({**decode(FORGE.root, "root"), "signatures": []})
    with pytest.raises(BundleError) as refused:
        require_root(bare, AUDIENCE.org)
    assert refused.value.code == "bundle.unsigned"


@pytest.mark.parametrize("role", [names.ROOT, names.TIMESTAMP, *LISTED])
def test_the_payload_is_the_one_that_python_tuf_computes(role: str) -> None:
    name = "1.root.json" if role == names.ROOT else f"{role}.json"
    data = FORGE.signed.metadata[name]
    assert read_metadata(role, name, data, AUDIENCE.org).payload == Metadata.from_bytes(data).signed_bytes


def test_what_does_not_change_is_not_read_again() -> None:
    memory, data = MetadataMemory(AUDIENCE.org), FORGE.signed.metadata["timestamp.json"]
    first = memory.read(names.TIMESTAMP, "timestamp.json", data)
    memory.end(good=True)
    assert memory.read(names.TIMESTAMP, "timestamp.json", bytes(bytearray(data))) is first


def test_of_a_refused_set_nothing_is_remembered() -> None:
    memory, data = MetadataMemory(AUDIENCE.org), FORGE.signed.metadata["timestamp.json"]
    first = memory.read(names.TIMESTAMP, "timestamp.json", data)
    memory.end(good=False)
    assert memory.read(names.TIMESTAMP, "timestamp.json", data) is not first


def test_documents_that_do_not_change_are_not_read_again() -> None:
    verifier = Verifier(FORGE.root, AUDIENCE)
    first = verifier.verify(FORGE.signed, NOTHING, NOW_MS)
    refreshed = repository(FORGE.keys).refresh(FORGE.signed, NOW_MS + 1000)
    second = verifier.verify(refreshed, NOTHING, NOW_MS + 1000)
    assert second.chosen.release is first.chosen.release
    assert second.content.access is first.content.access
