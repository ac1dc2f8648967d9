"""Large resources, known by the SHA-256 of their content and hashed at each opening."""

import hashlib
import os
import re
from collections.abc import Set as AbstractSet
from pathlib import Path

from outpost.cache.durable import Failpoint, make_folder, no_failpoint, read_file, replace_file, sync_folder
from outpost.cache.errors import CacheMissingError, CacheTamperedError, CacheWriteError
from outpost.core.bundle.limits import MAX_TARGET_BYTES

_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")


class ContentStore:
    """A folder of files named by their hash.

    Args:
        folder: made when the first file comes.
        failpoint: see ``durable``.
    """

    def __init__(self, folder: Path, failpoint: Failpoint = no_failpoint) -> None:
        self._folder = folder
        self._failpoint = failpoint

    def put(self, data: bytes) -> str:
        """Keep content; what is here whole is not written again.

        Returns:
            Its SHA-256 in hex.

        Raises:
            CacheWriteError: too large, or the disk refused.
        """
        if len(data) > MAX_TARGET_BYTES:
            raise CacheWriteError(f"A stored file has at most {MAX_TARGET_BYTES} bytes.", field="store")
        digest = hashlib.sha256(data).hexdigest()
        if not self._holds(digest):
            make_folder(self._folder)
            replace_file(self._folder / digest, data, self._failpoint)
        return digest

    def _holds(self, digest: str) -> bool:
        try:
            self.get(digest)
            sync_folder(self._folder)  # its writer may have died before its name was durable
        except (CacheMissingError, CacheTamperedError):
            return False
        except OSError as error:
            raise CacheWriteError(f"The store cannot be written ({error.strerror}).", field="store") from error
        return True

    def get(self, digest: str) -> bytes:
        """Content by its hash.

        Args:
            digest: 64 lower-case hex digits.

        Raises:
            CacheMissingError: not here.
            CacheTamperedError: the file has other content, or ``digest`` is no hash.
        """
        if not _HEX_SHA256.fullmatch(digest):
            raise CacheTamperedError("A stored file is asked for by something that is no hash.", field="store")
        data = read_file(self._folder / digest, MAX_TARGET_BYTES)
        if hashlib.sha256(data).hexdigest() != digest:
            raise CacheTamperedError(f"Stored file {digest[:12]} has other content.", field=f"store/{digest}")
        return data

    def is_empty(self) -> bool:
        """Whether nothing at all stands here."""
        try:
            with os.scandir(self._folder) as entries:
                return next(entries, None) is None
        except FileNotFoundError:
            return True
        except OSError as error:
            raise CacheWriteError(f"The store could not be read ({error.strerror}).", field="store") from error

    def keep_only(self, digests: AbstractSet[str]) -> None:
        """Delete every file but these, remains of interrupted writes too.

        Raises:
            CacheWriteError: the disk refused.
        """
        if not self._folder.is_dir():
            return
        try:
            for path in self._folder.iterdir():
                if path.name not in digests:
                    path.unlink()
        except OSError as error:
            raise CacheWriteError(f"The store could not be cleaned ({error.strerror}).", field="store") from error
