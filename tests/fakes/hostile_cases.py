"""Every set that a control plane in the wrong hands offers in the end-to-end test, with the code of its refusal."""

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.bundle import limits, names
from outpost.core.bundle.release import SignedSet
from tests.fakes.hostile_changes import DELTAS, LOOSENINGS, Cases
from tests.fakes.hostile_plane import Offering, endless
from tests.fakes.hostile_sets import (
    Attack,
    broken_signature,
    flipped,
    lying_fetch,
    other_algorithm,
    renamed_key,
)
from tests.unit.core.bundle.samples import DAY_MS, Forge, forge, signed_part

HOUR_MS = 3600 * 1000
STRANGER = Ed25519PrivateKey.generate()
TIMESTAMP, SNAPSHOT, ACCESS = "timestamp.json", "snapshot.json", "access.json"


def with_bodies(offering: Offering, bodies: Callable[[bytes], Any]) -> Offering:
    return Offering(offering.files, bodies)


CASES: Cases = {
    # signatures
    "the timestamp is not signed": (lambda a: a.forge.edited("timestamp", lambda p: None, []), "bundle.unsigned"),
    "the policy role is not signed": (lambda a: a.forge.edited("policy", lambda p: None, []), "bundle.unsigned"),
    "one digit of a signature is changed": (broken_signature, "bundle.signature"),
    "one byte of signed metadata is changed": (
        lambda a: a.forge.replaced(
            TIMESTAMP, a.newest.metadata[TIMESTAMP].replace(b'"spec_version":"1.0.', b'"spec_version":"1.0.1', 1)
        ),
        "bundle.signature",
    ),
    "the timestamp is signed by an unknown key": (
        lambda a: a.forge.edited("timestamp", lambda p: None, [STRANGER]),
        "bundle.unknown_key",
    ),
    "an unknown key signs beside the right one": (
        lambda a: a.forge.edited("access", lambda p: None, [*a.forge.keys["access"], STRANGER]),
        "bundle.unknown_key",
    ),
    "the timestamp is signed by the snapshot's key": (
        lambda a: a.forge.edited("timestamp", lambda p: None, a.forge.keys["snapshot"]),
        "bundle.wrong_role_key",
    ),
    "the policy is signed by the online access key": (
        lambda a: a.forge.edited("policy", lambda p: None, a.forge.keys["access"]),
        "bundle.wrong_role_key",
    ),
    # roots
    "the next root is signed by one of two": (lambda a: a.next_root(lambda keys: keys[:1]), "bundle.threshold"),
    "the next root has the thief's keys and one old signature": (Attack.stolen_root, "bundle.threshold"),
    "a root leaves out a version": (lambda a: a.next_root(lambda keys: keys, version=3), "bundle.root_hop"),
    "a whole repository of the thief's own keys": (
        lambda a: forge("acme", now_ms=a.now_ms).signed,
        "bundle.root_mismatch",
    ),
    "the next root counts one key twice": (
        lambda a: a.next_root(lambda keys: keys, keys=renamed_key(signed_part(a.forge.root))),
        "bundle.key_id",
    ),
    "the next root brings another algorithm": (
        lambda a: a.next_root(lambda keys: keys, keys=other_algorithm(signed_part(a.forge.root))),
        "bundle.key_algorithm",
    ),
    # time and versions
    "an older set": (lambda a: a.older, "bundle.rollback"),
    "an old role listed anew by the online keys": (Attack.replayed_role, "bundle.rollback"),
    "an expired timestamp": (lambda a: a.timestamp(a.now_ms - DAY_MS - HOUR_MS, a.now_ms - HOUR_MS), "bundle.expired"),
    "a timestamp that would last two months": (
        lambda a: a.timestamp(a.now_ms, a.now_ms + 60 * DAY_MS),
        "bundle.freeze",
    ),
    "an old role among new ones": (
        lambda a: a.forge.replaced(ACCESS, a.older.metadata[ACCESS]),
        "bundle.mix_and_match",
    ),
    # for whom
    "a set of another org": (lambda a: a.foreign, "bundle.other_org"),
    "the policy of another org": (lambda a: a.packs(org="globex"), "bundle.other_org"),
    # bytes
    "one bit of a target is changed": (
        lambda a: a.forge.replaced(a.packs_path, flipped(a.newest.targets[a.packs_path])),
        "bundle.hash",
    ),
    "one bit of a listed role is changed": (
        lambda a: a.forge.replaced("policy.json", flipped(a.newest.metadata["policy.json"])),
        "bundle.hash",
    ),
    "a target is swapped with another": (
        lambda a: a.forge.replaced(a.routes_path, a.newest.targets[a.packs_path]),
        "bundle.length",
    ),
    "a target is cut short": (
        lambda a: a.forge.replaced(names.KEYS_PATH, a.newest.targets[names.KEYS_PATH][:-1]),
        "bundle.truncated",
    ),
    "garbage stands in the place of the timestamp": (
        lambda a: a.forge.replaced(TIMESTAMP, bytes(range(256))),
        "bundle.malformed",
    ),
    "signed metadata comes in another form of JSON": (
        lambda a: a.forge.replaced(TIMESTAMP, json.dumps(json.loads(a.newest.metadata[TIMESTAMP]), indent=1).encode()),
        "bundle.malformed",
    ),
    "the snapshot stands in the place of the timestamp": (
        lambda a: a.forge.replaced(TIMESTAMP, a.newest.metadata[SNAPSHOT]),
        "bundle.wrong_type",
    ),
    "a file is listed under another hash algorithm": (
        lambda a: a.forge.edited("snapshot", lambda p: p["meta"][ACCESS].update(hashes={"sha512": "0" * 128})),
        "bundle.hash_algorithm",
    ),
    # shape
    "a target is missing": (lambda a: a.forge.without(a.routes_path), "bundle.missing_target"),
    "a role is missing": (lambda a: a.forge.without("policy.json"), "bundle.missing_metadata"),
    "a target that nobody signed": (
        lambda a: a.forge.replaced("policy/extra.json", b"{}"),
        "bundle.unlisted_target",
    ),
    "metadata that nobody signed": (lambda a: a.forge.replaced("mirrors.json", b"{}"), "bundle.unlisted_metadata"),
    "a required document is no longer named": (
        lambda a: Forge(a.forge.keys, a.forge.edited("rollout", lambda p: p["targets"].clear())).without(
            names.ROLLOUT_PATH
        ),
        "bundle.incomplete",
    ),
    "a target outside its role's path": (
        lambda a: a.forge.edited(
            "rollout", lambda p: p["targets"].update({a.packs_path: next(iter(p["targets"].values()))})
        ),
        "bundle.delegation",
    ),
    "a file announced over the bound": (
        lambda a: lying_fetch(a, size=limits.MAX_TARGET_BYTES + 1),
        "bundle.oversized",
    ),
    "more files than a set may have": (
        lambda a: SignedSet(
            a.newest.metadata,
            {**a.newest.targets, **{f"policy/more-{n}.json": b"{}" for n in range(limits.MAX_SET_FILES)}},
        ),
        "bundle.oversized",
    ),
    # signed by the right keys, and still not acceptable
    "an unknown field, validly signed": (lambda a: a.document(names.ROLLOUT_PATH, extra=1), "bundle.unknown_field"),
    "a schema of the future": (lambda a: a.document(names.ROLLOUT_PATH, schema="outpost.rollout/9"), "bundle.schema"),
    "a value out of its bounds": (lambda a: a.document(names.ROLLOUT_PATH, stage=101), "bundle.document"),
    "a rollout of a release that is not there": (
        lambda a: a.document(names.ROLLOUT_PATH, stable=99),
        "loosening.rollout_release",
    ),
    "a policy that the release does not name": (
        lambda a: a.document(a.packs_path, combining="first_match"),
        "bundle.resource",
    ),
    "a policy that does not compile": (lambda a: a.packs(combining="loudest_wins"), "policy.document_invalid"),
    "a provider of a kind that does not exist": (
        lambda a: a.routes(b'"openai"', b'"pigeon"'),
        "bundle.provider_kind",
    ),
    "a self-test that fails": (
        lambda a: a.release({}, self_tests=[{"text": "no card here", "entity_type": "credit_card"}]),
        "bundle.self_test",
    ),
    "a required tier that does not exist": (
        lambda a: a.release({}, required_tiers=[1, 3]),
        "bundle.tier_unavailable",
    ),
    # the fetch beside the offer
    "other bytes are delivered than were announced": (
        lambda a: with_bodies(lying_fetch(a), lambda sha256: [b"x" * len(a.newest.targets[names.KEYS_PATH])]),
        "fetch.mismatch",
    ),
    "fewer bytes are delivered than were announced": (
        lambda a: with_bodies(lying_fetch(a), lambda sha256: [b"x"]),
        "fetch.mismatch",
    ),
    "a delivery without an end": (lambda a: with_bodies(lying_fetch(a), endless), "fetch.overrun"),
    # only what changed, and loosened documents
    **DELTAS,
    **LOOSENINGS,
}
