"""Drafts that wait for signatures, as files below the state directory: ``orgs/<org>/draft.json``. Nothing secret."""

from pathlib import Path

from certs.shell.private_files import PrivateFileError, replace_private_file
from controlplane.domain.ceremony import MAX_CEREMONY_BYTES
from controlplane.domain.orgs import checked_id
from controlplane.store.sealing import make_folder


class DraftFiles:
    """Adapter of ``ports.drafts.Drafts``.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, org: str, data: bytes) -> None:
        """Write the draft of an org, in the place of an older one."""
        path = self._path(org)
        make_folder(path.parent)
        replace_private_file(path, data)

    def get(self, org: str) -> bytes | None:
        """The draft of an org.

        Raises:
            PrivateFileError: it cannot be read.
        """
        try:
            with self._path(org).open("rb") as file:
                return file.read(MAX_CEREMONY_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PrivateFileError(
                f"The draft cannot be read ({error.strerror}).", field=str(self._path(org))
            ) from error

    def drop(self, org: str) -> None:
        """Forget the draft of an org."""
        self._path(org).unlink(missing_ok=True)

    def _path(self, org: str) -> Path:
        return self._folder / "orgs" / checked_id(org) / "draft.json"
