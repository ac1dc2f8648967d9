"""What travels of a set that is nearly held already: the listing of changes, and files as deltas against held ones.

Theory. The identity of a set is a hash over the names and hashes of its files. An offer that names this identity as its
base lists only what differs: files with other bytes, and names that are gone. A large file that changed a little
travels as a zstd frame whose dictionary is the held file. All of that is transport: what comes out is held against
size and hash, and the whole set is verified as if every byte had come. So nothing here needs to be trusted, only
bounded: window, output and number of frames are known before a byte is unpacked.

DeltaError
├── delta.base        the offer changes another set, or the frame another file, than what is held
├── delta.window      the frame asks for more memory than allowed
├── delta.size        the frame says another size than the offer
├── delta.damaged     it is no whole frame
├── delta.trailing    bytes stand behind the frame
├── delta.mismatch    other bytes come out than were announced
└── delta.listing     a file is listed twice, changed and removed, or removed and never held

Source: RFC 8878 (zstd frames, window, content size).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import zstandard

from outpost.core.bundle import limits
from outpost.core.bundle.canonical import encode
from outpost.core.errors import BundleError

IDENTITY_DOMAIN = "outpost.set/1"
PARTIAL_OFFERS = "offers.partial"  # capability in Hello: offers may list only what changed
MIN_DELTA_FILE_BYTES = 1024  # bytes; a smaller file is sent as it is
_LEVEL = 3
_MIN_LOG, _MAX_LOG = 10, 24  # of the window (RFC 8878 §3.1.1.1.2); 2^24 is MAX_DELTA_FILE_BYTES
_MAX_TABLE_LOG = 22  # of the two tables of a compressor, 16 MiB each
_SLICE_BYTES = 16  # fed at a time: a hostile frame makes at most 512 KiB of it (RFC 8878 §3.1.1.2, RLE blocks)
_AGAIN = "The control plane offers the complete set instead."


class DeltaError(BundleError):
    """Changes that do not lead to what was announced. Of the set itself that says nothing: it may come complete."""

    code = "delta"
    fatal = False


class DeltaBaseError(DeltaError):
    """The changes are against something that is not held here."""

    code = "delta.base"


class DeltaWindowError(DeltaError):
    """The frame asks for more memory than allowed."""

    code = "delta.window"


class DeltaSizeError(DeltaError):
    """The frame does not say the announced size."""

    code = "delta.size"


class DeltaDamagedError(DeltaError):
    """No whole zstd frame, or one that cannot be unpacked."""

    code = "delta.damaged"


class DeltaTrailingError(DeltaError):
    """Bytes stand behind the frame."""

    code = "delta.trailing"


class DeltaMismatchError(DeltaError):
    """Other bytes come out than were announced."""

    code = "delta.mismatch"


class DeltaListingError(DeltaError):
    """The listing of changes contradicts itself or the base."""

    code = "delta.listing"


@dataclass(frozen=True, slots=True)
class Difference:
    """What leads from one listing to another.

    Attributes:
        base_sha256: identity of the first.
        changed: names of the second that are new in it or have other hashes.
        removed: names that only the first has.
    """

    base_sha256: bytes
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def set_identity(listing: Mapping[str, bytes]) -> bytes:
    """Identity of a set: 32 bytes.

    Args:
        listing: name of each file to its SHA-256.
    """
    names = {name: digest.hex() for name, digest in listing.items()}
    return hashlib.sha256(encode({"domain": IDENTITY_DOMAIN, "files": names})).digest()


def difference(base: Mapping[str, bytes], target: Mapping[str, bytes]) -> Difference:
    """What leads from a held listing to an offered one."""
    return Difference(
        base_sha256=set_identity(base),
        changed=tuple(name for name in sorted(target) if base.get(name) != target[name]),
        removed=tuple(name for name in sorted(base) if name not in target),
    )


def apply_listing(
    base: Mapping[str, bytes], base_sha256: bytes, changed: Mapping[str, bytes], removed: Sequence[str]
) -> dict[str, bytes]:
    """The listing that changes lead to.

    Args:
        base: what is held.
        base_sha256: identity that the changes are against, untrusted.
        changed: name to hash of changed files, untrusted.
        removed: names of files that are gone, untrusted.

    Raises:
        DeltaBaseError: another set is held.
        DeltaListingError: a name is removed that is not held, or twice, or also changed.
        OversizedError: more names than a set may have.
    """
    if set_identity(base) != base_sha256:
        raise DeltaBaseError("The offer changes another set than the one held.", field="base", next_step=_AGAIN)
    gone = set(removed)
    if len(gone) != len(removed) or not gone <= set(base) or gone & set(changed):
        raise DeltaListingError("The offer removes what is not held, or what it also changes.", field="removed")
    return {name: digest for name, digest in base.items() if name not in gone} | dict(changed)


def make_delta(old: bytes, new: bytes) -> bytes | None:
    """A zstd frame that makes new bytes out of old ones.

    Returns:
        The frame, or None when it would not be worth it: too large, or the files are too small or too large.
    """
    if not MIN_DELTA_FILE_BYTES <= len(new) <= limits.MAX_DELTA_FILE_BYTES:
        return None
    if not MIN_DELTA_FILE_BYTES <= len(old) <= limits.MAX_DELTA_FILE_BYTES:
        return None
    table_log = min(_log(len(old)), _MAX_TABLE_LOG)  # a place for each byte of the old file: matches are found anywhere
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        window_log=_log(max(len(old), len(new))),
        hash_log=table_log,
        chain_log=table_log,
        write_content_size=True,
        write_checksum=False,
        write_dict_id=False,
    )
    frame = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary(old)).compress(new)
    return frame if len(frame) <= min(limits.MAX_DELTA_BYTES, len(new) // 2) else None


def apply_delta(old: bytes, frame: bytes, size: int, sha256: bytes) -> bytes:
    """Rebuild a file from the held one.

    Args:
        old: the held file.
        frame: untrusted.
        size: announced bytes, untrusted; bounded here.
        sha256: announced hash, 32 bytes.

    Raises:
        DeltaError: one of its leaves.
    """
    if len(frame) > limits.MAX_DELTA_BYTES or max(size, len(old)) > limits.MAX_DELTA_FILE_BYTES:
        raise DeltaSizeError("A delta or its file is over its bound.", field="delta", next_step=_AGAIN)
    data = _unpack(frame, size, _dictionary(old))
    if hashlib.sha256(data).digest() != sha256:
        raise DeltaMismatchError("Other bytes come out of a delta than were announced.", field="delta")
    return data


def unpack_chunk(frame: bytes, size: int) -> bytes:
    """Unpack one zstd frame of a fetched chunk.

    Args:
        frame: untrusted.
        size: bytes that it says it holds, untrusted.

    Raises:
        DeltaError: one of its leaves.
    """
    if max(len(frame), size) > limits.MAX_CHUNK_BYTES:
        raise DeltaSizeError("A packed chunk is over its bound.", field="chunk")
    return _unpack(frame, size, None)


def pack_chunk(data: bytes) -> bytes:
    """One zstd frame of a chunk."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(data)


def _unpack(frame: bytes, size: int, dictionary: zstandard.ZstdCompressionDict | None) -> bytes:
    try:
        head = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError:
        raise DeltaDamagedError("A delta is no zstd frame.", field="delta") from None
    if head.window_size > limits.MAX_DELTA_WINDOW_BYTES:
        raise DeltaWindowError("A delta asks for more memory than allowed.", field="delta")
    if head.content_size != size:
        raise DeltaSizeError("A delta says another size than was announced.", field="delta")
    worker = zstandard.ZstdDecompressor(
        dict_data=dictionary, max_window_size=limits.MAX_DELTA_WINDOW_BYTES
    ).decompressobj()
    parts, made, at = [], 0, 0
    try:
        while at < len(frame) and not worker.eof and made <= size:
            parts.append(worker.decompress(frame[at : at + _SLICE_BYTES]))
            made += len(parts[-1])
            at += _SLICE_BYTES
    except zstandard.ZstdError:
        raise DeltaDamagedError("A delta cannot be unpacked.", field="delta") from None
    if not worker.eof or made != size:
        raise DeltaDamagedError("A delta does not hold what it says.", field="delta")
    if worker.unused_data or at < len(frame):
        raise DeltaTrailingError("Bytes stand behind a delta.", field="delta")
    return b"".join(parts)


def _dictionary(old: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _log(size: int) -> int:
    return min(max(size.bit_length(), _MIN_LOG), _MAX_LOG)
