"""New private files of any size: written piece by piece, and there whole or not at all."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from certs.shell.private_files import PRIVATE_MODE, PrivateFileError, PrivateFileExistsError


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


def _exists(path: Path) -> PrivateFileExistsError:
    return PrivateFileExistsError(
        "The file exists already and is not replaced.", field=str(path), next_step="Name another."
    )
