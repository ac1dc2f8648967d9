"""What an Offer carries: what differs from the set that the outpost holds, and bytes only where they are needed and
small.

Theory. Many outposts hold one and the same set, so everything here depends on two listings alone: that of the newest
set and that of the held one. A plan for a pair of set identities can be kept and given to everybody who holds the
first. Steps: ``wanted`` (which files of the set concern this outpost) → ``difference`` → ``deltas_worth_trying`` → the
caller makes or remembers the deltas → ``pack``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from outpost.core.bundle import limits, names
from outpost.core.bundle.delta import MIN_DELTA_FILE_BYTES, Difference, difference

FIRST_RETRY_SECONDS = 5.0  # until a set that failed for a reason that passes is offered again
MAX_RETRY_SECONDS = 300.0
MAX_DOUBLINGS = 16  # 2^16 times the first wait is far beyond the longest
MAX_INLINE_BYTES = limits.MAX_INLINE_BYTES  # over all files and deltas of an offer (wire: OfferedFile.inline)


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


@dataclass(frozen=True, slots=True)
class DeltaPair:
    """A file that is held in an older form: a delta may be worth it.

    Attributes:
        name: of the file.
        old_sha256: what the outpost holds, 32 bytes.
        new_sha256: what it shall hold, 32 bytes.
    """

    name: str
    old_sha256: bytes
    new_sha256: bytes


@dataclass(frozen=True, slots=True)
class OfferPacking:
    """What an offer says of each listed file.

    Attributes:
        base_sha256: identity of the set that the files change; empty when they are the complete set.
        files: the listed files.
        removed: names that the outpost shall drop.
        inline: names whose bytes travel in the offer.
        deltas: name to the delta that travels in the offer, and the held file that it refers to.
    """

    base_sha256: bytes
    files: tuple[SetFile, ...]
    removed: tuple[str, ...]
    inline: frozenset[str]
    deltas: Mapping[str, tuple[bytes, bytes]]

    @property
    def is_empty(self) -> bool:
        """The outpost holds exactly this set: the offer has no files."""
        return not self.files and not self.removed

    @property
    def is_of_changes(self) -> bool:
        """It says what changes in the set that is held, instead of all that is in the new one."""
        return bool(self.base_sha256)


def retry_seconds(failures: int, chance: float) -> float:
    """Wait until a set that failed for a reason that passes is offered again: 5 s, doubled each time, up to 5 min.

    Args:
        failures: of this set, at least 1.
        chance: of [0, 1): a fleet that failed at once does not try again at once.
    """
    longest = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, MAX_DOUBLINGS))
    return longest * (1 + chance) / 2


def wanted(files: Sequence[SetFile], held: Mapping[str, bytes]) -> tuple[SetFile, ...]:
    """The files that an outpost with such a set shall hold.

    Roots older than the one received at enrollment mean nothing to it, and it drops them; the oldest root that it holds
    is that one.
    """
    enrolled = min((version for version in map(names.root_version, held) if version), default=0)
    return tuple(file for file in files if not 0 < names.root_version(file.name) < enrolled)


def listing(files: Sequence[SetFile]) -> dict[str, bytes]:
    """Name of each file to its SHA-256."""
    return {file.name: file.sha256 for file in files}


def changes(files: Sequence[SetFile], held: Mapping[str, bytes]) -> Difference:
    """What leads an outpost from the set that it holds to this one.

    Args:
        files: the newest set.
        held: name to SHA-256, as Hello told it.
    """
    return difference(held, listing(wanted(files, held)))


def deltas_worth_trying(
    files: Sequence[SetFile], held: Mapping[str, bytes], found: Difference
) -> tuple[DeltaPair, ...]:
    """Changed files that are held in another form and large enough; resource files by the kind in their names.

    Args:
        files: the newest set.
        held: name to SHA-256, as Hello told it.
        found: what leads from one to the other.
    """
    pairs = []
    former = {_kind(name): name for name in found.removed}
    for file in files:
        if file.name not in found.changed or file.size < MIN_DELTA_FILE_BYTES:
            continue
        old = file.name if file.name in held else former.get(_kind(file.name))
        if old is not None and file.size <= limits.MAX_DELTA_FILE_BYTES:
            pairs.append(DeltaPair(file.name, held[old], file.sha256))
    return tuple(pairs)


def pack(
    files: Sequence[SetFile],
    held: Mapping[str, bytes],
    deltas: Mapping[DeltaPair, bytes],
    budget_bytes: int = MAX_INLINE_BYTES,
) -> OfferPacking:
    """Decide what travels in the offer: small things first, metadata before targets, within the budget.

    Args:
        files: the newest set.
        held: name to SHA-256, as Hello told it; empty when the outpost holds nothing.
        deltas: deltas that were made; those that were not worth it are left out.
        budget_bytes: over all bytes in the offer.
    """
    found = changes(files, held)
    listed = tuple(file for file in wanted(files, held) if file.name in found.changed)
    frames = {pair.name: (frame, pair.old_sha256) for pair, frame in deltas.items()}
    cost = {file.name: len(frames[file.name][0]) if file.name in frames else file.size for file in listed}
    travelling: set[str] = set()
    left = budget_bytes
    for file in sorted(listed, key=lambda file: (not file.metadata, cost[file.name], file.name)):
        if cost[file.name] <= left:
            travelling.add(file.name)
            left -= cost[file.name]
    return OfferPacking(
        base_sha256=found.base_sha256 if held else b"",
        files=listed,
        removed=found.removed,
        inline=frozenset(travelling - frames.keys()),
        deltas={name: frames[name] for name in travelling & frames.keys()},
    )


def pack_whole(files: Sequence[SetFile], held: Mapping[str, bytes]) -> OfferPacking:
    """A complete set, for outposts of the version before, which know of no changes: only bytes that they hold already
    are left out.
    """
    return OfferPacking(b"", tuple(files), (), inline(missing(files, held)), {})


def missing(files: Sequence[SetFile], held: Mapping[str, bytes]) -> tuple[SetFile, ...]:
    """Files that the outpost does not hold with these very bytes."""
    return tuple(file for file in files if held.get(file.name) != file.sha256)


def inline(files: Sequence[SetFile], budget_bytes: int = MAX_INLINE_BYTES) -> frozenset[str]:
    """Names of the files whose bytes travel in a complete offer: smallest first, metadata before targets, within
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
    found = changes(files, held)
    return not found.changed and not found.removed


def _kind(name: str) -> str:
    """What a resource file is, without the hash in its name; the name itself of other files."""
    for resource, role in names.RESOURCE_ROLES.items():
        if name.startswith(f"{role}/{resource}-"):
            return f"{role}/{resource}"
    return f"{names.POLICY}/{names.RELEASE}" if names.release_version(name) else name
