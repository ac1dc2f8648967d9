"""Marks that an org's folder bears: that the control plane locked this outpost, or withdrew its identity.

They outlive a restart, so that an outpost which was told so does not forget it without a network. What cannot be read
counts as a mark: nobody but us writes here.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from outpost.cache.durable import make_folder, read_file, replace_file
from outpost.cache.errors import CacheMissingError, CacheTamperedError, CacheWriteError
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.limits import MAX_INTEGER
from outpost.core.errors import BundleError

MARKER_SCHEMA = "outpost.marker/1"
MAX_MARKER_BYTES = 4096  # ours have about 150
UNREADABLE = "marker.unreadable"
"""Code of a mark that cannot be read."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A mark.

    Attributes:
        outpost: id of the outpost that was told; empty when the mark cannot be read.
        code: what it was told, such as "operator.lock" or "outpost.revoked".
        at_ms: when, Unix milliseconds.
    """

    outpost: str
    code: str
    at_ms: int


def write_marker(path: Path, marker: Marker) -> None:
    """Leave a mark, durably.

    Raises:
        CacheWriteError: the disk refused.
    """
    make_folder(path.parent)
    body = {"schema": MARKER_SCHEMA, "outpost": marker.outpost, "code": marker.code, "at_ms": marker.at_ms}
    replace_file(path, encode(body))


def read_marker(path: Path) -> Marker | None:
    """The mark that is there, or None."""
    try:
        fields = Fields(decode(read_file(path, MAX_MARKER_BYTES), path.name), path.name)
        fields.choice("schema", (MARKER_SCHEMA,))
        marker = Marker(fields.text("outpost"), fields.text("code"), fields.integer("at_ms", 0, MAX_INTEGER))
        fields.done()
    except CacheMissingError:
        return None
    except (CacheTamperedError, BundleError):
        return Marker("", UNREADABLE, 0)
    return marker


def clear_marker(path: Path) -> None:
    """Take a mark away.

    Raises:
        CacheWriteError: the disk refused.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    except OSError as error:
        raise CacheWriteError(f"{path.name} could not be removed ({error.strerror}).", field=path.name) from error
