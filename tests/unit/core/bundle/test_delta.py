"""Listings and deltas: what comes out is what was announced, or a typed error; nothing costs more than its bound."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import zstandard

from outpost.core.bundle import limits
from outpost.core.bundle.delta import (
    apply_delta,
    apply_listing,
    difference,
    make_delta,
    pack_chunk,
    set_identity,
    unpack_chunk,
)
from outpost.core.errors import BundleError

A, B, C = bytes(32), b"\x01" * 32, b"\x02" * 32
OLD = b"".join(
    b'{"id":"key-%06d","sha256":"%s"},' % (n, hashlib.sha256(b"%d" % n).hexdigest().encode()) for n in range(2000)
)
NEW = OLD[:50_000] + b'{"id":"new"},' + OLD[50_000:]
FRAME = make_delta(OLD, NEW)
assert FRAME is not None
SHA256 = hashlib.sha256(NEW).digest()


def rle_frame(content_size: int, blocks: int, *, last: bool = True) -> bytes:
    """A frame of blocks that say "128 KiB of one byte" in four bytes each. Source: RFC 8878 §3.1.1.2."""
    head = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + content_size.to_bytes(4, "little")
    body = b""
    for number in range(blocks):
        final = last and number == blocks - 1
        body += (int(final) | (1 << 1) | ((128 * 1024) << 3)).to_bytes(3, "little") + b"A"
    return head + body


def windowed(log: int) -> bytes:
    """A frame that asks for a window of 2^log bytes and says that it holds nothing. Source: RFC 8878 §3.1.1.1."""
    head = b"\x28\xb5\x2f\xfd" + bytes([0b10000000, (log - 10) << 3]) + len(NEW).to_bytes(4, "little")
    return head + (1).to_bytes(3, "little")


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


@dataclass(frozen=True)
class Try:
    """What is applied to which file under which announcement."""

    frame: Callable[[], bytes]
    code: str
    old: bytes = OLD
    size: int = len(NEW)
    sha256: bytes = SHA256


TRIES = {
    "a delta against another file": Try(lambda: FRAME, "delta.mismatch", old=OLD[::-1]),
    "a delta against a shorter file": Try(lambda: FRAME, "delta.damaged", old=OLD[:100]),
    "other bytes than announced": Try(lambda: FRAME, "delta.mismatch", sha256=bytes(32)),
    "another size than announced": Try(lambda: FRAME, "delta.size", size=len(NEW) + 1),
    "a size over the bound": Try(lambda: FRAME, "delta.size", size=limits.MAX_DELTA_FILE_BYTES + 1),
    "a frame over the bound": Try(lambda: bytes(limits.MAX_DELTA_BYTES + 1), "delta.size"),
    "a file over the bound": Try(lambda: FRAME, "delta.size", old=bytes(limits.MAX_DELTA_FILE_BYTES + 1)),
    "a truncated frame": Try(lambda: FRAME[:-1], "delta.damaged"),
    "half a head": Try(lambda: FRAME[:5], "delta.damaged"),
    "nothing": Try(lambda: b"", "delta.damaged"),
    "no frame": Try(lambda: b"plain text that is no frame", "delta.damaged"),
    "a byte behind the frame": Try(lambda: FRAME + b"x", "delta.trailing"),
    "a second frame behind the first": Try(lambda: FRAME + FRAME, "delta.trailing"),
    "a skippable frame in front": Try(lambda: b"\x50\x2a\x4d\x18\x01\x00\x00\x00x" + FRAME, "delta.size"),
    "a frame that does not say its size": Try(
        lambda: zstandard.ZstdCompressor(write_content_size=False).compress(NEW), "delta.size"
    ),
    "a window over the bound": Try(lambda: windowed(30), "delta.window"),
    "a bomb that says a small size": Try(lambda: rle_frame(131_072, 16_000), "delta.damaged", size=131_072),
    "a bomb that says a large size": Try(lambda: rle_frame(2**31, 16_000), "delta.window", size=131_072),
    "a frame that holds less than it says": Try(lambda: rle_frame(131_073, 1), "delta.damaged", size=131_073),
    "a frame that does not end": Try(lambda: rle_frame(131_072, 1, last=False), "delta.damaged", size=131_072),
}


@pytest.mark.parametrize("sentence", TRIES)
def test_a_delta_that_is_refused(sentence: str) -> None:
    case = TRIES[sentence]
    frame, began = case.frame(), time.monotonic()
    with pytest.raises(BundleError) as refused:
        apply_delta(case.old, frame, case.size, case.sha256)
    assert refused.value.code == case.code
    assert time.monotonic() - began < 2.0


def test_a_delta_rebuilds_exact_bytes_and_is_small() -> None:
    assert apply_delta(OLD, FRAME, len(NEW), SHA256) == NEW
    assert len(FRAME) < 200


def test_no_flipped_bit_of_a_delta_makes_other_bytes() -> None:
    """A bit that the format does not use changes nothing; every other one is refused."""
    unused = 0
    for at in range(8 * len(FRAME)):
        try:
            assert apply_delta(OLD, flipped(FRAME, at), len(NEW), SHA256) == NEW
            unused += 1
        except BundleError:
            pass
    assert unused < len(FRAME)  # of eight times as many bits


NOT_WORTH: dict[str, tuple[bytes, bytes]] = {
    "files that have nothing in common": (OLD, os.urandom(len(OLD))),
    "a file that is small anyway": (OLD, b"small"),
    "a held file that is small": (b"small", NEW),
    "a file over the bound": (OLD, bytes(limits.MAX_DELTA_FILE_BYTES + 1)),
    "a held file over the bound": (bytes(limits.MAX_DELTA_FILE_BYTES + 1), NEW),
}


@pytest.mark.parametrize("sentence", NOT_WORTH)
def test_no_delta_is_made_of(sentence: str) -> None:
    assert make_delta(*NOT_WORTH[sentence]) is None


def test_the_identity_of_a_set_is_its_names_and_hashes() -> None:
    assert set_identity({"a": A, "b": B}) == set_identity({"b": B, "a": A})
    others = [{}, {"a": A}, {"a": B, "b": A}, {"a": A, "c": B}, {"a": A, "b": B, "c": C}, {"a": A, "b": C}]
    assert len({set_identity({"a": A, "b": B}), *(set_identity(each) for each in others)}) == len(others) + 1


def test_a_difference_leads_from_one_listing_to_the_other() -> None:
    base, target = {"a": A, "b": B, "gone": C}, {"a": A, "b": C, "new": B}
    found = difference(base, target)
    assert (found.changed, found.removed) == (("b", "new"), ("gone",))
    assert apply_listing(base, found.base_sha256, {"b": C, "new": B}, found.removed) == target
    assert difference(target, target).changed == difference(target, target).removed == ()


BASE = {"a": A, "b": B}
LISTINGS: dict[str, tuple[bytes, dict[str, bytes], tuple[str, ...], str]] = {
    "against another set": (set_identity({"a": A}), {"b": C}, (), "delta.base"),
    "against nothing": (b"", {"b": C}, (), "delta.base"),
    "a file goes that is not held": (set_identity(BASE), {}, ("c",), "delta.listing"),
    "a file goes twice": (set_identity(BASE), {}, ("a", "a"), "delta.listing"),
    "a file goes and changes": (set_identity(BASE), {"a": C}, ("a",), "delta.listing"),
}


@pytest.mark.parametrize("sentence", LISTINGS)
def test_a_listing_that_is_refused(sentence: str) -> None:
    identity, changed, removed, code = LISTINGS[sentence]
    with pytest.raises(BundleError) as refused:
        apply_listing(BASE, identity, changed, removed)
    assert refused.value.code == code


def test_chunks_are_packed_and_unpacked() -> None:
    chunk = OLD[:65_536]
    frame = pack_chunk(chunk)
    assert len(frame) < len(chunk)
    assert unpack_chunk(frame, len(chunk)) == chunk


CHUNKS: dict[str, tuple[bytes, int, str]] = {
    "a chunk that says more than a chunk may hold": (pack_chunk(b"x" * 70_000), 70_000, "delta.size"),
    "a chunk that holds another size than it says": (pack_chunk(b"x" * 100), 101, "delta.size"),
    "a chunk that is no frame": (b"x" * 100, 100, "delta.damaged"),
    "two frames in one chunk": (pack_chunk(b"x" * 100) * 2, 100, "delta.trailing"),
    "a bomb": (rle_frame(65_536, 16_000), 65_536, "delta.damaged"),
}


@pytest.mark.parametrize("sentence", CHUNKS)
def test_a_chunk_that_is_refused(sentence: str) -> None:
    frame, size, code = CHUNKS[sentence]
    with pytest.raises(BundleError) as refused:
        unpack_chunk(frame, size)
    assert refused.value.code == code
