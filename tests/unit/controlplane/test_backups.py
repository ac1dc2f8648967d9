"""The inside of a backup: rows come back as they were, and whatever was encrypted is held against its own counts."""

import io
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.backup_errors import BackupContentError, BackupError
from controlplane.domain.backup_frames import CHUNK_BYTES, MIN_SCRYPT_N, Lock, open_chunks, unlock
from controlplane.domain.backup_items import (
    MANIFEST,
    ROW,
    SECTION,
    Row,
    Section,
    pack_item,
    pack_row,
    read_items,
    unpack_row,
)
from controlplane.domain.backups import BackupHead, BackupReader, BackupWriter
from controlplane.services.backup import BackupTaker
from outpost.core.bundle.canonical import encode

HEAD = BackupHead(
    "1.2.3", "0007", 5, "outpost.internal", {"api_port": 8100, "hosts": ["cp"]}, bytes(range(32)), ("ca",)
)
KEYS = Section("acme", "keys", ("id", "body"))
VALUES = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.text(), st.binary())


@given(st.lists(VALUES, min_size=1, max_size=9))
def test_a_row_comes_back(row: list[str | int | bytes | None]) -> None:
    assert unpack_row(pack_row(row), len(row)) == tuple(row)


@given(st.binary(max_size=64), st.integers(1, 4))
def test_any_bytes_are_a_row_or_are_refused(body: bytes, width: int) -> None:
    try:
        row = unpack_row(body, width)
    except BackupContentError:
        return
    assert pack_row(row) == body


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 40))
def test_items_come_back_however_the_chunks_are_cut(bodies: list[bytes], size: int) -> None:
    data = b"".join(pack_item(ROW, body) for body in bodies)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert [item.body for item in read_items(chunks)] == bodies


def parts() -> list[bytes]:
    """Items of a small backup."""
    writer = BackupWriter()
    made = [writer.head(HEAD), writer.begin(KEYS), writer.row(("k1", b"\0")), writer.row(("k2", None)), writer.end()]
    return [*made, writer.manifest(9)[0]]


def rows(data: bytes) -> tuple[BackupReader, list[tuple[str, Row | None]]]:
    reader = BackupReader([data])
    return reader, [(section.table, row) for section, row in reader.rows()]


def test_a_backup_comes_back() -> None:
    reader, found = rows(b"".join(parts()))
    assert reader.head == HEAD
    assert found == [("keys", None), ("keys", ("k1", b"\0")), ("keys", ("k2", None))]
    assert (reader.manifest.orgs, reader.manifest.rows, reader.manifest.finished_ms) == (("acme",), 2, 9)


def a_section(**changes: object) -> bytes:
    return pack_item(SECTION, encode({"space": "acme", "table": "keys", "columns": ["id", "body"]} | changes))


def a_manifest(rows: int = 2) -> bytes:
    return pack_item(
        MANIFEST, encode({"finished_ms": 9, "spaces": [{"space": "acme", "rows": rows, "sha256": "0" * 64}]})
    )


FIRST, BEGIN, ONE, TWO, END, LAST = parts()
UNUSABLE: dict[str, bytes] = {
    "nothing": b"",
    "no head": BEGIN + ONE + TWO + END + LAST,
    "two heads": FIRST + FIRST + BEGIN + ONE + TWO + END + LAST,
    "a head that is no JSON": pack_item(b"H", b"{"),
    "a head without a key": pack_item(b"H", encode({"schema": "outpost.backup/1"})),
    "a row of no table": FIRST + ONE + LAST,
    "a row less": FIRST + BEGIN + ONE + END + LAST,
    "a row more": FIRST + BEGIN + ONE + TWO + TWO + END + LAST,
    "rows in another order": FIRST + BEGIN + TWO + ONE + END + LAST,
    "a row of another width": FIRST + BEGIN + pack_item(ROW, pack_row(("k1",))) + TWO + END + LAST,
    "a table without an end": FIRST + BEGIN + ONE + TWO + LAST,
    "a table twice": FIRST + BEGIN + ONE + TWO + END + BEGIN + ONE + TWO + END + LAST,
    "a table less than the manifest says": FIRST + LAST,
    "another manifest": FIRST + BEGIN + ONE + TWO + END + a_manifest(),
    "no manifest": FIRST + BEGIN + ONE + TWO + END,
    "something behind the manifest": FIRST + BEGIN + ONE + TWO + END + LAST + ONE,
    "a space that is no org": FIRST + a_section(space="../x") + END + LAST,
    "a column that is no text": FIRST + a_section(columns=[1]) + END + LAST,
    "more columns than a table has": FIRST + a_section(columns=["c"] * 129) + END + LAST,
    "an item longer than allowed": FIRST + b"R\xff\xff\xff\xff",
    "an item that ends early": FIRST + BEGIN[:-1],
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_backup_inside_is_refused(name: str) -> None:
    with pytest.raises(BackupError) as caught:
        rows(UNUSABLE[name])
    assert caught.value.code == "backup.content"


def test_a_newer_inside_is_told_apart() -> None:
    newer = FIRST.replace(b"outpost.backup/1", b"outpost.backup/2")
    with pytest.raises(BackupError) as caught:
        rows(newer)
    assert caught.value.code == "backup.newer"


class ManyRows:
    """A store with more rows than may be held at once."""

    revision = "0007"
    pages, size = 96, CHUNK_BYTES

    async def spaces(self) -> tuple[str, ...]:
        return ()

    @asynccontextmanager
    async def open(self, space: str) -> "AsyncIterator[ManyRows]":
        yield self

    def sections(self) -> Sequence[Section]:
        return [Section("", "blobs", ("body",))]

    async def rows(self, section: Section) -> AsyncIterator[Sequence[Row]]:
        for number in range(self.pages):
            yield [(number.to_bytes(4, "big") * (self.size // 4),)]


class Still:
    def now_ms(self) -> int:
        return 7

    def monotonic(self) -> float:
        return 0.0


async def test_memory_does_not_grow_with_the_backup() -> None:
    """96 MiB of rows, through writer and reader."""
    file = io.BytesIO()  # its bytes are packed to almost nothing
    tracemalloc.start()
    taker = BackupTaker(ManyRows(), Still())
    await taker.take(HEAD, (b"correct horse battery staple", Lock(bytes(32), MIN_SCRYPT_N)), file.write)
    file.seek(0)
    reader = BackupReader(open_chunks(file.read, unlock(file.read, b"correct horse battery staple")))
    read = sum(len(row[0]) for _, row in reader.rows() if row and isinstance(row[0], bytes))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == ManyRows.pages * ManyRows.size
    assert peak < 16 * CHUNK_BYTES
