"""Ceremony files: what somebody with an offline key is asked to sign, whole and readable, and what he signed.

A file travels: the control plane writes it, key holders add their signatures far from it, the control plane takes it
back. It holds the exact payload of each metadata file that must be signed, who must sign it, the documents that these
payloads name, and what is in force now, so that a key holder needs nothing else to see what changes. It is canonical
JSON; nothing in it is believed because it stands there.

Source: TUF 1.0.34 §6.1 for the two authorities of a new root.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controlplane.domain.errors import ConflictError, InputError
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import OversizedError, SchemaError
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.metadata import HEX_KEY_ID, HEX_SIGNATURE, check_envelope, check_signed, tuf_key_id
from outpost.core.bundle.release import RoleKeys
from outpost.core.bundle.signatures import require_signature, require_signed
from outpost.core.errors import BundleError

CEREMONY_SCHEMA = "outpost.ceremony/1"
KEYS, RELEASE = "keys", "release"
KINDS = (KEYS, RELEASE)
MAX_CEREMONY_BYTES = 8 * 1024 * 1024  # a policy document has 1 MiB at most; it stands here twice, old and new
MAX_PARTS = 8  # as many as there are roles
MAX_TEXT_CHARS = 4 * 1024 * 1024  # of one document or metadata file


class CeremonyKeyError(InputError):
    """The key may sign nothing in this file."""

    code = "ceremony.key"


class CeremonySummaryError(InputError):
    """The summary in the file is not what the file says: somebody changed one of them."""

    code = "ceremony.summary"


class CeremonyBaseError(InputError):
    """What the file compares with cannot be proven to be in force."""

    code = "ceremony.base"


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


def require_known_base(ceremony: Ceremony, public_key: bytes) -> None:
    """Prove that what the file compares with is what this key signed last.

    A control plane in the wrong hands could compare with something else, so that a change looks like none. But the
    policy metadata in force bears this key's own signature, names every document by hash, and has the version before
    the one that shall be signed; an older one would lead to a version that outposts refuse.

    Args:
        ceremony: read strictly.
        public_key: 32 bytes of the key that shall sign its policy part.

    Raises:
        CeremonyBaseError: it cannot be proven.
    """
    part, name = ceremony.part(names.POLICY), names.metadata_file(names.POLICY)
    if part is None or name not in ceremony.base:
        raise CeremonyBaseError("the file does not say what is in force", field="base")
    try:
        value = decode(ceremony.base[name], name)
        check_envelope(Fields(value, name), names.POLICY, ceremony.org)
        fields, signed = Fields(value, name), Fields(value["signed"], name)
        signatures = {each.text("keyid"): each.text("sig") for each in fields.objects("signatures", limits.MAX_KEYS)}
        signature = bytes.fromhex(signatures.get(tuf_key_id(public_key), ""))
        require_signature(public_key, signature, encode(signed.whole()), name)
        listed = {path: item.nested("hashes").sha256("sha256") for path, item in signed.mapping("targets", 256).items()}
    except BundleError:
        raise CeremonyBaseError("this key did not sign what the file says is in force", field="base") from None
    found = {path: hashlib.sha256(data).hexdigest() for path, data in ceremony.base.items() if "/" in path}
    if found != listed or signed.integer("version", 1, limits.MAX_VERSION) + 1 != part.version:
        raise CeremonyBaseError("the file compares with something else than what this key signed last", field="base")


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


def read_ceremony(data: bytes, org: str = "") -> Ceremony:
    """Read a ceremony file from untrusted bytes.

    Every payload has the exact form of our metadata, every key id is the hash of its key, and every signature that is
    there verifies; whether there are enough is asked at the end (``Part.require_signed``).

    Args:
        data: the file.
        org: org that it must be for; any when empty.

    Raises:
        BundleError: malformed, too large, another schema, another org, or a signature that does not verify.
    """
    name = "ceremony"
    if len(data) > MAX_CEREMONY_BYTES:
        raise OversizedError(f"A ceremony file has at most {MAX_CEREMONY_BYTES} bytes.", field=name)
    fields = Fields(decode(data, name), name)
    if fields.text("schema") != CEREMONY_SCHEMA:
        raise SchemaError(f"The file is not of schema {CEREMONY_SCHEMA}.", field=f"{name}/schema")
    found = fields.match("org", names.ORG_PATTERN)
    if org:
        require_org(found, org, name)
    ceremony = Ceremony(
        org=found,
        kind=fields.choice("kind", KINDS),
        created_ms=fields.integer("created_ms", 0, limits.MAX_INTEGER),
        parts=tuple(_part(item, found) for item in fields.objects("parts", MAX_PARTS)),
        documents=_texts(fields, "documents"),
        base=_texts(fields, "base"),
        summary=tuple(str(line) for line in fields.items("summary", limits.MAX_SET_FILES)),
    )
    fields.done()
    if len({part.role for part in ceremony.parts}) != len(ceremony.parts) or not ceremony.parts:
        raise fields.fail("parts", "must hold at least one role, and none twice")
    return ceremony


def _part(fields: Fields, org: str) -> Part:
    role = fields.choice("role", (names.ROOT, names.TARGETS, *names.DELEGATED_ROLES))
    signed = fields.raw("signed")
    check_signed(fields.nested("signed"), role, org)
    authorities = tuple(_authority(item) for item in fields.objects("authorities", 2))
    if not authorities:
        raise fields.fail("authorities", "must say who signs")
    signatures = {}
    nested = fields.nested("signatures")
    for key_id in nested.names():
        signatures[key_id] = bytes.fromhex(nested.match(key_id, HEX_SIGNATURE))
    fields.done()
    assert isinstance(signed, dict)
    part = Part(role, signed, authorities, signatures)
    keys = {key_id: key for each in authorities for key_id, key in each.keys.items()}
    for key_id, signature in signatures.items():
        if key_id not in keys:
            raise fields.fail("signatures", "must be of keys that may sign")
        require_signature(keys[key_id], signature, part.payload, role)
    return part


def _authority(fields: Fields) -> RoleKeys:
    nested = fields.nested("keys")
    keys = {}
    for key_id in nested.names():
        keys[key_id] = bytes.fromhex(nested.sha256(key_id))
        if HEX_KEY_ID.fullmatch(key_id) is None or tuf_key_id(keys[key_id]) != key_id:
            raise nested.fail("", "must name keys by their hashes")
    if not 1 <= len(keys) <= limits.MAX_KEYS:
        raise fields.fail("keys", f"must hold 1 to {limits.MAX_KEYS} keys")
    authority = RoleKeys(fields.integer("threshold", 1, len(keys)), keys)
    fields.done()
    return authority


def _texts(fields: Fields, name: str) -> dict[str, bytes]:
    nested = fields.nested(name)
    if len(nested.names()) > limits.MAX_SET_FILES:
        raise fields.fail(name, f"must hold at most {limits.MAX_SET_FILES} files")
    return {path: nested.text(path, limit=MAX_TEXT_CHARS, empty=True).encode() for path in nested.names()}


def require_summary(ceremony: Ceremony, summary: tuple[str, ...]) -> None:
    """Refuse a file whose own summary is not the one that its content gives.

    Raises:
        CeremonySummaryError: it differs.
    """
    if ceremony.summary != summary:
        raise CeremonySummaryError(
            "the summary in the file is not what the file says",
            field="summary",
            next_step="ask for a new file: controlplane root propose",
        )
