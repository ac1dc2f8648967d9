"""What an Offer carries: a complete signed set by name and hash, and bytes only where they are needed and
small.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_INLINE_BYTES = 64 * 1024  # over all files of an offer (wire: OfferedFile.inline)


@dataclass(frozen=True, slots=True)
class SetFile:
    """One file of a signed set.

    Attributes:
        name: metadata file name or target path.
        sha256: 32 bytes.
        size: bytes.
        metadata: TUF metadata, else a target.
    """

    name: str
    sha256: bytes
    size: int
    metadata: bool


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A stored signed set; immutable.

    Attributes:
        number: counts sets of the org, from 1; a higher number is newer.
        revision: "<release version>.<snapshot version>", for people.
        created_ms: Unix milliseconds.
        timestamp_expires_ms: end of the timestamp's validity.
        files: by name.
    """

    number: int
    revision: str
    created_ms: int
    timestamp_expires_ms: int
    files: tuple[SetFile, ...]


def missing(files: Sequence[SetFile], held: Mapping[str, bytes]) -> tuple[SetFile, ...]:
    """Files that the outpost does not hold with these very bytes."""
    return tuple(file for file in files if held.get(file.name) != file.sha256)


def inline(files: Sequence[SetFile], budget_bytes: int = MAX_INLINE_BYTES) -> frozenset[str]:
    """Names of the files whose bytes travel in the offer: smallest first, metadata before targets, within
    the budget.
    """
    chosen: set[str] = set()
    left = budget_bytes
    for file in sorted(files, key=lambda file: (not file.metadata, file.size, file.name)):
        if file.size <= left:
            chosen.add(file.name)
            left -= file.size
    return frozenset(chosen)


def is_current(files: Sequence[SetFile], held: Mapping[str, bytes]) -> bool:
    """Whether the outpost holds exactly this set: then the offer has no files."""
    return not missing(files, held)
