r"""A signed set as one file, for where no network reaches.

``outpost-bundle-1\n`` ‖ u32 length ‖ head ‖ files. The head is canonical JSON: org, and of each file kind, name, size
and hash, in the order of the files. Nothing in it is trusted: what comes out is a signed set like one from the wire,
and is verified like one.
"""

import hashlib
from collections.abc import Mapping

from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.documents import require_org
from outpost.core.bundle.errors import (
    DocumentError,
    HashError,
    LengthError,
    MalformedError,
    OversizedError,
    TruncatedError,
)
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.release import SignedSet

MAGIC = b"outpost-bundle-1\n"
MAX_HEAD_BYTES = 128 * 1024  # bytes; 256 files of at most 128 bytes of name, with hash and size, fit twice
MAX_ARCHIVE_BYTES = limits.MAX_SET_BYTES + MAX_HEAD_BYTES + len(MAGIC) + 4
_LENGTH_BYTES = 4
_METADATA, _TARGET = "metadata", "target"
_NAME = "bundle"


def pack_archive(signed: SignedSet, org: str) -> bytes:
    """One file of a set; equal sets give equal bytes."""
    head: list[dict[str, object]] = []
    blobs = []
    for kind, files in ((_METADATA, signed.metadata), (_TARGET, signed.targets)):
        for name in sorted(files):
            data = files[name]
            head.append({"kind": kind, "name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
            blobs.append(data)
    encoded = encode({"org": org, "files": head})
    return b"".join((MAGIC, len(encoded).to_bytes(_LENGTH_BYTES, "big"), encoded, *blobs))


def unpack_archive(data: bytes, org: str) -> SignedSet:
    """Take a set out of untrusted bytes; it is still to be verified.

    Args:
        data: the file.
        org: org that it must be for.

    Raises:
        BundleError: not such a file, damaged, too large, or for another org.
    """
    if len(data) > MAX_ARCHIVE_BYTES:
        raise OversizedError(f"A bundle file has at most {MAX_ARCHIVE_BYTES} bytes.", field=_NAME)
    if not data.startswith(MAGIC):
        raise MalformedError("The file is no bundle.", field=_NAME)
    at = len(MAGIC) + _LENGTH_BYTES
    size = int.from_bytes(data[len(MAGIC) : at], "big")
    if size > MAX_HEAD_BYTES:
        raise OversizedError(f"The head of a bundle has at most {MAX_HEAD_BYTES} bytes.", field=_NAME)
    try:
        fields = Fields(decode(data[at : at + size], _NAME), _NAME)
        require_org(fields.match("org", names.ORG_PATTERN), org, _NAME)
        listed = fields.objects("files", limits.MAX_SET_FILES)
        fields.done()
        return _files(listed, data[at + size :])
    except DocumentError as error:
        raise MalformedError(error.message, field=error.field) from None


def _files(listed: list[Fields], blobs: bytes) -> SignedSet:
    found: Mapping[str, dict[str, bytes]] = {_METADATA: {}, _TARGET: {}}
    at = 0
    for item in listed:
        kind, name = found[item.choice("kind", (_METADATA, _TARGET))], item.text("name")
        size, digest = item.integer("size", 0, limits.MAX_TARGET_BYTES), item.sha256("sha256")
        item.done()
        body, at = blobs[at : at + size], at + size
        if len(body) != size:
            raise TruncatedError(f"The bundle ends inside {name}.", field=name)
        if hashlib.sha256(body).hexdigest() != digest:
            raise HashError(f"{name} is not the file whose hash stands in the head.", field=name)
        if name in kind:
            raise item.fail("name", "must not stand twice")
        kind[name] = body
    if at != len(blobs):
        raise LengthError("Bytes stand behind the last file of the bundle.", field=_NAME)
    return SignedSet(metadata=found[_METADATA], targets=found[_TARGET])
