r"""The outside of a backup: one encrypted stream, cut into chunks.

``outpost-backup-1\n`` ‖ u32 length ‖ head ‖ chunks. The head is canonical JSON: how the key comes from the passphrase
(scrypt, with its costs and a salt of this file), and a value that tells a wrong passphrase from a damaged file. A chunk
is u32 ‖ AES-256-GCM(zstd frame); the top bit of the word says that it is the last one, the rest is its length.

Theory. The key is of this file alone, since its salt is; so a chunk of another backup never opens. The nonce is the
number of the chunk and whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár), so
that a chunk opens only in its place, and a file that was cut at any point has no last chunk. The additional data is the
digest of all that stands before the first chunk. Every length is bounded before anything is read or unpacked.

Source: RFC 7914 (scrypt), RFC 5869 (HKDF), NIST SP 800-38D, RFC 8878 (zstd).
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from controlplane.domain.backup_errors import (
    BackupDamagedError,
    BackupError,
    BackupNewerError,
    BackupPassphraseError,
    BackupTrailingError,
    BackupTruncatedError,
)
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.fields import Fields
from outpost.core.errors import BundleError

FAMILY = b"outpost-backup-"
MAGIC = FAMILY + b"1\n"
SALT_BYTES = 32
KEY_BYTES = 32
CHECK_BYTES = 16
MAX_HEAD_BYTES = 1024  # ours has 190
SCRYPT_N = 2**17  # OWASP password storage, 2025: N = 2^17, r = 8, p = 1; 128 MiB and half a second
SCRYPT_R = 8
SCRYPT_P = 1
MIN_SCRYPT_N = 2**10  # of a file that is read; tests write with it
MAX_SCRYPT_N = 2**18  # of a file that is read: 256 MiB of memory, whatever it asks for
MIN_PASSPHRASE_BYTES = 12  # shorter ones are guessed, whatever each guess costs (NIST SP 800-63B asks for 8 to 15)
MAX_PASSPHRASE_BYTES = 1024
CHUNK_BYTES = 1024 * 1024  # of plain bytes in a chunk: what a reader holds at most, twice
MAX_SEALED_BYTES = CHUNK_BYTES + 64 * 1024  # bytes that zstd cannot make smaller grow by less than that
ZSTD_LEVEL = 3
_LAST = 1 << 31
_CHUNK_INFO = b"outpost.backup chunks 1"
_CHECK_INFO = b"outpost.backup check 1"
_NAME = "backup"

Read = Callable[[int], bytes]
"""The next so many bytes of the file, fewer only at its end."""


@dataclass(frozen=True, slots=True)
class Lock:
    """How the key of one backup comes from its passphrase.

    Attributes:
        salt: 32 bytes from chance.
        cost: N of scrypt.
    """

    salt: bytes
    cost: int = SCRYPT_N


@dataclass(frozen=True, slots=True)
class Opened:
    """Key and additional data of one backup; only ``lock`` and ``unlock`` make one."""

    key: bytes = field(repr=False)
    aad: bytes


def checked_passphrase(text: bytes) -> bytes:
    """A passphrase within its bounds, or BackupPassphraseError."""
    if not MIN_PASSPHRASE_BYTES <= len(text) <= MAX_PASSPHRASE_BYTES:
        raise BackupPassphraseError(
            f"the passphrase of a backup has {MIN_PASSPHRASE_BYTES} to {MAX_PASSPHRASE_BYTES} bytes",
            field="passphrase-file",
            next_step="write a longer one into the file: five random words, or 24 random characters",
        )
    return text


def lock(passphrase: bytes, how: Lock) -> tuple[bytes, Opened]:
    """The beginning of a new backup, and what its chunks are sealed under.

    Raises:
        BackupPassphraseError: too short or too long.
    """
    key, check = _keys(checked_passphrase(passphrase), how)
    head = encode(
        {"kdf": "scrypt", "n": how.cost, "r": SCRYPT_R, "p": SCRYPT_P, "salt": how.salt.hex(), "check": check}
    )
    beginning = MAGIC + len(head).to_bytes(4, "big") + head
    return beginning, Opened(key, hashlib.sha256(beginning).digest())


def unlock(read: Read, passphrase: bytes) -> Opened:
    """Read the beginning of a backup.

    Args:
        read: of the file; untrusted.
        passphrase: as it was given.

    Raises:
        BackupError: not a backup.
        BackupNewerError: of a newer version.
        BackupPassphraseError: another passphrase.
    """
    magic = read(len(MAGIC))
    if magic != MAGIC:
        raise _no_backup(magic)
    size = _number(read)
    if size > MAX_HEAD_BYTES:
        raise BackupError("the head of the backup is too long", field=_NAME)
    head = _exactly(read, size)
    try:
        fields = Fields(decode(head, _NAME), _NAME)
        fields.choice("kdf", ("scrypt",))
        cost = fields.integer("n", MIN_SCRYPT_N, MAX_SCRYPT_N)
        fields.integer("r", SCRYPT_R, SCRYPT_R)
        fields.integer("p", SCRYPT_P, SCRYPT_P)
        salt, check = bytes.fromhex(fields.sha256("salt")), fields.text("check")
        fields.done()
    except BundleError as error:
        raise BackupError(f"the head of the backup cannot be read: {error.message}", field=_NAME) from None
    if cost & (cost - 1):
        raise BackupError("the head of the backup asks for a cost that is no power of two", field=_NAME)
    key, expected = _keys(checked_passphrase(passphrase), Lock(salt, cost))
    if not hmac.compare_digest(check.encode(), expected.encode()):
        raise BackupPassphraseError(
            "the passphrase is not the one of this backup",
            field="passphrase-file",
            next_step="find the passphrase that was used on the day of the backup; without it nothing opens",
        )
    return Opened(key, hashlib.sha256(magic + size.to_bytes(4, "big") + head).digest())


class ChunkSealer:
    """Seals the chunks of one backup, one after the other."""

    def __init__(self, opened: Opened) -> None:
        self._cipher = AESGCM(opened.key)
        self._aad = opened.aad
        self._number = 0
        self._packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True)

    def seal(self, plain: bytes, *, last: bool) -> bytes:
        """The next chunk, with the word before it; ``plain`` has at most ``CHUNK_BYTES``."""
        sealed = self._cipher.encrypt(_nonce(self._number, last), self._packer.compress(plain), self._aad)
        self._number += 1
        return (len(sealed) | (_LAST if last else 0)).to_bytes(4, "big") + sealed


def open_chunks(read: Read, opened: Opened) -> Iterator[bytes]:
    """The plain bytes of each chunk, in order, to the end of the file.

    Args:
        read: of the file, behind its head; untrusted.
        opened: of ``unlock``.

    Raises:
        BackupTruncatedError: the file ends before its last chunk.
        BackupDamagedError: a chunk was changed, moved, or is of another backup.
        BackupTrailingError: something stands behind the last chunk.
    """
    cipher, number, last = AESGCM(opened.key), 0, False
    while not last:
        word = _number(read)
        last, size = bool(word & _LAST), word & ~_LAST
        if size > MAX_SEALED_BYTES:
            raise _damaged(number, "it is longer than a chunk may be")
        sealed = _exactly(read, size)
        try:
            packed = cipher.decrypt(_nonce(number, last), sealed, opened.aad)
        except (InvalidTag, ValueError):
            raise _damaged(number, "it does not open") from None
        yield _unpacked(packed, number)
        number += 1
    if read(1):
        raise BackupTrailingError("bytes stand behind the end of the backup", field=_NAME)


def _unpacked(packed: bytes, number: int) -> bytes:
    """Unpack a frame into at most ``CHUNK_BYTES``."""
    try:
        head = zstandard.get_frame_parameters(packed)
        if head.content_size > CHUNK_BYTES:  # also when it does not say
            raise _damaged(number, "it would unpack into more than a chunk holds")
        unpacker = zstandard.ZstdDecompressor(max_window_size=2 * CHUNK_BYTES)
        return unpacker.decompress(packed, max_output_size=CHUNK_BYTES, allow_extra_data=False)
    except zstandard.ZstdError:
        raise _damaged(number, "it cannot be unpacked") from None


def _keys(passphrase: bytes, how: Lock) -> tuple[bytes, str]:
    """Key of the chunks, and the value that tells whether it is the right one."""
    master = Scrypt(salt=how.salt, length=KEY_BYTES, n=how.cost, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase)
    key = HKDFExpand(hashes.SHA256(), KEY_BYTES, _CHUNK_INFO).derive(master)
    return key, HKDFExpand(hashes.SHA256(), CHECK_BYTES, _CHECK_INFO).derive(master).hex()


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + int(last).to_bytes(4, "big")


def _number(read: Read) -> int:
    return int.from_bytes(_exactly(read, 4), "big")


def _exactly(read: Read, size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise BackupTruncatedError(
            "the file ends before the backup does",
            field=_NAME,
            next_step="copy it again from where it was written, or take an older one",
        )
    return data


def _no_backup(magic: bytes) -> BackupError:
    if magic.startswith(FAMILY):
        return BackupNewerError(
            "a newer version of this program wrote this backup", field=_NAME, next_step="restore it with that version"
        )
    return BackupError("the file is no backup of a control plane", field=_NAME, next_step="check the path")


def _damaged(number: int, cause: str) -> BackupDamagedError:
    return BackupDamagedError(
        f"chunk {number} of the backup is damaged: {cause}",
        field=_NAME,
        next_step="copy the file again from where it was written, or take an older one",
    )
