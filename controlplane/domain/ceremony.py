"""Ceremony files: what somebody with an offline key is asked to sign, whole and readable, and what he signed.

A file travels: the control plane writes it, key holders add their signatures far from it, the control plane takes it
back. It holds the exact payload of each metadata file that must be signed, who must sign it, the documents that these
payloads name, and what is in force now, so that a key holder needs nothing else to see what changes. It is canonical
JSON; nothing in it is believed because it stands there.

Source: TUF 1.0.34 §6.1 for the two authorities of a new root.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controlplane.domain.errors import ConflictError, InputError
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.metadata import tuf_key_id
from outpost.core.bundle.release import RoleKeys
from outpost.core.bundle.signatures import require_signature, require_signed

CEREMONY_SCHEMA = "outpost.ceremony/1"
KEYS, RELEASE = "keys", "release"
KINDS = (KEYS, RELEASE)
MAX_CEREMONY_BYTES = 8 * 1024 * 1024  # a policy document has 1 MiB at most; it stands here twice, old and new


class CeremonyKeyError(InputError):
    """The key may sign nothing in this file."""

    code = "ceremony.key"


class CeremonyStaleError(ConflictError):
    """The configuration changed since the ceremony file was made."""

    code = "ceremony.stale"


@dataclass(frozen=True, slots=True)
class Part:
    """One metadata file to be signed.

    Attributes:
        role: whose file it is.
        signed: its signed part; its canonical bytes are the payload.
        authorities: who must sign; a new root has two, the keys before and its own.
        signatures: TUF key id to signature.
    """

    role: str
    signed: Mapping[str, object]
    authorities: tuple[RoleKeys, ...]
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        return encode(self.signed)

    @property
    def version(self) -> int:
        """Version of the metadata."""
        return int(str(self.signed["version"]))

    @property
    def missing(self) -> int:
        """Signatures that are still needed at least."""
        return max(each.threshold - len(each.keys.keys() & self.signatures.keys()) for each in self.authorities)

    def may_sign(self, key_id: str) -> bool:
        """A key of one of the authorities."""
        return any(key_id in each.keys for each in self.authorities)

    def require_signed(self) -> None:
        """Hold the signatures against all who must sign.

        Raises:
            SignatureError: one that is wrong or of somebody else, or too few.
        """
        require_signed(self.payload, self.signatures, self.authorities, self.role)

    def file(self) -> bytes:
        """The metadata file with the signatures that are there."""
        signatures = [{"keyid": key_id, "sig": self.signatures[key_id].hex()} for key_id in sorted(self.signatures)]
        return encode({"signatures": signatures, "signed": self.signed})


@dataclass(frozen=True, slots=True)
class Ceremony:
    """A file that travels.

    Attributes:
        org: for which org.
        kind: "keys" or "release".
        created_ms: Unix milliseconds.
        parts: in the order root, targets, delegated roles.
        documents: target path to bytes, of the roles that are to be signed.
        base: file name or target path to bytes of what is in force now, as far as a comparison needs it.
        summary: what changes, in sentences.
    """

    org: str
    kind: str
    created_ms: int
    parts: tuple[Part, ...]
    documents: Mapping[str, bytes]
    base: Mapping[str, bytes]
    summary: tuple[str, ...] = ()

    def part(self, role: str) -> Part | None:
        """The part of a role."""
        return next((each for each in self.parts if each.role == role), None)

    def signed_by(self, public_key: bytes, signatures: Mapping[str, bytes]) -> "Ceremony":
        """The file with one key's signatures added.

        Args:
            public_key: 32 bytes of the key.
            signatures: role to signature, by that key.

        Raises:
            CeremonyKeyError: the key may sign nothing here.
            BadSignatureError: a signature is not one of the key.
        """
        key_id = tuf_key_id(public_key)
        if not any(part.may_sign(key_id) for part in self.parts):
            raise CeremonyKeyError(
                f"the key {key_id[:12]} may sign nothing in this file",
                field="key",
                next_step="see who may: controlplane root show FILE",
            )
        parts = []
        for part in self.parts:
            if part.may_sign(key_id) and part.role in signatures:
                require_signature(public_key, signatures[part.role], part.payload, part.role)
                parts.append(replace(part, signatures={**part.signatures, key_id: signatures[part.role]}))
            else:
                parts.append(part)
        return replace(self, parts=tuple(parts))

    def to_bytes(self) -> bytes:
        """Canonical bytes of the file."""
        return encode(
            {
                "schema": CEREMONY_SCHEMA,
                "org": self.org,
                "kind": self.kind,
                "created_ms": self.created_ms,
                "parts": [_part_fields(part) for part in self.parts],
                "documents": {path: data.decode() for path, data in self.documents.items()},
                "base": {name: data.decode() for name, data in self.base.items()},
                "summary": list(self.summary),
            }
        )


def _part_fields(part: Part) -> dict[str, object]:
    return {
        "role": part.role,
        "signed": part.signed,
        "authorities": [
            {"threshold": each.threshold, "keys": {key_id: key.hex() for key_id, key in each.keys.items()}}
            for each in part.authorities
        ],
        "signatures": {key_id: signature.hex() for key_id, signature in part.signatures.items()},
    }


def layout_after(ceremony: Ceremony, before: Mapping[str, RoleKeys]) -> dict[str, RoleKeys]:
    """Who signs for each role once the root and targets of a ceremony are in force.

    Args:
        ceremony: read strictly.
        before: role name to its keys now.
    """
    layout = dict(before)
    for role in (names.ROOT, names.TARGETS):
        part = ceremony.part(role)
        if part is not None:
            layout |= keys_in(part.signed)
    return layout


def require_fresh(ceremony: Ceremony, versions: Mapping[str, int]) -> None:
    """Refuse a file whose parts do not follow what stands now.

    Args:
        ceremony: read strictly.
        versions: role name to the version that stands.

    Raises:
        CeremonyStaleError: a part has another version than the next one.
    """
    for part in ceremony.parts:
        if part.version != versions[part.role] + 1:
            raise _stale(part.role)


def taken_over(fresh: Part, ceremonial: Part | None) -> Part:
    """The ceremony's part in the place of the one that would be made now; they differ in their expiry at most.

    Args:
        fresh: made now, with the authorities that count.
        ceremonial: of the file; None gives the fresh one.

    Raises:
        CeremonyStaleError: they say different things.
    """
    if ceremonial is None:
        return fresh
    if {**fresh.signed, "expires": ceremonial.signed["expires"]} != ceremonial.signed:
        raise _stale(fresh.role)
    return replace(fresh, signed=ceremonial.signed, signatures=ceremonial.signatures)


def _stale(role: str) -> CeremonyStaleError:
    return CeremonyStaleError(
        f"the configuration has changed since {role} was prepared for signing",
        field=role,
        next_step="prepare it again, and let it be signed again",
    )


def keys_in(signed: Mapping[str, object]) -> dict[str, RoleKeys]:
    """Role name to its keys, out of the signed part of root or targets of our form."""
    fields = Fields(dict(signed), "signed")
    below = fields.nested("delegations") if fields.has("delegations") else fields
    keys = {
        key_id: bytes.fromhex(key.nested("keyval").sha256("public"))
        for key_id, key in below.mapping("keys", limits.MAX_KEYS).items()
    }
    if fields.has("delegations"):
        roles = {role.text("name"): role for role in below.objects("roles", limits.MAX_KEYS)}
    else:
        roles = below.mapping("roles", limits.MAX_KEYS)
    return {
        name: RoleKeys(
            role.integer("threshold", 1, limits.MAX_KEYS),
            {key_id: keys[key_id] for key_id in role.texts("keyids", limits.MAX_KEYS)},
        )
        for name, role in roles.items()
    }
