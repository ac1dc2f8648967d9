"""Ceremony files read strictly, and what a key holder's own key proves about them.

A file comes from a control plane that may be in the wrong hands. So what it shows must be what is signed: every
document of a role that is to be signed has the hash that the payload names, and what it compares with is proven by the
signature that the same key gave last.
"""

import hashlib
from collections.abc import Mapping

from controlplane.domain.ceremony import CEREMONY_SCHEMA, KINDS, MAX_CEREMONY_BYTES, Ceremony, Part
from controlplane.domain.errors import InputError
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import (
    HashError,
    MissingTargetError,
    OversizedError,
    SchemaError,
    UnlistedMetadataError,
    UnlistedTargetError,
)
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.metadata import (
    HEX_KEY_ID,
    HEX_SIGNATURE,
    TOP_LEVEL,
    check_envelope,
    check_signed,
    tuf_key_id,
)
from outpost.core.bundle.release import RoleKeys
from outpost.core.bundle.signatures import require_signature
from outpost.core.errors import BundleError

MAX_PARTS = 8  # as many as there are roles
MAX_TEXT_CHARS = 4 * 1024 * 1024  # of one document or metadata file
COMPARED = (names.ROOT, names.TARGETS, names.POLICY)
"""Roles whose change is told by comparison with what is in force."""


class CeremonySummaryError(InputError):
    """The summary in the file is not what the file says: somebody changed one of them."""

    code = "ceremony.summary"


class CeremonyBaseError(InputError):
    """What the file compares with cannot be proven to be in force."""

    code = "ceremony.base"


def read_ceremony(data: bytes, org: str = "") -> Ceremony:
    """Read a ceremony file from untrusted bytes.

    Every payload has the exact form of our metadata, every key id is the hash of its key, every document is the one
    that its payload names, and every signature that is there verifies; whether there are enough is asked at the end
    (``Part.require_signed``).

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
    _require_documents(ceremony)
    _require_base(ceremony)
    return ceremony


def _require_documents(ceremony: Ceremony) -> None:
    """What is shown is what is signed: the documents of each role are exactly those that its payload names."""
    for part in ceremony.parts:
        if part.role in TOP_LEVEL:
            continue
        listed = _listed(part.signed)
        shown = {path: data for path, data in ceremony.documents.items() if names.role_of_target(path) == part.role}
        for path, digest in listed.items():
            if path not in shown:
                raise MissingTargetError(f"{path} shall be signed, but is not in the file.", field=path)
            if hashlib.sha256(shown[path]).hexdigest() != digest:
                raise HashError(f"{path} is not the document that shall be signed.", field=path)
        for path in shown:
            if path not in listed:
                raise UnlistedTargetError(f"{path} is in the file, but shall not be signed.", field=path)


def _listed(signed: Mapping[str, object]) -> dict[str, str]:
    targets = Fields(dict(signed), "signed").mapping("targets", limits.MAX_SET_FILES)
    return {path: item.nested("hashes").sha256("sha256") for path, item in targets.items()}


def _require_base(ceremony: Ceremony) -> None:
    """Metadata that is compared with has the form of ours; whether it is in force is another question."""
    for name, data in ceremony.base.items():
        if "/" in name:
            continue
        role = names.ROOT if names.root_version(name) else name.removesuffix(".json")
        if role not in COMPARED or name not in (names.metadata_file(role), names.root_file(names.root_version(name))):
            raise UnlistedMetadataError("The file compares with metadata that it may not hold.", field=name[:64])
        check_envelope(Fields(decode(data, name), name), role, ceremony.org)


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


def require_known_base(ceremony: Ceremony, public_key: bytes) -> None:
    """Prove that what the file compares with is what this key signed last.

    A control plane in the wrong hands could compare with something else, so that a change looks like none. But the
    metadata in force bears this key's own signature, names every document by hash, and has the version before the one
    that shall be signed; an older one would lead to a version that outposts refuse.

    Args:
        ceremony: read strictly.
        public_key: 32 bytes of the key that shall sign.

    Raises:
        CeremonyBaseError: it cannot be proven for a part that this key may sign.
    """
    for part in ceremony.parts:
        if part.role in COMPARED and part.may_sign(tuf_key_id(public_key)):
            _require_known(ceremony, part, public_key)


def _require_known(ceremony: Ceremony, part: Part, public_key: bytes) -> None:
    name = names.root_file(part.version - 1) if part.role == names.ROOT else names.metadata_file(part.role)
    if name not in ceremony.base:
        raise CeremonyBaseError(f"the file does not say which {part.role} is in force", field="base")
    value = decode(ceremony.base[name], name)
    fields, signed = Fields(value, name), Fields(value["signed"], name)
    signatures = {each.text("keyid"): each.text("sig") for each in fields.objects("signatures", limits.MAX_SIGNATURES)}
    try:
        signature = bytes.fromhex(signatures.get(tuf_key_id(public_key), ""))
        require_signature(public_key, signature, encode(signed.whole()), name)
    except BundleError:
        raise CeremonyBaseError(
            f"this key did not sign the {part.role} that the file says is in force", field="base"
        ) from None
    if signed.integer("version", 1, limits.MAX_VERSION) + 1 != part.version:
        raise CeremonyBaseError(f"the file compares with an older {part.role} than the last one", field="base")
    if part.role == names.POLICY:
        found = {path: hashlib.sha256(data).hexdigest() for path, data in ceremony.base.items() if "/" in path}
        if found != _listed(signed.whole()):
            raise CeremonyBaseError("the file compares with other documents than this key signed last", field="base")


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
