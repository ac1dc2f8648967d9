"""The outside of a backup: what was written opens, and nothing else does."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.backup_errors import BackupError
from controlplane.domain.backup_frames import (
    CHUNK_BYTES,
    MAGIC,
    MAX_SCRYPT_N,
    MIN_SCRYPT_N,
    ChunkSealer,
    Lock,
    lock,
    open_chunks,
    unlock,
)

PASSPHRASE = b"correct horse battery staple"
PLAIN = (bytes(range(256)) * 40, b"", b"\0" * CHUNK_BYTES, b"the last one")
HOW = Lock(bytes(32), MIN_SCRYPT_N)


def written(plain: tuple[bytes, ...] = PLAIN, how: Lock = HOW) -> list[bytes]:
    """The beginning and each chunk."""
    beginning, opened = lock(PASSPHRASE, how)
    sealer = ChunkSealer(opened)
    return [beginning, *(sealer.seal(each, last=at == len(plain) - 1) for at, each in enumerate(plain))]


PARTS = written()
WHOLE = b"".join(PARTS)
OTHER = written(how=Lock(b"\1" * 32, MIN_SCRYPT_N))


def read(data: bytes, passphrase: bytes = PASSPHRASE) -> tuple[bytes, ...]:
    file = io.BytesIO(data)
    return tuple(open_chunks(file.read, unlock(file.read, passphrase)))


def code_of(data: bytes, passphrase: bytes = PASSPHRASE) -> str:
    with pytest.raises(BackupError) as caught:
        read(data, passphrase)
    assert caught.value.next_step or caught.value.field
    return caught.value.code


def head(change: Callable[[bytes], bytes]) -> bytes:
    size = int.from_bytes(WHOLE[len(MAGIC) : len(MAGIC) + 4], "big")
    start = len(MAGIC) + 4
    changed = change(WHOLE[start : start + size])
    return MAGIC + len(changed).to_bytes(4, "big") + changed + WHOLE[start + size :]


def test_what_was_written_is_read() -> None:
    assert read(WHOLE) == PLAIN


def cost(value: int) -> bytes:
    return head(lambda data: data.replace(b'"n":%d' % MIN_SCRYPT_N, b'"n":%d' % value))


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "backup.malformed"),
    "another kind of file": (b"SQLite format 3\0" + bytes(100), "backup.malformed"),
    "a newer version": (WHOLE.replace(b"backup-1", b"backup-2", 1), "backup.newer"),
    "a head that is too long": (MAGIC + (4096).to_bytes(4, "big") + bytes(4096), "backup.malformed"),
    "a head that is no JSON": (head(lambda data: b"{" * len(data)), "backup.malformed"),
    "a head with a field more": (head(lambda data: data.replace(b'{"', b'{"a":1,"', 1)), "backup.malformed"),
    "a cost that would take all memory": (cost(MAX_SCRYPT_N * 2), "backup.malformed"),
    "a cost that is no power of two": (cost(MIN_SCRYPT_N + 1), "backup.malformed"),
    "a cost that protects nothing": (cost(2), "backup.malformed"),
    "another cost": (cost(MIN_SCRYPT_N * 2), "backup.passphrase"),
    "another salt": (head(lambda data: data.replace(b"0" * 64, b"1" * 64)), "backup.passphrase"),
    "cut inside the head": (WHOLE[: len(MAGIC) + 9], "backup.truncated"),
    "no chunk at all": (PARTS[0], "backup.truncated"),
    "cut between chunks": (b"".join(PARTS[:-1]), "backup.truncated"),
    "cut inside a chunk": (WHOLE[:-1], "backup.truncated"),
    "a chunk left out": (b"".join(PARTS[:2] + PARTS[3:]), "backup.damaged"),
    "the last chunk alone": (PARTS[0] + PARTS[-1], "backup.damaged"),
    "chunks in another order": (PARTS[0] + PARTS[2] + PARTS[1] + b"".join(PARTS[3:]), "backup.damaged"),
    "a chunk twice": (b"".join(PARTS[:2] + PARTS[1:]), "backup.damaged"),
    "a chunk of another backup": (b"".join(PARTS[:1] + OTHER[1:]), "backup.damaged"),
    "a chunk that is called the last": (PARTS[0] + bytes([PARTS[1][0] | 0x80]) + PARTS[1][1:], "backup.damaged"),
    "a chunk that is longer than one may be": (PARTS[0] + b"\x7f\xff\xff\xff" + bytes(100), "backup.damaged"),
    "bytes behind the end": (WHOLE + b"\0", "backup.trailing"),
    "two backups in one file": (WHOLE + WHOLE, "backup.trailing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_else_opens(name: str) -> None:
    data, code = REFUSED[name]
    assert code_of(data) == code


@pytest.mark.parametrize("passphrase", [b"correct horse battery stable", PASSPHRASE + b" ", PASSPHRASE.upper()])
def test_another_passphrase_is_told_from_damage(passphrase: bytes) -> None:
    assert code_of(WHOLE, passphrase) == "backup.passphrase"


@pytest.mark.parametrize("passphrase", [b"", b"short", b"x" * 1025])
def test_no_backup_is_written_under_a_passphrase_that_is_guessed(passphrase: bytes) -> None:
    with pytest.raises(BackupError) as caught:
        lock(passphrase, HOW)
    assert caught.value.code == "backup.passphrase"


def test_a_chunk_that_unpacks_into_more_than_a_chunk_is_refused() -> None:
    beginning, opened = lock(PASSPHRASE, HOW)
    assert code_of(beginning + ChunkSealer(opened).seal(bytes(CHUNK_BYTES + 1), last=True)) == "backup.damaged"


SMALL = b"".join(written((b"some rows", b"more rows")))


@given(st.integers(0, len(SMALL) * 8 - 1))
def test_no_bit_can_be_flipped(bit: int) -> None:
    flipped = bytearray(SMALL)
    flipped[bit // 8] ^= 1 << bit % 8
    assert code_of(bytes(flipped)).startswith("backup.")


@given(st.integers(0, len(SMALL) - 1))
def test_it_can_be_cut_nowhere(size: int) -> None:
    assert code_of(SMALL[:size]).startswith("backup.")
