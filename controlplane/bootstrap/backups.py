"""Backups as files: taken from an open control plane, and read without one."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from certs.shell.new_files import new_file
from certs.shell.private_files import read_private_file
from controlplane.bootstrap.plane import Plane, opened
from controlplane.bootstrap.recording import on_record
from controlplane.domain.backup_frames import SALT_BYTES, SCRYPT_N, Lock, Read, checked_passphrase, open_chunks, unlock
from controlplane.domain.backups import BackupHead, BackupReader, Manifest
from controlplane.domain.orgs import OPERATOR
from controlplane.services.backup import BackupTaker

TAKE = "backup.take"
PACKAGE = "ai-outpost"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself.

    Attributes:
        size: of the file, bytes.
    """

    head: BackupHead
    manifest: Manifest
    size: int


async def take(folder: Path, target: Path, passphrase: bytes, cost: int = SCRYPT_N) -> Backup:
    """Take a backup of a control plane, whether or not it serves; on record in the operator's log of acts.

    Args:
        folder: state directory.
        target: a new file; it is there whole or not at all.
        passphrase: opens the file, and everything in it.
        cost: N of scrypt.

    Raises:
        PrivateFileExistsError: the file is there.
        BackupPassphraseError: too short or too long.
    """
    checked_passphrase(passphrase)
    async with opened(folder) as plane, on_record(plane, OPERATOR, TAKE, f"file/{target.name}") as now_ms:
        with new_file(target) as write:
            head = await _head(plane, now_ms)
            taker = BackupTaker(plane.store.dumps, plane.clock)
            how = Lock(plane.chance.token_bytes(SALT_BYTES), cost)
            manifest = await taker.take(head, (passphrase, how), write)
    return await asyncio.to_thread(_made, head, manifest, target)


def _made(head: BackupHead, manifest: Manifest, target: Path) -> Backup:
    return Backup(head, manifest, target.stat().st_size)


def verify(path: Path, passphrase: bytes) -> Backup:
    """Read a backup from its first byte to its last, and hold it against its own counts. Raises BackupError."""
    with opened_backup(path, passphrase) as reader:
        for _ in reader.rows():
            pass
        return _made(reader.head, reader.manifest, path)


@contextlib.contextmanager
def opened_backup(path: Path, passphrase: bytes) -> Iterator[BackupReader]:
    """A backup, ready to be read. Raises BackupError."""
    with path.open("rb") as file:
        read: Read = file.read
        yield BackupReader(open_chunks(read, unlock(read, passphrase)))


def read_passphrase(path: Path) -> bytes:
    """The first line of a private file. Raises KeyStoreError, BackupPassphraseError."""
    return checked_passphrase(read_private_file(path.resolve()).split(b"\n", 1)[0])


async def _head(plane: Plane, now_ms: int) -> BackupHead:
    return BackupHead(
        software=version(PACKAGE),
        revision=plane.store.dumps.revision,
        created_ms=now_ms,
        trust_domain=plane.settings.trust_domain,
        settings=plane.settings.model_dump(mode="json"),
        kek=plane.keyring.kek,
        modules=await plane.store.vault.in_modules(),
    )
