"""A signed set of an org, and the means to alter it like somebody who holds some of the keys."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import SSlibKey

from certs.signer import KeySigner
from controlplane.domain.releases import Changes, first_release
from controlplane.services.repository import Repository
from outpost.core.bundle import names
from outpost.core.bundle.access import AccessDocument, ClientKey, build_access
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.caps import CapsDocument, build_caps
from outpost.core.bundle.documents import (
    DetectorsDocument,
    Provider,
    RoutesDocument,
    build_detectors,
    build_routes,
)
from outpost.core.bundle.kill import KillDocument, build_kill
from outpost.core.bundle.release import Audience, HighWater, RoleKeys, SignedSet
from outpost.core.bundle.release_document import Release, SelfTest, parse_release
from outpost.core.bundle.revocations import RevocationsDocument, build_revocations
from outpost.core.bundle.rollout import RolloutDocument, build_rollout

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000
ORG = "acme"
OUTPOST = "prod-eu"
AUDIENCE = Audience(ORG, OUTPOST)
NOTHING = HighWater(versions={}, time_floor_ms=0)
ROLES = (names.ROOT, names.TIMESTAMP, names.SNAPSHOT, names.TARGETS, *names.DELEGATED_ROLES)

Keys = dict[str, list[Ed25519PrivateKey]]
Change = Callable[[dict[str, Any]], None]


def new_keys() -> Keys:
    return {role: [Ed25519PrivateKey.generate() for _ in range(3 if role == "root" else 1)] for role in ROLES}


def repository(keys: Keys, org: str = ORG) -> Repository:
    return Repository(org, {role: [KeySigner(key) for key in mine] for role, mine in keys.items()})


def rotated(signed: SignedSet, old: Keys, new: Keys, now_ms: int = NOW_MS, **thresholds: int) -> SignedSet:
    """The next set under other keys, or under the same ones renewed."""
    both = {role: [*old[role], *(key for key in new[role] if key not in old[role])] for role in ROLES}
    signer = repository(both)
    layout = {role: role_keys(new[role], thresholds.get(role, 2 if role == names.ROOT else 1)) for role in ROLES}
    proposal = signer.propose_keys(signed, layout, frozenset({names.ROOT, names.TARGETS}), now_ms)
    return signer.adopt(signed, proposal, {}, now_ms)


def role_keys(keys: Sequence[Ed25519PrivateKey], threshold: int = 1) -> RoleKeys:
    return RoleKeys(threshold, {key_id(key): key.public_key().public_bytes_raw() for key in keys})


def client_key(n: int = 1) -> ClientKey:
    return ClientKey(
        id=f"key-{n}",
        sha256=hashlib.sha256(str(n).encode()).hexdigest(),
        name="Zoë's laptop",
        user="zoe",
        groups=("nurses",),
        agent="",
        channel="api",
        data_class="internal",
        models=(),
        not_before=0,
        expires=1_900_000_000,
        revoked=False,
    )


PROVIDER = Provider("main", "openai", "https://api.example.com/v1", "main-key", ("gpt-*",), 5000, 60000)


def release(org: str = ORG, version: int = 1, **terms: Any) -> Release:
    values: dict[str, Any] = {
        "fallback": None,
        "required_tiers": (1,),
        "seal_after_seconds": 604800,
        "max_body_bytes": 1_000_000,
        "self_tests": (SelfTest("a test\ncard", "credit_card"),),
        "resources": {},
        **terms,
    }
    return Release(org=org, version=version, **values)


def resources(org: str = ORG, version: int = 1, **more: bytes) -> dict[str, bytes]:
    return {
        names.PACKS: encode({"schema": "outpost.policy/1", "org": org, "note": f"release {version}"}),
        names.ROUTES: build_routes(RoutesDocument(org, (PROVIDER,))),
        names.DETECTORS: build_detectors(DetectorsDocument(org, "builtin-1", ("ssn",))),
        names.CAPS: build_caps(CapsDocument(org)),
        **more,
    }


def online(org: str = ORG, version: int = 1) -> dict[str, bytes]:
    """Documents of the online roles."""
    return {
        names.KEYS_PATH: build_access(AccessDocument(org, (client_key(),), 60)),
        names.REVOCATIONS_PATH: build_revocations(RevocationsDocument(org)),
        names.KILL_PATH: build_kill(KillDocument(org)),
        names.ROLLOUT_PATH: build_rollout(RolloutDocument(org, version)),
    }


def documents(org: str = ORG, version: int = 1, **more: bytes) -> dict[str, bytes]:
    return {
        **first_release(release(org, version), resources(org, version)),
        **online(org, version),
        **more,
    }


def update(signed: SignedSet, version: int, **terms: Any) -> Changes:
    """Changes that make a release the only one, and roll it out."""
    made = first_release(release(version=version, **terms), resources(version=version))
    old = dict.fromkeys(path for path in signed.targets if path.startswith("policy/") and path not in made)
    return {**old, **made, names.ROLLOUT_PATH: build_rollout(RolloutDocument(ORG, version))}


def beside(signed: SignedSet, version: int, threshold: int = 0, **terms: Any) -> Changes:
    """Changes that put a candidate beside the stable release."""
    stable = max(names.release_version(path) for path in signed.targets)
    made = first_release(release(version=version, fallback=stable, **terms), resources(version=version))
    return {**made, names.ROLLOUT_PATH: build_rollout(RolloutDocument(ORG, stable, version, threshold, 5))}


def path_of(signed: SignedSet, name: str, version: int = 1) -> str:
    """Path of a resource of a release."""
    where = names.release_path(version)
    return (
        parse_release(signed.targets[where], str(decode(signed.targets[where], where)["org"]), where)
        .resources[name]
        .path
    )


def sign(signed: dict[str, Any], keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Metadata file around any signed part, however wrong."""
    payload = str(encode_canonical(signed)).encode()
    signatures = [{"keyid": key_id(key), "sig": key.sign(payload).hex()} for key in keys]
    return encode({"signatures": signatures, "signed": signed})


def key_id(key: Ed25519PrivateKey) -> str:
    return str(SSlibKey.from_crypto(key.public_key()).keyid)


def signed_part(data: bytes) -> dict[str, Any]:
    part = decode(data, "sample")["signed"]
    assert isinstance(part, dict)
    return part


@dataclass
class Forge:
    """A set and all of its keys; each act gives a changed set."""

    keys: Keys
    signed: SignedSet

    @property
    def root(self) -> bytes:
        return self.signed.metadata["1.root.json"]

    def replaced(self, name: str, data: bytes) -> SignedSet:
        """Bytes exchanged, nothing signed anew."""
        if name in self.signed.targets or "/" in name:
            return SignedSet(self.signed.metadata, {**self.signed.targets, name: data})
        return SignedSet({**self.signed.metadata, name: data}, self.signed.targets)

    def without(self, name: str) -> SignedSet:
        return SignedSet(
            {k: v for k, v in self.signed.metadata.items() if k != name},
            {k: v for k, v in self.signed.targets.items() if k != name},
        )

    def edited(self, role: str, change: Change, keys: Sequence[Ed25519PrivateKey] | None = None) -> SignedSet:
        """One role altered and signed again by its keys (or others), the lists above it signed to match."""
        metadata = dict(self.signed.metadata)
        name = "1.root.json" if role == "root" else f"{role}.json"
        part = signed_part(metadata[name])
        change(part)
        metadata[name] = sign(part, self.keys[role] if keys is None else keys)
        return SignedSet(self._listed(metadata, role), self.signed.targets)

    def with_target(self, path: str, data: bytes) -> SignedSet:
        """A target exchanged by its own role's key holder."""
        role = path.split("/", maxsplit=1)[0]
        entry = {"length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        changed = self.edited(role, lambda part: part["targets"].update({path: entry}))
        return SignedSet(changed.metadata, {**changed.targets, path: data})

    def relisted(self, name: str, data: bytes) -> SignedSet:
        """Other bytes under a metadata name, with the lists above it signed to match."""
        metadata = {**self.signed.metadata, name: data}
        return SignedSet(self._listed(metadata, name.removesuffix(".json")), self.signed.targets)

    def _listed(self, metadata: dict[str, bytes], role: str) -> dict[str, bytes]:
        if role in ("root", "timestamp"):
            return metadata
        parent = "timestamp" if role == "snapshot" else "snapshot"
        data, part = metadata[f"{role}.json"], signed_part(metadata[f"{parent}.json"])
        entry = part["meta"].get(f"{role}.json", {"version": 1})
        entry |= {"length": len(data), "hashes": {"sha256": hashlib.sha256(data).hexdigest()}}
        metadata[f"{parent}.json"] = sign(part, self.keys[parent])
        return self._listed(metadata, parent)


def forge(org: str = ORG, keys: Keys | None = None, now_ms: int = NOW_MS) -> Forge:
    keys = keys or new_keys()
    return Forge(keys, repository(keys, org).create(documents(org), now_ms))
