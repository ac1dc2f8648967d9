"""Frames: how records stand in a segment. Bytes in, frames and damage out.

A segment is one header page and then frames up to zeros:

    page   := magic(8) ‖ u64 first sequence ‖ u16 count ‖ count x 32-byte hashes ‖ u32 CRC ‖ zeros, 4096 bytes
    frame  := u32 word ‖ u32 CRC ‖ payload
    word   := length of the payload, with the top bit set on the first frame of a group
    CRC    := CRC-32 of the payload, continued from the value ``word``, so that the word is covered too

Integers are big-endian. The hashes are the compact range of the tree before the first record, so that a start reads
the last segment only. A group is what one fdatasync made durable: the next group is written only after it. A readable
frame that opens a later group therefore proves that whatever stands before it had reached the disk, and that a hole
there is damage and not the torn end of a crash.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from outpost.core.audit.canonical import MAX_RECORD_BYTES, RecordError, sequence_of
from outpost.core.audit.merkle import HASH_BYTES, CompactRange, TreeError

MAGIC = b"OUTPOST\x01"
PAGE_BYTES = 4096  # one page of the file system; holds 62 hashes of 32 bytes and 22 bytes around them
FRAME_HEADER_BYTES = 8
MAX_FRAME_BYTES = FRAME_HEADER_BYTES + MAX_RECORD_BYTES
MAX_RESYNC_TRIES = 100_000  # candidates per scan; bounds the checksums that a crafted file can make us compute

_OPENS_GROUP = 0x8000_0000
_PAGE = struct.Struct(">8sQH")
_FRAME = struct.Struct(">II")
_CRC = struct.Struct(">I")
_MARK = b'{"_seq":'


@dataclass(frozen=True, slots=True)
class Frame:
    """One intact frame.

    Attributes:
        start: offset of its header in the segment.
        end: offset behind its payload.
        sequence: what the record says its place is.
        payload: the record, exact bytes.
        opens_group: it was the first of its group commit.
    """

    start: int
    end: int
    sequence: int
    payload: bytes
    opens_group: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that holds no intact frame. ``end`` is where reading could go on."""

    start: int
    end: int


def encode_page(base: CompactRange) -> bytes:
    """Header page of a segment that starts after the tree ``base``."""
    body = _PAGE.pack(MAGIC, base.size, len(base.hashes)) + b"".join(base.hashes)
    return (body + _CRC.pack(crc32(body))).ljust(PAGE_BYTES, b"\0")


def decode_page(data: bytes) -> CompactRange | None:
    """The tree before a segment, or None when the page is not intact."""
    if len(data) < PAGE_BYTES:
        return None
    magic, size, count = _PAGE.unpack_from(data)
    end = _PAGE.size + count * HASH_BYTES
    if magic != MAGIC or end + _CRC.size > PAGE_BYTES or _CRC.unpack_from(data, end)[0] != crc32(data[:end]):
        return None
    try:
        return CompactRange(size, tuple(data[at : at + HASH_BYTES] for at in range(_PAGE.size, end, HASH_BYTES)))
    except TreeError:
        return None


def encode_frame(payload: bytes, *, opens_group: bool) -> bytes:
    """One frame around a stored record."""
    word = len(payload) | _OPENS_GROUP if opens_group else len(payload)
    return _FRAME.pack(word, crc32(payload, word)) + payload


def read_frame(data: bytes, at: int) -> Frame | None:
    """The frame that starts at an offset, or None when there is no intact one."""
    if at + FRAME_HEADER_BYTES > len(data):
        return None
    word, checksum = _FRAME.unpack_from(data, at)
    length = word & ~_OPENS_GROUP
    start = at + FRAME_HEADER_BYTES
    if not 0 < length <= MAX_RECORD_BYTES or start + length > len(data):
        return None
    payload = data[start : start + length]
    if crc32(payload, word) != checksum:
        return None
    try:
        sequence = sequence_of(payload)
    except RecordError:
        return None
    return Frame(at, start + length, sequence, payload, bool(word & _OPENS_GROUP))


def scan(data: bytes, at: int = PAGE_BYTES) -> Iterator[Frame | Damage]:
    """Every frame of a segment in order of place, and every stretch that is neither a frame nor the zeros at its end.

    Args:
        data: a whole segment, untrusted.
        at: offset to start from.
    """
    tries = MAX_RESYNC_TRIES
    written = len(data.rstrip(b"\0"))  # a payload ends in a brace, so no frame ends in a zero
    while at < written:
        frame = read_frame(data, at)
        if frame is not None:
            yield frame
            at = frame.end
            continue
        start, mark = at, data.find(_MARK, at + FRAME_HEADER_BYTES)
        while mark >= 0 and tries and read_frame(data, mark - FRAME_HEADER_BYTES) is None:
            mark, tries = data.find(_MARK, mark + 1), tries - 1
        at = mark - FRAME_HEADER_BYTES if mark >= 0 and tries else written
        yield Damage(start, at)
