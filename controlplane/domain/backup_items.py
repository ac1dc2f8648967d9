"""The inside of a backup: a head, sections of rows, and a manifest that counts them.

An item is one byte of kind ‖ u32 length ‖ body. Order: ``H`` head, then for each table of each space ``S`` its name and
columns, ``R`` each row, ``E`` how many there were and their digest; at the end ``M`` the manifest. A row is its values
one after the other: ``n`` null, ``i`` ‖ 8 bytes (signed, big-endian), ``s`` ‖ u32 ‖ UTF-8, ``b`` ‖ u32 ‖ bytes. So a
backup says nothing of the engine that it was taken from.

The bytes come out of chunks that opened under the passphrase; still everything is read within bounds, and held against
its counts and digests: a backup is what somebody else wrote, perhaps years ago.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from controlplane.domain.backup_errors import BackupContentError
from controlplane.domain.orgs import ORG_ID

HEAD, SECTION, ROW, END, MANIFEST = b"H", b"S", b"R", b"E", b"M"
MAX_ITEM_BYTES = 16 * 1024 * 1024  # the largest row is a draft that waits for signatures: 8 MiB (domain.ceremony)
MAX_COLUMNS = 128  # of a table; ours have at most 30
MOST_INTEGER = (1 << 63) - 1  # BIGINT of both engines
_WORD = 4

Value = str | int | bytes | None
Row = Sequence[Value]


@dataclass(frozen=True, slots=True)
class Item:
    """One item, read within bounds."""

    kind: bytes
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Section:
    """What a table of a space holds in a backup.

    Attributes:
        space: org id; empty for what belongs to no org.
        table: name.
        columns: names, without the org.
    """

    space: str
    table: str
    columns: tuple[str, ...]


def pack_item(kind: bytes, body: bytes) -> bytes:
    """Bytes of an item. Raises ValueError: longer than a reader takes."""
    if len(body) > MAX_ITEM_BYTES:
        raise ValueError("a row is larger than an item of a backup may be")
    return kind + len(body).to_bytes(_WORD, "big") + body


def pack_row(row: Row) -> bytes:
    """Bytes of a row."""
    parts = []
    for value in row:
        match value:
            case None:
                parts.append(b"n")
            case int():
                parts.append(b"i" + value.to_bytes(8, "big", signed=True))
            case str():
                text = value.encode()
                parts += [b"s", len(text).to_bytes(_WORD, "big"), text]
            case bytes():
                parts += [b"b", len(value).to_bytes(_WORD, "big"), value]
    return b"".join(parts)


def unpack_row(body: bytes, width: int) -> tuple[Value, ...]:
    """A row of so many values.

    Raises:
        BackupContentError: it is none.
    """
    values: list[Value] = []
    at = 0
    while at < len(body) and len(values) < width:
        kind, at = body[at : at + 1], at + 1
        if kind == b"n":
            values.append(None)
        elif kind == b"i":
            values.append(int.from_bytes(_part(body, at, 8), "big", signed=True))
            at += 8
        elif kind in (b"s", b"b"):
            size = int.from_bytes(_part(body, at, _WORD), "big")
            data = _part(body, at + _WORD, size)
            at += _WORD + size
            values.append(data if kind == b"b" else _text(data))
        else:
            raise content("a row holds a value of no known kind")
    if at != len(body) or len(values) != width:
        raise content("a row has another number of values than its table has columns")
    return tuple(values)


def read_items(chunks: Iterable[bytes]) -> Iterator[Item]:
    """Items out of the plain bytes of chunks.

    Raises:
        BackupContentError: an item is longer than allowed, or the bytes end inside one.
    """
    held = bytearray()
    for chunk in chunks:
        held += chunk
        at = 0
        while len(held) - at >= 1 + _WORD:
            size = int.from_bytes(held[at + 1 : at + 1 + _WORD], "big")
            if size > MAX_ITEM_BYTES:
                raise content("an item is longer than allowed")
            end = at + 1 + _WORD + size
            if len(held) < end:
                break
            yield Item(bytes(held[at : at + 1]), bytes(held[at + 1 + _WORD : end]))
            at = end
        del held[:at]
    if held:
        raise content("it ends inside an item")


class Tally:
    """Counts and digests the rows of one section."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    def add(self, body: bytes) -> None:
        """One more row, as it is packed."""
        self.rows += 1
        self._digest.update(len(body).to_bytes(_WORD, "big") + body)

    @property
    def sha256(self) -> str:
        """Digest of all rows, 64 hex digits."""
        return self._digest.hexdigest()


def checked_space(text: str) -> str:
    """Name of a space: an org's id, or empty. Raises BackupContentError."""
    if text and ORG_ID.fullmatch(text) is None:
        raise content("a section names no org")
    return text


def content(cause: str) -> BackupContentError:
    """The error of whatever was encrypted and is no backup."""
    return BackupContentError(
        f"what the backup holds cannot be used: {cause}", field="backup", next_step="take an older backup"
    )


def _part(body: bytes, at: int, size: int) -> bytes:
    part = body[at : at + size]
    if len(part) != size:
        raise content("a row ends inside a value")
    return part


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise content("a text is not UTF-8") from None
