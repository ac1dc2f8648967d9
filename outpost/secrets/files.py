"""Secrets as files: one file per secret in one folder, as container platforms mount them."""

import re
from pathlib import Path

from outpost.core.errors import StoreError

MAX_SECRET_BYTES = 64 * 1024  # the largest in use is a PEM chain
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class SecretMissingError(StoreError):
    """There is no such secret here, or it cannot be read."""

    code = "secret.missing"  # fatal: it may be mounted later, but no retry of a client mounts it


class SecretEmptyError(SecretMissingError):
    """The file is there, and nothing in it."""

    code = "secret.empty"


class FileSecrets:
    """``ports.Secrets`` over a folder. Read at each use: a rotated file counts at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> bytes:
        """The secret without white space around it.

        Raises:
            SecretMissingError: no such file, or a name that leaves the folder.
            SecretEmptyError: nothing in it.
        """
        if not _NAME.fullmatch(name):
            raise SecretMissingError("the name of a secret has another form", field=name[:128])
        path = self._folder / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_SECRET_BYTES + 1)
        except OSError as error:
            raise SecretMissingError(
                "there is no such secret", field=str(path), next_step=f"write it to {path}, mode 0600"
            ) from error
        if len(data) > MAX_SECRET_BYTES:
            raise SecretMissingError("the secret is too large", field=str(path))
        secret = data.strip()
        if not secret:
            raise SecretEmptyError("the secret is empty", field=str(path), next_step=f"write it to {path}, mode 0600")
        return secret
