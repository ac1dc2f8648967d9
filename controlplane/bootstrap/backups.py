"""Backups as files: taken from an open control plane, and read without one."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from certs.shell.private_files import PRIVATE_MODE, PrivateFileError, PrivateFileExistsError, read_private_file
from controlplane.bootstrap.local import LOCAL_SOURCE, local_principal
from controlplane.bootstrap.plane import Plane, SystemChance, opened
from controlplane.bootstrap.workbench import REQUEST_ID_BYTES, workbench
from controlplane.domain.acts import Act, Outcome, parameters_digest
from controlplane.domain.backup_frames import SALT_BYTES, SCRYPT_N, Lock, Read, checked_passphrase, open_chunks, unlock
from controlplane.domain.backups import BackupHead, BackupReader, Manifest
from controlplane.domain.orgs import OPERATOR
from controlplane.services.acts import ActLog
from controlplane.services.backup import BackupTaker
from controlplane.store.drafts import DraftFiles

TAKE, RESTORE = "backup.take", "backup.restore"
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
    async with opened(folder) as plane, _recorded(plane, target) as now_ms:
        with new_file(target) as write:
            head = await _head(plane, now_ms)
            taker = BackupTaker(plane.store.dumps, DraftFiles(folder), plane.clock)
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


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A new file of mode 0600 that is there, whole and durable, only when nothing failed.

    Raises:
        PrivateFileExistsError: the path is taken.
        PrivateFileError: the disk refused.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            raise _exists(path)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE), "wb") as file:

            def write(data: bytes) -> None:
                file.write(data)

            yield write
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # fails when the path was taken meanwhile, unlike a rename
        sync_folder(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise PrivateFileError(f"The file cannot be written ({error.strerror}).", field=str(path)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def act_of(operation: str, now_ms: int, target: str) -> Act:
    """The record of a backup or a restore, in the operator's log."""
    return Act(
        time_ms=now_ms,
        org=OPERATOR,
        principal=local_principal(),
        source=LOCAL_SOURCE,
        request_id=SystemChance().token_bytes(REQUEST_ID_BYTES).hex(),
        operation=operation,
        verb=operation,
        target=target,
        parameters=parameters_digest({"target": target}),
        outcome=Outcome.DONE,
    )


@contextlib.asynccontextmanager
async def _recorded(plane: Plane, target: Path) -> AsyncIterator[int]:
    """On record before anything is read, and once the file is there; gives the moment before."""
    async with workbench(plane) as bench:
        now_ms = plane.clock.now_ms()
        act = act_of(TAKE, now_ms, f"file/{target.name}")
        await _append(plane, bench.acts, act, Outcome.INTENDED)
        yield now_ms
        await _append(plane, bench.acts, act, Outcome.DONE)
        await bench.acts.sign_grown()


async def _append(plane: Plane, acts: ActLog, act: Act, outcome: Outcome) -> None:
    async with plane.store.for_org(OPERATOR).write() as transaction:
        await acts.append(transaction, replace(act, outcome=outcome, time_ms=plane.clock.now_ms()))


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


def _exists(path: Path) -> PrivateFileExistsError:
    return PrivateFileExistsError(
        "The file exists already and is not replaced.", field=str(path), next_step="Name another."
    )
