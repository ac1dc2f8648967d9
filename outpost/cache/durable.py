"""Files that are either the old ones or the new ones, whatever moment the power fails.

Write beside, sync, rename, sync the folder. A file is written where it is (``overwrite_file``) when nobody reads it
before it is whole again, or when one byte of it changes: that needs neither rename nor sync of the folder. Modes are
0700 for folders and 0600 for files. A failpoint is called before each step with its name, so that a test can die there.
"""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from outpost.cache.errors import CacheMissingError, CacheTamperedError, CacheWriteError

Failpoint = Callable[[str], None]
STEPS = ("open", "write", "sync", "rename", "sync-folder", "done")
"""Names that a failpoint is called with, after the file's name and a colon, in this order; not at once: without
"sync-folder"."""
OVERWRITE_STEPS = ("open", "write", "sync", "sync-folder", "done")
"""The same for ``overwrite_file``; the folder is synced only when the file is new there."""


# A link is not followed, and a pipe in the file's place does not make us wait.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def no_failpoint(step: str) -> None:
    """Go on: what runs outside tests."""


def make_folder(path: Path) -> None:
    """Make a folder and its parents, readable by us alone.

    Raises:
        CacheWriteError: the disk refused.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise _write_error(path, error) from error


def replace_file(path: Path, data: bytes, failpoint: Failpoint = no_failpoint, *, at_once: bool = True) -> None:
    """Put new content in the place of a file, atomically and durably.

    Args:
        path: the file.
        data: its new content.
        failpoint: see the module.
        at_once: the name is durable when this returns. Otherwise a power cut soon after may bring the old content back,
            whole.

    Raises:
        CacheWriteError: the disk refused; the old content stands.
    """
    beside = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        failpoint(f"{path.name}:open")
        descriptor = os.open(beside, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data[: len(data) // 2])
            file.flush()
            failpoint(f"{path.name}:write")
            file.write(data[len(data) // 2 :])
            file.flush()
            failpoint(f"{path.name}:sync")
            os.fsync(descriptor)
        failpoint(f"{path.name}:rename")
        beside.replace(path)
        if at_once:
            failpoint(f"{path.name}:sync-folder")
            sync_folder(path.parent)
        failpoint(f"{path.name}:done")
    except OSError as error:
        raise _write_error(path, error) from error


def overwrite_file(path: Path, data: bytes, failpoint: Failpoint = no_failpoint) -> None:
    """Write a file where it is, durable when this returns. In between old and new bytes stand in it.

    Raises:
        CacheWriteError: the disk refused; the file may be torn.
    """
    try:
        failpoint(f"{path.name}:open")
        descriptor, new = _open_in_place(path)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            failpoint(f"{path.name}:write")
            file.write(data[len(data) // 2 :])
            file.flush()
            os.ftruncate(descriptor, len(data))
            failpoint(f"{path.name}:sync")
            os.fdatasync(descriptor)
        if new:
            failpoint(f"{path.name}:sync-folder")
            sync_folder(path.parent)
        failpoint(f"{path.name}:done")
    except OSError as error:
        raise _write_error(path, error) from error


def _open_in_place(path: Path) -> tuple[int, bool]:
    """A descriptor of the plain file that is there, or of a new one; what else stands in its place is taken away."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.fchmod(descriptor, 0o600)
            return descriptor, False
        os.close(descriptor)
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), True


def read_file(path: Path, limit: int) -> bytes:
    """Read a whole file that must be a plain one of at most ``limit`` bytes.

    Raises:
        CacheMissingError: there is none.
        CacheTamperedError: larger than anything that we write, a link, or unreadable.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise CacheMissingError(f"There is no {path.name}.", field=path.name) from None
    except OSError as error:
        raise CacheTamperedError(
            f"{path.name} cannot be read ({error.strerror}).", field=path.name, next_step="Check the disk."
        ) from error
    if len(data) > limit:
        raise CacheTamperedError(f"{path.name} is larger than anything written here.", field=path.name)
    return data


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: OSError) -> CacheWriteError:
    return CacheWriteError(
        f"{path.name} could not be written ({error.strerror}).",
        field=path.name,
        next_step="Check free space and permissions of the state folder.",
    )
