"""A file for a secret that is shown once: opened before the secret is made, so that nothing is made in vain."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from controlplane.cli import output as out

ROOM_BYTES = 1024  # a key has 60 bytes, a join token less than 400: a full disk shows itself before one is made


@contextlib.contextmanager
def reserved(path: Path | None, output: str) -> Iterator[Callable[[str], None]]:
    """A new file of mode 0600, held from the first moment and removed unless the secret reaches it.

    Args:
        path: must not exist; None when the secret is shown instead, and then nothing is written.
        output: how to say a failure.

    Raises:
        SystemExit: the file cannot be made; said already.
    """
    if path is None:
        yield lambda text: None
        return
    kept = False
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        _refuse(path, error, output)
    try:
        with file:
            _write(path, file.fileno(), b" " * ROOM_BYTES, output)

            def keep(text: str) -> None:
                nonlocal kept
                os.ftruncate(file.fileno(), 0)
                _write(path, file.fileno(), text.encode(), output)
                kept = True

            yield keep
    finally:
        if not kept:
            path.unlink(missing_ok=True)


def _write(path: Path, descriptor: int, data: bytes, output: str) -> None:
    try:
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    except OSError as error:
        _refuse(path, error, output)


def _refuse(path: Path, error: OSError, output: str) -> NoReturn:
    from certs.shell.private_files import PrivateFileError, PrivateFileExistsError

    message = f"the file cannot be made: {error.strerror}; nothing was created"
    if isinstance(error, FileExistsError):
        step = "move the old file away, or name another"
        out.fail(PrivateFileExistsError(message, field=str(path), next_step=step), output)
    out.fail(PrivateFileError(message, field=str(path), next_step="name a path that can be written"), output)
