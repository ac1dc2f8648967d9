"""The exact form of TUF metadata that our repositories have: what is held against it before anything is believed.

python-tuf keeps fields that it does not know and checks few types. Here a file is held field by field against what we
sign: no unknown field, Ed25519 and SHA-256 only, key ids that are hashes of their keys, our org, and delegations of the
fixed form. Nothing is verified yet. Used by the outpost for what it receives, and for what somebody is asked to sign.
"""

import hashlib
import re

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import (
    DelegationError,
    HashAlgorithmError,
    KeyAlgorithmError,
    KeyIdError,
    SchemaError,
    WrongTypeError,
)
from outpost.core.bundle.fields import Fields

ED25519 = "ed25519"
HEX_KEY_ID = re.compile(r"[0-9a-f]{64}")
HEX_SIGNATURE = re.compile(r"[0-9a-f]{128}")  # Ed25519: 64 bytes, RFC 8032 §5.1.6
_SPEC_VERSION = re.compile(r"1\.0\.[0-9]{1,3}")  # TUF 1.0.34 §4.3: same major version
_EXPIRES = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
TOP_LEVEL = (names.ROOT, names.TIMESTAMP, names.SNAPSHOT, names.TARGETS)
_LISTED_BY_SNAPSHOT = frozenset(names.metadata_file(role) for role in (names.TARGETS, *names.DELEGATED_ROLES))


def check_envelope(fields: Fields, role: str, org: str) -> None:
    """Hold a whole metadata file against its form.

    Args:
        fields: the decoded file.
        role: role whose file it is.
        org: org that it must name.

    Raises:
        BundleError: OtherOrgError, DelegationError or a leaf of ContentError.

    Source: TUF 1.0.34 §4.
    """
    key_ids = []
    for signature in fields.objects("signatures", limits.MAX_SIGNATURES):
        key_ids.append(signature.match("keyid", HEX_KEY_ID))
        signature.match("sig", HEX_SIGNATURE)
        signature.done()
    if len(set(key_ids)) != len(key_ids):
        raise fields.fail("signatures", "must not hold two signatures of one key")
    check_signed(fields.nested("signed"), role, org)
    fields.done()


def check_signed(signed: Fields, role: str, org: str) -> None:
    """Hold the signed part of a metadata file against its form; see ``check_envelope``.

    Raises:
        BundleError: as ``check_envelope``.
    """
    expected = role if role in TOP_LEVEL else names.TARGETS
    if signed.text("_type") != expected:
        raise WrongTypeError(f"The file of {role} holds metadata of another role.", field=role)
    require_org(signed.text(names.ORG_FIELD), org, role)
    if not _SPEC_VERSION.fullmatch(signed.text("spec_version")):
        raise SchemaError(f"{role} follows another TUF than 1.0.", field=role, next_step="Update the outpost.")
    signed.integer("version", 1, limits.MAX_VERSION)
    signed.match("expires", _EXPIRES)
    if role == names.ROOT:
        _check_root(signed)
    elif role == names.TIMESTAMP:
        _check_timestamp(signed)
    elif role == names.SNAPSHOT:
        _check_snapshot(signed)
    else:
        _check_targets(signed, role)
    signed.done()


def _check_root(signed: Fields) -> None:
    if signed.flag("consistent_snapshot"):
        raise signed.fail("consistent_snapshot", "must be false: files are known by name and hash")
    keys = _check_keys(signed)
    roles = signed.mapping("roles", len(TOP_LEVEL))
    if set(roles) != set(TOP_LEVEL):
        raise signed.fail("roles", f"must be {', '.join(TOP_LEVEL)}")
    for role in roles.values():
        _check_role(role, keys)
        role.done()


def _check_keys(fields: Fields) -> frozenset[str]:
    keys = fields.mapping("keys", limits.MAX_KEYS)
    for key_id, key in keys.items():
        if key.text("keytype") != ED25519 or key.text("scheme") != ED25519:
            raise KeyAlgorithmError("A signing key is not Ed25519.", field=key_id[:64])
        value = key.nested("keyval")
        public = value.sha256("public")  # 32 bytes in hex, as a hash has
        value.done()
        key.done()
        if tuf_key_id(bytes.fromhex(public)) != key_id:
            raise KeyIdError("A signing key stands under an id that is not its hash.", field=key_id[:64])
    return frozenset(keys)


def tuf_key_id(public_key: bytes) -> str:
    """Id of an Ed25519 key in TUF metadata: 64 hex digits.

    Args:
        public_key: 32 bytes.

    Source: TUF 1.0.34 §4.2.
    """
    described = {"keytype": ED25519, "scheme": ED25519, "keyval": {"public": public_key.hex()}}
    return hashlib.sha256(encode(described)).hexdigest()


def _check_role(role: Fields, keys: frozenset[str]) -> None:
    key_ids = role.texts("keyids", limits.MAX_KEYS, pattern=HEX_KEY_ID)
    if not set(key_ids) <= keys:
        raise role.fail("keyids", "must be ids of keys in the same file")
    role.integer("threshold", 1, len(key_ids))


def _check_timestamp(signed: Fields) -> None:
    signed.integer(names.SIGNED_AT_FIELD, 1, limits.MAX_INTEGER)
    meta = signed.mapping("meta", 1)
    if set(meta) != {names.metadata_file(names.SNAPSHOT)}:
        raise signed.fail("meta", "must list snapshot.json and nothing else")
    _check_meta_files(meta)


def _check_snapshot(signed: Fields) -> None:
    meta = signed.mapping("meta", len(_LISTED_BY_SNAPSHOT))
    if set(meta) != _LISTED_BY_SNAPSHOT:
        raise signed.fail("meta", f"must list {', '.join(sorted(_LISTED_BY_SNAPSHOT))} and nothing else")
    _check_meta_files(meta)


def _check_meta_files(meta: dict[str, Fields]) -> None:
    for item in meta.values():
        item.integer("version", 1, limits.MAX_VERSION)
        _check_content(item, limits.MAX_METADATA_BYTES)


def _check_content(item: Fields, max_bytes: int) -> None:
    """Length and hash are optional in TUF for metadata; here both are required."""
    item.integer("length", 0, max_bytes)
    hashes = item.nested("hashes")
    if hashes.names() != ("sha256",):
        raise HashAlgorithmError("A file is named by another hash than SHA-256.", field="hashes")
    hashes.sha256("sha256")
    item.done()


def _check_targets(signed: Fields, role: str) -> None:
    targets = signed.mapping("targets", limits.MAX_SET_FILES)
    for path, item in targets.items():
        if names.role_of_target(path) != role:
            raise DelegationError(f"{role} names a file outside {role}/*.", field=path[: limits.MAX_NAME_BYTES])
        _check_content(item, limits.MAX_TARGET_BYTES)
    if role == names.TARGETS:
        _check_delegations(signed.nested("delegations"))
    elif signed.has("delegations"):
        raise DelegationError(f"{role} delegates further, which it may not.", field=f"{role}/delegations")


def _check_delegations(delegations: Fields) -> None:
    keys = _check_keys(delegations)
    found = []
    for role in delegations.objects("roles", len(names.DELEGATED_ROLES)):
        name = role.text("name")
        if role.items("paths", 1) != [f"{name}/*"] or not role.flag("terminating"):
            raise DelegationError(f"{name} is delegated other paths than its own.", field=name)
        _check_role(role, keys)
        role.done()
        found.append(name)
    if sorted(found) != sorted(names.DELEGATED_ROLES):
        raise DelegationError(
            f"targets must delegate {', '.join(names.DELEGATED_ROLES)}, each once.", field="delegations"
        )
    delegations.done()
