"""Bundle files: what goes in comes out, and nothing else does."""

import hashlib
from collections.abc import Callable

import pytest

from outpost.core.bundle.archive import MAGIC, MAX_ARCHIVE_BYTES, pack_archive, unpack_archive
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import SignedSet
from outpost.core.errors import BundleError
from tests.unit.core.bundle.samples import ORG, forge

SIGNED = forge().signed
DATA = pack_archive(SIGNED, ORG)
START = len(MAGIC) + 4
SIZE = int.from_bytes(DATA[len(MAGIC) : START], "big")


def test_a_set_comes_out_as_it_went_in() -> None:
    assert unpack_archive(DATA, ORG) == SIGNED
    assert pack_archive(SignedSet(dict(reversed(SIGNED.metadata.items())), SIGNED.targets), ORG) == DATA


def headed(change: Callable[[dict], object]) -> bytes:  # type: ignore[type-arg]
    head = decode(DATA[START : START + SIZE], "x")
    change(head)
    encoded = encode(head)
    return MAGIC + len(encoded).to_bytes(4, "big") + encoded + DATA[START + SIZE :]


def first(head: dict) -> dict:  # type: ignore[type-arg]
    item: dict = head["files"][0]  # type: ignore[type-arg]
    return item


SPOILT: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bundle": (lambda: b"hello", "bundle.malformed"),
    "nothing": (lambda: b"", "bundle.malformed"),
    "cut short": (lambda: DATA[:-1], "bundle.truncated"),
    "cut in its head": (lambda: DATA[: START + 10], "bundle.malformed"),
    "longer": (lambda: DATA + b"x", "bundle.length"),
    "one bit of a file flipped": (lambda: DATA[:-9] + bytes([DATA[-9] ^ 1]) + DATA[-8:], "bundle.hash"),
    "for another org": (lambda: pack_archive(SIGNED, "globex"), "bundle.other_org"),
    "another hash in the head": (lambda: headed(lambda h: first(h).update(sha256="0" * 64)), "bundle.hash"),
    "a size over the bound": (lambda: headed(lambda h: first(h).update(size=2**40)), "bundle.malformed"),
    "a negative size": (lambda: headed(lambda h: first(h).update(size=-1)), "bundle.malformed"),
    "a kind that does not exist": (lambda: headed(lambda h: first(h).update(kind="link")), "bundle.malformed"),
    "a field more": (lambda: headed(lambda h: first(h).update(mode=7)), "bundle.unknown_field"),
    "a head over its bound": (lambda: MAGIC + (2**31).to_bytes(4, "big") + b"{}", "bundle.oversized"),
    "a file twice": (
        lambda: MAGIC + len(twice()).to_bytes(4, "big") + twice() + b"",
        "bundle.malformed",
    ),
}


def twice() -> bytes:
    empty = {"kind": "target", "name": "a", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    return encode({"org": ORG, "files": [empty, empty]})


@pytest.mark.parametrize("sentence", SPOILT)
def test_a_bundle_file_that_is_refused(sentence: str) -> None:
    make, code = SPOILT[sentence]
    with pytest.raises(BundleError) as refused:
        unpack_archive(make(), ORG)
    assert refused.value.code == code


def test_a_file_over_the_bound_is_not_looked_into() -> None:
    class Long(bytes):
        def __len__(self) -> int:
            return MAX_ARCHIVE_BYTES + 1

    with pytest.raises(BundleError) as refused:
        unpack_archive(Long(DATA), ORG)
    assert refused.value.code == "bundle.oversized"
