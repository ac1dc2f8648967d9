"""Every way in which a set can be wrong, each with its own code, none accepted."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import HighWater, SignedSet
from outpost.core.errors import BundleError
from outpost.sync.tuf import reverify, verify
from tests.unit.core.bundle.samples import (
    AUDIENCE,
    DAY_MS,
    NOTHING,
    NOW_MS,
    Forge,
    documents,
    forge,
    key_id,
    new_keys,
    path_of,
    repository,
    rotated,
    sign,
    signed_part,
    update,
)

FORGE = forge()
SECOND = repository(FORGE.keys).publish(FORGE.signed, update(FORGE.signed, 2), NOW_MS + 1000)
RELEASE = names.release_path(1)
PACKS, ROUTES = path_of(FORGE.signed, names.PACKS), path_of(FORGE.signed, names.ROUTES)
DETECTORS = path_of(FORGE.signed, names.DETECTORS)
STRANGER = Ed25519PrivateKey.generate()


def flipped(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


def resigned(f: Forge, name: str, **signature: str) -> SignedSet:
    """The first signature of a file with some fields exchanged."""
    value = decode(f.signed.metadata[name], name)
    signatures = value["signatures"]
    assert isinstance(signatures, list)
    signatures[0] |= signature
    return f.replaced(name, encode(value))


def bad_signature(f: Forge, name: str) -> SignedSet:
    return resigned(f, name, sig="00" * 64)


def mixed(f: Forge, role: str) -> SignedSet:
    """A whole set of now, with one honest file of another time."""
    return SignedSet({**SECOND.metadata, f"{role}.json": f.signed.metadata[f"{role}.json"]}, SECOND.targets)


def late_root(f: Forge) -> SignedSet:
    data = rotated(f.signed, f.keys, f.keys).metadata["2.root.json"]
    part = signed_part(data) | {"version": 3}
    return f.replaced("3.root.json", sign(part, f.keys["root"]))


def two_ids(f: Forge) -> SignedSet:
    def change(part: dict) -> None:  # type: ignore[type-arg]
        keys = part["delegations"]["keys"]
        keys["ab" * 32] = next(iter(keys.values()))

    return f.edited("targets", change)


def weak_hash(f: Forge) -> SignedSet:
    return f.edited("snapshot", lambda p: p["meta"]["targets.json"].update(hashes={"md5": "0" * 32}))


def other_algorithm(f: Forge) -> SignedSet:
    def change(part: dict) -> None:  # type: ignore[type-arg]
        for key in part["delegations"]["keys"].values():
            key.update(keytype="ecdsa", scheme="ecdsa-sha2-nistp256")

    return f.edited("targets", change)


def wider_path(f: Forge) -> SignedSet:
    return f.edited("targets", lambda p: p["delegations"]["roles"][0].update(paths=["*/*"]))


def not_terminating(f: Forge) -> SignedSet:
    return f.edited("targets", lambda p: p["delegations"]["roles"][0].update(terminating=False))


def foreign_path(f: Forge) -> SignedSet:
    entry = signed_part(f.signed.metadata["access.json"])["targets"][names.KEYS_PATH]
    return f.edited("access", lambda p: p["targets"].update({"policy/extra.json": entry}))


def other_release(f: Forge) -> SignedSet:
    return f.with_target(names.ROLLOUT_PATH, documents(version=2)[names.ROLLOUT_PATH])


def unlisted(role: str) -> Callable[[Forge], SignedSet]:
    path = names.KEYS_PATH if role == "access" else DETECTORS
    return lambda f: f.edited(role, lambda p: p["targets"].pop(path))


def higher_high_water(role: str) -> HighWater:
    return HighWater({role: 2}, NOW_MS)


CASES: dict[str, tuple[Callable[[Forge], SignedSet], str]] = {
    "the timestamp is not signed": (lambda f: f.edited("timestamp", lambda p: None, []), "bundle.unsigned"),
    "a delegated role is not signed": (lambda f: f.edited("policy", lambda p: None, []), "bundle.unsigned"),
    "the timestamp's signature is zeros": (lambda f: bad_signature(f, "timestamp.json"), "bundle.signature"),
    "a signature of other bytes": (
        lambda f: f.replaced(
            "timestamp.json", f.signed.metadata["timestamp.json"].replace(b'"version":1,', b'"version":2,')
        ),
        "bundle.signature",
    ),
    "signed by nobody we know": (
        lambda f: f.edited("timestamp", lambda p: None, [STRANGER]),
        "bundle.unknown_key",
    ),
    "policy signed by the online access key": (
        lambda f: f.edited("policy", lambda p: None, f.keys["access"]),
        "bundle.wrong_role_key",
    ),
    "access signed by its key and a stranger's": (
        lambda f: f.edited("access", lambda p: None, [*f.keys["access"], STRANGER]),
        "bundle.unknown_key",
    ),
    "one byte of the policy document changed": (
        lambda f: f.replaced(PACKS, flipped(f.signed.targets[PACKS])),
        "bundle.hash",
    ),
    "one byte of the snapshot changed": (
        lambda f: f.replaced("snapshot.json", flipped(f.signed.metadata["snapshot.json"])),
        "bundle.hash",
    ),
    "two targets swapped": (
        lambda f: f.replaced(ROUTES, b" " * 1000),
        "bundle.length",
    ),
    "a target truncated": (
        lambda f: f.replaced(PACKS, f.signed.targets[PACKS][:-1]),
        "bundle.truncated",
    ),
    "targets metadata truncated": (
        lambda f: f.replaced("targets.json", f.signed.metadata["targets.json"][:100]),
        "bundle.truncated",
    ),
    "the timestamp truncated": (
        lambda f: f.replaced("timestamp.json", f.signed.metadata["timestamp.json"][:-1]),
        "bundle.malformed",
    ),
    "a line break after the timestamp": (
        lambda f: f.replaced("timestamp.json", f.signed.metadata["timestamp.json"] + b"\n"),
        "bundle.malformed",
    ),
    "the timestamp is empty": (lambda f: f.replaced("timestamp.json", b""), "bundle.malformed"),
    "an upper-case signature": (
        lambda f: resigned(f, "timestamp.json", sig="AB" * 64),
        "bundle.malformed",
    ),
    "the timestamp does not say when it was signed": (
        lambda f: f.edited("timestamp", lambda p: p.pop(names.SIGNED_AT_FIELD)),
        "bundle.malformed",
    ),
    "the timestamp was signed after its expiry": (
        lambda f: f.edited("timestamp", lambda p: p.update({names.SIGNED_AT_FIELD: NOW_MS + 2 * DAY_MS})),
        "bundle.malformed",
    ),
    "an expiry that is no date": (
        lambda f: f.edited("timestamp", lambda p: p.update(expires="2026-13-45T00:00:00Z")),
        "bundle.malformed",
    ),
    "a snapshot that forgets a role": (
        lambda f: f.edited("snapshot", lambda p: p["meta"].pop("access.json")),
        "bundle.malformed",
    ),
    "metadata larger than allowed": (
        lambda f: f.replaced("timestamp.json", b" " * (limits.MAX_METADATA_BYTES + 1)),
        "bundle.oversized",
    ),
    "more files than allowed": (
        lambda f: SignedSet(f.signed.metadata, {f"vendor/{n}": b"" for n in range(limits.MAX_SET_FILES)}),
        "bundle.oversized",
    ),
    "an unknown field in the timestamp": (
        lambda f: f.edited("timestamp", lambda p: p.update({"x-more": 1})),
        "bundle.unknown_field",
    ),
    "an unknown field beside the signatures": (
        lambda f: f.replaced("timestamp.json", encode({**decode(f.signed.metadata["timestamp.json"], "t"), "more": 1})),
        "bundle.unknown_field",
    ),
    "an unknown field in the release": (
        lambda f: f.with_target(RELEASE, encode({**decode(f.signed.targets[RELEASE], "r"), "allow_all": True})),
        "bundle.unknown_field",
    ),
    "a release of a later schema": (
        lambda f: f.with_target(
            RELEASE,
            encode({**decode(f.signed.targets[RELEASE], "r"), "schema": "outpost.release/3"}),
        ),
        "bundle.schema",
    ),
    "metadata of another TUF": (
        lambda f: f.edited("policy", lambda p: p.update(spec_version="2.0.0")),
        "bundle.schema",
    ),
    "a release with a negative bound": (
        lambda f: f.with_target(RELEASE, encode({**decode(f.signed.targets[RELEASE], "r"), "seal_after_seconds": -1})),
        "bundle.document",
    ),
    "another org's set": (lambda f: forge("rival").signed, "bundle.other_org"),
    "another org's set under the same keys": (lambda f: forge("rival", f.keys).signed, "bundle.other_org"),
    "another org's set under the same keys, without its root": (
        lambda f: Forge(f.keys, forge("rival", f.keys).signed).without("1.root.json"),
        "bundle.other_org",
    ),
    "another org's document in our signed set": (
        lambda f: f.with_target(names.KEYS_PATH, documents("rival")[names.KEYS_PATH]),
        "bundle.other_org",
    ),
    "our org, signed by another control plane": (lambda f: forge().signed, "bundle.root_mismatch"),
    "a root two versions ahead": (late_root, "bundle.root_hop"),
    "a root file under another version's name": (
        lambda f: f.replaced("2.root.json", f.signed.metadata["1.root.json"]),
        "bundle.root_hop",
    ),
    "an older snapshot": (lambda f: mixed(f, "snapshot"), "bundle.mix_and_match"),
    "an older policy": (lambda f: mixed(f, "policy"), "bundle.mix_and_match"),
    "a snapshot under the name of targets": (
        lambda f: f.relisted("targets.json", f.signed.metadata["snapshot.json"]),
        "bundle.wrong_type",
    ),
    "vendor metadata under the name of access": (
        lambda f: f.relisted("access.json", f.signed.metadata["vendor.json"]),
        "bundle.delegation",
    ),
    "no snapshot": (lambda f: f.without("snapshot.json"), "bundle.missing_metadata"),
    "a signed target is missing": (lambda f: f.without(ROUTES), "bundle.missing_target"),
    "a target that no role names": (lambda f: f.replaced("vendor/extra.json", b"{}"), "bundle.unlisted_target"),
    "a target outside all prefixes": (lambda f: f.replaced("../wrap.key", b"{}"), "bundle.unlisted_target"),
    "metadata of a role that does not exist": (
        lambda f: f.replaced("mirror.json", b"{}"),
        "bundle.unlisted_metadata",
    ),
    "client keys are not signed at all": (unlisted("access"), "bundle.unlisted_target"),
    "a role names a file of another": (foreign_path, "bundle.delegation"),
    "a delegation of all paths": (wider_path, "bundle.delegation"),
    "a delegation that does not terminate": (not_terminating, "bundle.delegation"),
    "a delegated role delegates further": (
        lambda f: f.edited("access", lambda p: p.update(delegations={"keys": {}, "roles": []})),
        "bundle.delegation",
    ),
    "one key under two ids": (two_ids, "bundle.key_id"),
    "keys of another algorithm": (other_algorithm, "bundle.key_algorithm"),
    "a weak hash": (weak_hash, "bundle.hash_algorithm"),
    "a timestamp that is fresh for a year": (
        lambda f: f.edited("timestamp", lambda p: p.update(expires="2027-09-21T00:00:00Z")),
        "bundle.freeze",
    ),
    "the roll-out chooses what policy did not sign": (other_release, "loosening.rollout_release"),
    "the release names a resource by another hash": (
        lambda f: f.with_target(PACKS, encode({"schema": "outpost.policy/1", "org": "acme", "note": "other"})),
        "bundle.resource",
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_refused_with_its_own_code(sentence: str) -> None:
    tamper, code = CASES[sentence]
    offered = tamper(FORGE)
    with pytest.raises(BundleError) as refused:
        verify(FORGE.root, offered, NOTHING, NOW_MS + 2000, AUDIENCE)
    assert refused.value.code == code, refused.value.message
    assert refused.value.field
    with pytest.raises(BundleError):
        reverify(FORGE.root, offered, NOTHING, AUDIENCE)


def test_enough_different_codes() -> None:
    assert len({code for _, code in CASES.values()}) >= 25


def test_a_document_missing_from_the_signed_roles_is_told_apart() -> None:
    offered = unlisted("access")(FORGE)
    bare = SignedSet(offered.metadata, {k: v for k, v in offered.targets.items() if k != names.KEYS_PATH})
    with pytest.raises(BundleError) as refused:
        verify(FORGE.root, bare, NOTHING, NOW_MS, AUDIENCE)
    assert refused.value.code == "bundle.incomplete"


@dataclass(frozen=True)
class Moment:
    now_ms: int
    high_water: HighWater
    code: str


MOMENTS = {
    "the timestamp has expired": Moment(NOW_MS + DAY_MS, NOTHING, "bundle.expired"),
    "the clock was turned back behind an expiry that was seen": Moment(
        NOW_MS, HighWater({}, NOW_MS + DAY_MS), "bundle.expired"
    ),
    **{
        f"{role} is older than what was accepted": Moment(NOW_MS, higher_high_water(role), "bundle.rollback")
        for role in ("root", "timestamp", "snapshot", "targets", *names.DELEGATED_ROLES)
    },
    "the stable release is older than what ran as stable": Moment(
        NOW_MS, higher_high_water("release"), "loosening.release_floor"
    ),
}


@pytest.mark.parametrize("sentence", MOMENTS)
def test_an_honest_set_at_the_wrong_moment(sentence: str) -> None:
    moment = MOMENTS[sentence]
    with pytest.raises(BundleError) as refused:
        verify(FORGE.root, FORGE.signed, moment.high_water, moment.now_ms, AUDIENCE)
    assert refused.value.code == moment.code


def test_messages_hold_no_document_and_no_key() -> None:
    secrets = [key_id(FORGE.keys["policy"][0]), base64.b64encode(b"x").decode() * 9, "Zoë"]
    for tamper, _ in CASES.values():
        with pytest.raises(BundleError) as refused:
            verify(FORGE.root, tamper(FORGE), NOTHING, NOW_MS, AUDIENCE)
        assert not any(secret in refused.value.message for secret in secrets)


def test_keys_are_fresh() -> None:
    assert key_id(new_keys()["root"][0]) != key_id(new_keys()["root"][0])
