"""The one place where a bundle that was brought by hand waits until the running outpost takes it up."""

from pathlib import Path

from certs.shell.private_files import replace_private_file
from outpost.core.bundle.archive import MAX_ARCHIVE_BYTES


class Inbox:
    """A file that is there or not.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, data: bytes) -> None:
        """Leave a bundle, in the place of an older one that nobody took up yet. Raises KeyStoreError."""
        replace_private_file(self._path, data)

    def read(self) -> bytes:
        """What waits, untrusted; empty when nothing does. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_ARCHIVE_BYTES + 1)
        except FileNotFoundError:
            return b""

    def clear(self, data: bytes) -> None:
        """It was taken up, unless another one was left meanwhile. Raises OSError."""
        if self.read() == data:
            self._path.unlink(missing_ok=True)
