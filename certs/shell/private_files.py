"""Files that only their owner may read: written whole or not at all, refused when others can read them.

A crash at any moment leaves the old file, the new one or none, never half of one; a temporary file may stay
behind and is harmless.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from certs.errors import KeyStoreError

MAX_PRIVATE_FILE_BYTES = 65536  # keys, chains and enrollment facts; the largest is a PEM chain (keys.MAX_PEM_BYTES)
PRIVATE_MODE = 0o600
_OTHERS = 0o077


class PrivateFileError(KeyStoreError):
    """A private file cannot be read or written."""

    code = "key_store.file"


class PrivateFileExistsError(KeyStoreError):
    """A file to be created exists already: it is never replaced by accident."""

    code = "key_store.exists"


class PrivateFilePermissionError(KeyStoreError):
    """Others than the owner may read a private file, or it is no plain file."""

    code = "key_store.permissions"


def create_private_file(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, durable when this returns.

    Raises:
        PrivateFileExistsError: the path is taken.
        PrivateFileError: the disk or the folder refused.
    """
    with _temporary(path, data) as temporary:
        try:
            os.link(temporary, path)  # fails when the path exists, unlike rename
        except FileExistsError:
            raise PrivateFileExistsError(
                "The file exists already and is not replaced.",
                field=str(path),
                next_step="Move the old file away first.",
            ) from None


def replace_private_file(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 in place of an older one, if any, durable when this returns.

    Raises:
        PrivateFileError: the disk or the folder refused.
    """
    with _temporary(path, data) as temporary:
        os.rename(temporary, path)


def read_private_file(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        PrivateFilePermissionError: group or others have rights, or it is a link or no plain file.
        PrivateFileError: absent, unreadable or larger than 64 KiB.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & _OTHERS:
                raise PrivateFilePermissionError(
                    "A private file must be a plain file that only its owner may read.",
                    field=str(path),
                    next_step=f"chmod 600 {path}",
                )
            data = file.read(MAX_PRIVATE_FILE_BYTES + 1)
    except OSError as error:
        raise PrivateFileError(f"The file cannot be read ({error.strerror}).", field=str(path)) from error
    if len(data) > MAX_PRIVATE_FILE_BYTES:
        raise PrivateFileError(f"The file has more than {MAX_PRIVATE_FILE_BYTES} bytes.", field=str(path))
    return data


@contextlib.contextmanager
def _temporary(path: Path, data: bytes) -> Iterator[Path]:
    """A durable file beside the path; the folder is synced after the body moved it into place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise PrivateFileError(f"The file cannot be written ({error.strerror}).", field=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
