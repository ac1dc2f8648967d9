"""Signed sets that no outpost may accept, each made by somebody who holds some of the keys and not the right ones."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.bootstrap.plane import Plane
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import SignedSet
from tests.fakes.hostile_plane import Offering, endless, honest
from tests.unit.core.bundle.samples import DAY_MS, ROLES, Forge, Keys, forge, key_id, sign, signed_part

HOUR_MS = 3600 * 1000
STRANGER = Ed25519PrivateKey.generate()
TIMESTAMP, SNAPSHOT, ACCESS = "timestamp.json", "snapshot.json", "access.json"


async def newest_set(plane: Plane, org: str) -> SignedSet:
    """The set that a control plane would offer now."""
    async with plane.store.for_org(org).read() as transaction:
        newest = await transaction.releases.newest()
        assert newest is not None
        contents = await transaction.releases.contents(newest)
    metadata = {file.name for file in newest.files if file.metadata}
    return SignedSet(
        {name: data for name, data in contents.items() if name in metadata},
        {name: data for name, data in contents.items() if name not in metadata},
    )


async def role_keys(plane: Plane, org: str) -> Keys:
    """Everything that signs for an org."""
    async with plane.store.for_org(org).read() as transaction:
        held = await transaction.role_keys.all()
    return cast(Keys, {role: list(held[role]) for role in ROLES})  # a signer signs as a key does


@dataclass(frozen=True, slots=True)
class Attack:
    """What the attacker has at hand.

    Attributes:
        forge: the newest set, which the outpost has, and all of its role keys.
        older: a set of the same org that was in force before.
        foreign: the newest set of another org of the same control plane.
        now_ms: now.
    """

    forge: Forge
    older: SignedSet
    foreign: SignedSet
    now_ms: int

    @property
    def newest(self) -> SignedSet:
        """The set in force."""
        return self.forge.signed

    def document(self, path: str, **changes: Any) -> SignedSet:
        """A document changed by its own role's key holder."""
        body = decode(self.newest.targets[path], path) | changes
        return self.forge.with_target(path, encode(body))

    def release(self, changed: Mapping[str, bytes], **fields: Any) -> SignedSet:
        """A release with other documents, complete and signed by the policy role's key holder."""
        made = self.forge
        body = decode(made.signed.targets[names.RELEASE_PATH], "release") | fields
        resources = cast(dict[str, Any], body["resources"])
        for path, data in changed.items():
            made = Forge(made.keys, made.with_target(path, data))
            resources[path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        return made.with_target(names.RELEASE_PATH, encode(body))

    def packs(self, **fields: Any) -> SignedSet:
        """A release with another policy document."""
        body = decode(self.newest.targets[names.PACKS_PATH], "packs") | fields
        return self.release({names.PACKS_PATH: encode(body)})

    def timestamp(self, signed_ms: int, expires_ms: int) -> SignedSet:
        """A timestamp of other times, by the holder of its key."""

        def change(part: dict[str, Any]) -> None:
            expires = datetime.fromtimestamp(expires_ms // 1000, UTC)
            part |= {"x-signed-at-ms": signed_ms, "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}

        return self.forge.edited("timestamp", change)

    def next_root(self, signers: Callable[[list[Any]], list[Any]], version: int = 2, **fields: Any) -> SignedSet:
        """Another root behind the enrolled one, signed by a choice of the root's keys."""
        part = signed_part(self.forge.root) | {"version": version} | fields
        data = sign(part, signers(list(self.forge.keys["root"])))
        return SignedSet({**self.newest.metadata, f"{version}.root.json": data}, self.newest.targets)

    def stolen_root(self) -> SignedSet:
        """A root of the thief's own three keys, with the one old key that was stolen."""
        thieves = [Ed25519PrivateKey.generate() for _ in range(3)]
        part = signed_part(self.forge.root)
        known = {
            key_id(key): {
                "keytype": "ed25519",
                "scheme": "ed25519",
                "keyval": {"public": key.public_key().public_bytes_raw().hex()},
            }
            for key in thieves
        }
        roles = part["roles"] | {"root": {"keyids": [key_id(key) for key in thieves], "threshold": 2}}
        return self.next_root(lambda old: [old[0], *thieves], keys=part["keys"] | known, roles=roles)

    def replayed_role(self) -> SignedSet:
        """An old access role with its keys, listed anew by the holder of the online keys."""
        old = self.older.metadata[ACCESS]
        entry = {
            "version": signed_part(old)["version"],
            "length": len(old),
            "hashes": {"sha256": hashlib.sha256(old).hexdigest()},
        }
        listed = self.forge.edited("snapshot", lambda part: part["meta"].update({ACCESS: entry}))
        keys = {names.KEYS_PATH: self.older.targets[names.KEYS_PATH]}
        return SignedSet({**listed.metadata, ACCESS: old}, {**listed.targets, **keys})


def flipped(data: bytes, at: int = -1) -> bytes:
    """One bit other."""
    changed = bytearray(data)
    changed[at if at >= 0 else len(data) // 2] ^= 1
    return bytes(changed)


def broken_signature(a: Attack) -> SignedSet:
    body = json.loads(a.newest.metadata[TIMESTAMP])
    text = body["signatures"][0]["sig"]
    body["signatures"][0]["sig"] = ("1" if text[0] == "0" else "0") + text[1:]
    return a.forge.replaced(TIMESTAMP, encode(body))


def renamed_key(part: dict[str, Any]) -> dict[str, Any]:
    """The same keys, one of them under a second id, so that it would count twice."""
    keys: dict[str, Any] = part["keys"]
    return keys | {"0" * 64: next(iter(keys.values()))}


def other_algorithm(part: dict[str, Any]) -> dict[str, Any]:
    key = {"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": "00" * 32}}
    keys: dict[str, Any] = part["keys"]
    return keys | {hashlib.sha256(encode(key)).hexdigest(): key}


def lying_fetch(a: Attack, **lies: Any) -> Offering:
    """A file that is not inside the offer, and whose hash the outpost does not hold."""
    data = a.newest.targets[names.KEYS_PATH]
    told = {"inline": b"", "sha256": hashlib.sha256(b"promised").digest(), "size": len(data)}
    return honest(a.newest).but(names.KEYS_PATH, **(told | lies))


def with_bodies(offering: Offering, bodies: Callable[[bytes], Any]) -> Offering:
    return Offering(offering.files, bodies)


Made = SignedSet | Offering
CASES: dict[str, tuple[Callable[[Attack], Made], str]] = {
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
        lambda a: a.forge.replaced(names.PACKS_PATH, flipped(a.newest.targets[names.PACKS_PATH])),
        "bundle.hash",
    ),
    "one bit of a listed role is changed": (
        lambda a: a.forge.replaced("policy.json", flipped(a.newest.metadata["policy.json"])),
        "bundle.hash",
    ),
    "a target is swapped with another": (
        lambda a: a.forge.replaced(names.ROUTES_PATH, a.newest.targets[names.PACKS_PATH]),
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
    "a target is missing": (lambda a: a.forge.without(names.ROUTES_PATH), "bundle.missing_target"),
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
            "rollout", lambda p: p["targets"].update({names.PACKS_PATH: next(iter(p["targets"].values()))})
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
    "a value out of its bounds": (lambda a: a.document(names.ROLLOUT_PATH, fraction_percent=101), "bundle.document"),
    "a rollout of a release that is not there": (
        lambda a: a.document(names.ROLLOUT_PATH, release=99),
        "bundle.rollout_release",
    ),
    "a policy that the release does not name": (
        lambda a: a.document(names.PACKS_PATH, combining="first_match"),
        "bundle.resource",
    ),
    "a policy that does not compile": (lambda a: a.packs(combining="loudest_wins"), "policy.document_invalid"),
    "a provider of a kind that does not exist": (
        lambda a: a.release({names.ROUTES_PATH: a.newest.targets[names.ROUTES_PATH].replace(b'"openai"', b'"pigeon"')}),
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
}
