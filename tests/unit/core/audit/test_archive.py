"""Part of an audit log as a file."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpost.core.audit.archive import MAGIC, ArchiveHead, AuditArchiveError, pack_record, read_head, read_records
from outpost.core.audit.canonical import MAX_RECORD_BYTES

HEAD = ArchiveHead("acme", "op-1", "outpost.internal/org/acme/outpost/op-1", 2, 4, "note — x\n".encode())
RECORDS = (b"first", b"second")
WHOLE = HEAD.to_bytes() + b"".join(map(pack_record, RECORDS))


def read(data: bytes) -> tuple[ArchiveHead, tuple[bytes, ...]]:
    file = io.BytesIO(data)
    head = read_head(file.read)
    return head, tuple(read_records(file.read, head))


def headed(text: bytes) -> bytes:
    return MAGIC + len(text).to_bytes(4, "big") + text


def changed(old: bytes, new: bytes) -> bytes:
    body = HEAD.to_bytes()[len(MAGIC) + 4 :]
    assert old in body
    return headed(body.replace(old, new)) + b"".join(map(pack_record, RECORDS))


REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "another file": b"outpost-bundle-1\n" + WHOLE,
    "no head": MAGIC,
    "a head that is too long": MAGIC + (9000).to_bytes(4, "big") + bytes(9000),
    "a head that is no JSON": headed(b"{"),
    "a head that is no object": headed(b"[]"),
    "a head with a field less": headed(b'{"org":"acme"}'),
    "a number that is a text": changed(b'"size":4', b'"size":"4"'),
    "a number that is true": changed(b'"size":4', b'"size":true'),
    "a size below the first": changed(b'"size":4', b'"size":1'),
    "a first below zero": changed(b'"first":2', b'"first":-1'),
    "a name that is too long": changed(b'"op-1"', b'"' + b"x" * 256 + b'"'),
    "more records than it says": changed(b'"size":4', b'"size":3'),
    "fewer records than it says": changed(b'"size":4', b'"size":5'),
    "a record that is too long": HEAD.to_bytes() + (MAX_RECORD_BYTES + 1).to_bytes(4, "big"),
    "bytes behind the end": WHOLE + b"\0",
}


def test_what_was_written_is_read() -> None:
    assert read(WHOLE) == (HEAD, RECORDS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_archive_is_refused(name: str) -> None:
    with pytest.raises(AuditArchiveError):
        read(REFUSED[name])


@given(st.integers(0, len(WHOLE) - 1))
def test_it_can_be_cut_nowhere(size: int) -> None:
    with pytest.raises(AuditArchiveError):
        read(WHOLE[:size])
