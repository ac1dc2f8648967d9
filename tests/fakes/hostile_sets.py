"""Signed sets that no outpost may accept, each made by somebody who holds some of the keys and not the right ones."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.bootstrap.plane import Plane
from controlplane.domain.releases import resource
from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import SignedSet
from tests.fakes.hostile_plane import Offering, honest
from tests.unit.core.bundle.samples import ROLES, Forge, Keys, key_id, path_of, sign, signed_part

ACCESS = "access.json"


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

    @property
    def org(self) -> str:
        """Whose set is attacked."""
        return str(decode(self.newest.targets[names.KEYS_PATH], "keys")["org"])

    @property
    def client_keys(self) -> list[dict[str, Any]]:
        """Client keys in force, as they stand in their document."""
        return cast(list[dict[str, Any]], decode(self.newest.targets[names.KEYS_PATH], "keys")["keys"])

    def document(self, path: str, **changes: Any) -> SignedSet:
        """A document changed by its own role's key holder."""
        body = decode(self.newest.targets[path], path) | changes
        return self.forge.with_target(path, encode(body))

    @property
    def version(self) -> int:
        """The newest release in force."""
        return max(names.release_version(path) for path in self.newest.targets)

    def resource(self, name: str) -> str:
        """Path of a resource of the newest release."""
        return path_of(self.newest, name, self.version)

    @property
    def packs_path(self) -> str:
        """Path of the policy document in force."""
        return self.resource(names.PACKS)

    @property
    def routes_path(self) -> str:
        """Path of the routes in force."""
        return self.resource(names.ROUTES)

    def release(self, changed: Mapping[str, bytes], **fields: Any) -> SignedSet:
        """The release with other resources or fields, complete and signed by the policy role's key holder.

        Args:
            changed: name of a resource to its bytes.
            fields: of the release.
        """
        made, where = self.forge, names.release_path(self.version)
        body = decode(made.signed.targets[where], where) | fields
        resources = cast(dict[str, Any], body["resources"])
        for name, data in changed.items():
            named = resource(name, data)
            made = Forge(made.keys, made.with_target(named.path, data))
            resources[name] = {"path": named.path, "sha256": named.sha256, "size": named.size}
        return made.with_target(where, encode(body))

    def packs(self, **fields: Any) -> SignedSet:
        """A release with another policy document."""
        old = decode(self.newest.targets[self.packs_path], "packs")
        return self.release({names.PACKS: encode(old | fields)})

    def routes(self, old: bytes, new: bytes) -> SignedSet:
        """A release with other routes."""
        return self.release({names.ROUTES: self.newest.targets[self.routes_path].replace(old, new)})

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
    body = json.loads(a.newest.metadata["timestamp.json"])
    text = body["signatures"][0]["sig"]
    body["signatures"][0]["sig"] = ("1" if text[0] == "0" else "0") + text[1:]
    return a.forge.replaced("timestamp.json", encode(body))


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
