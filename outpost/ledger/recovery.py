"""What a start finds on disk and how the log goes on. Reads everything, changes nothing.

Rules, simplest honest first:

1. The last segments are scanned, back to the newest tree head that the log's own key signed (the *floor*). Records
   below the floor must lead to its root.
2. A hole that nothing proves to have been durable is the torn end of a crash: it is cut. Nobody was told otherwise.
3. A hole below the floor, or before a frame that opens a later group, is damage. Where the leaf hash is known from a
   tile, the tree goes on with that hash in a new segment: sequence numbers stay, the hole stays visible to every
   verifier, the damaged segment stays as it is.
4. Readable records behind a hole whose hash nobody knows (above the floor) get new numbers and are appended again.
   They were in no signed tree and had left for nowhere; so only the unreadable ones are lost.
5. When even the hashes do not lead to the floor's root, the log was rolled back or rewritten: nothing may be
   appended,
   because signing a tree that contradicts an earlier head would make the log a liar. That is ``LedgerDamagedError``.
"""

from dataclasses import dataclass, field
from itertools import zip_longest

from outpost.core.audit.canonical import without_sequence
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.core.audit.note import Checkpoint
from outpost.ledger.errors import LedgerDamagedError
from outpost.ledger.frames import PAGE_BYTES, Damage, Frame, decode_page, scan
from outpost.ledger.segments import SegmentFile, SegmentStore, list_segments
from outpost.ledger.tiles import TileStore

_RESTORE = (
    "keep this folder as evidence and restore its newest copy, or enroll again: a new outpost id starts a new log"
)


@dataclass(frozen=True, slots=True)
class LogFinding:
    """Something that a start noticed and survived.

    Attributes:
        code: "torn_tail", "records_missing", "records_changed", "records_renumbered", "checkpoint_unreadable".
        sequence: first record concerned.
        count: how many records, or bytes for a torn tail.
    """

    code: str
    sequence: int
    count: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log that can go on.

    Attributes:
        floor: size of the newest signed tree head, 0 when there is none.
        tree: the tree with every record that counts.
        unsigned: leaf hashes from ``floor`` on.
        segment: the segment to go on writing, or None for a new one.
        position: offset in it.
        orphans: bodies of records that get new numbers.
        findings: what was noticed.
        unused: segments that a crash left without a header; to be set aside before anything is written.
    """

    floor: int
    tree: CompactRange
    unsigned: tuple[bytes, ...]
    segment: SegmentFile | None = None
    position: int = 0
    orphans: tuple[bytes, ...] = ()
    findings: tuple[LogFinding, ...] = ()
    unused: tuple[SegmentFile, ...] = ()


@dataclass(slots=True)
class _Scan:
    """What the scanned segments hold."""

    hashes: dict[int, bytes] = field(default_factory=dict)
    bodies: dict[int, bytes] = field(default_factory=dict)  # of the last segment only
    openers: set[int] = field(default_factory=set)  # sequence numbers of frames that open a group
    straight_to: int = 0  # the last segment is intact and in order up to this sequence number
    position: int = 0  # offset behind that
    rest_bytes: int = 0  # bytes behind that which are not zeros


def recover(segments: SegmentStore, tiles: TileStore, head: Checkpoint | None) -> Recovered:
    """Find out where the log stands.

    Args:
        segments: folder of segments.
        tiles: folder of leaf hashes.
        head: newest tree head signed by the log itself, or None.

    Raises:
        LedgerDamagedError: what is on disk does not lead to that head.
        OSError: the disk cannot be read.
    """
    floor = head.size if head is not None else 0
    listed = list_segments(segments.folder)
    chain = _used(listed, floor)
    unused = tuple(listed[len(chain) :])
    base, chain = _base(chain, tiles, floor)
    found = _scan_chain(chain, base.size)
    hashes, missing = _walk(found, tiles, base.size, floor)
    size = base.size + len(hashes)
    if size < max(floor, chain[-1].first if chain else 0):
        raise LedgerDamagedError(
            f"record {size} is missing and its leaf hash with it, but later ones exist or were signed",
            field=f"sequence {size}",
            next_step=_RESTORE,
        )
    changed: list[int] = []
    if head is not None and base.extend(hashes[: floor - base.size]).root() != head.root:
        changed = _replace_changed(hashes, tiles, base, head)
    tree = base.extend(hashes)
    findings = _describe(missing, changed)
    later = sorted(number for number in found.bodies if number > size)
    renumber = bool(later and found.openers.intersection(later))
    unsigned = tuple(hashes[floor - base.size :])
    if renumber:
        findings.append(LogFinding("records_renumbered", size, len(later)))
        orphans = tuple(without_sequence(found.bodies[number]) for number in later)
        return Recovered(floor, tree, unsigned, orphans=orphans, findings=tuple(findings), unused=unused)
    segment, position = None, 0
    if chain and not findings and found.straight_to == size:
        if found.rest_bytes:
            findings.append(LogFinding("torn_tail", size, found.rest_bytes))
        segment, position = chain[-1], found.position
    return Recovered(floor, tree, unsigned, segment, position, findings=tuple(findings), unused=unused)


def _used(chain: list[SegmentFile], floor: int) -> list[SegmentFile]:
    """Leave out a last segment that a crash left without a header: nothing in it was ever acknowledged."""
    while chain and chain[-1].first >= floor:
        data = chain[-1].path.read_bytes()
        later = any(isinstance(item, Frame) and item.sequence > chain[-1].first for item in scan(data))
        if decode_page(data) is not None or later:
            break
        chain = chain[:-1]
    return chain


def _base(chain: list[SegmentFile], tiles: TileStore, floor: int) -> tuple[CompactRange, list[SegmentFile]]:
    """The tree before the last segment that starts at or below the floor, and the segments from there on."""
    start = max((at for at, segment in enumerate(chain) if segment.first <= floor), default=None)
    if start is None:
        return CompactRange(), chain
    first = chain[start].first
    with chain[start].path.open("rb") as file:
        base = decode_page(file.read(PAGE_BYTES))
    if base is None or base.size != first:
        base = CompactRange().extend(tiles.read(0, first))
    if base.size != first:
        raise LedgerDamagedError(
            f"the header of the segment at {first} and the leaf hashes before it are both unreadable",
            field=f"sequence {first}",
            next_step=_RESTORE,
        )
    return base, chain[start:]


def _scan_chain(chain: list[SegmentFile], first: int) -> _Scan:
    found = _Scan(straight_to=first)
    for segment, following in zip_longest(chain, chain[1:]):
        end = following.first if following is not None else 2**63
        data = segment.path.read_bytes()
        found.bodies, found.straight_to, found.position = {}, segment.first, PAGE_BYTES
        straight = True
        for item in scan(data):
            if isinstance(item, Damage) or item.sequence >= end:
                straight = False
                continue
            straight = straight and item.sequence == found.straight_to
            if straight:
                found.straight_to, found.position = item.sequence + 1, item.end
            if item.sequence >= segment.first and item.sequence not in found.hashes:
                found.hashes[item.sequence] = leaf_hash(item.payload)
                if not straight:
                    found.bodies[item.sequence] = item.payload
            if item.opens_group:
                found.openers.add(item.sequence)
        found.rest_bytes = len(data.rstrip(b"\0")) - found.position
    return found


def _walk(found: _Scan, tiles: TileStore, first: int, floor: int) -> tuple[list[bytes], list[int]]:
    """Leaf hashes from ``first`` on without a hole, and the numbers whose record is unreadable."""
    hashes: list[bytes] = []
    missing: list[int] = []
    while True:
        number = first + len(hashes)
        value = found.hashes.get(number)
        if value is None and number < floor:
            missing.append(number)
            value = next(iter(tiles.read(number, 1)), None)
        if value is None:
            return hashes, missing
        hashes.append(value)


def _replace_changed(hashes: list[bytes], tiles: TileStore, base: CompactRange, head: Checkpoint) -> list[int]:
    """Put the tiles' hashes where records were changed, and name those.

    Raises:
        LedgerDamagedError: the tiles do not lead to the signed root either.
    """
    known = tiles.read(base.size, head.size - base.size)
    if len(known) != head.size - base.size or base.extend(known).root() != head.root:
        raise LedgerDamagedError(
            f"neither the records nor the leaf hashes lead to the tree of {head.size} that the log signed",
            field="checkpoint",
            next_step=_RESTORE,
        )
    changed = [base.size + at for at, value in enumerate(known) if hashes[at] != value]
    hashes[: len(known)] = known
    return changed


def _describe(missing: list[int], changed: list[int]) -> list[LogFinding]:
    findings = []
    if missing:
        findings.append(LogFinding("records_missing", missing[0], len(missing)))
    if changed:
        findings.append(LogFinding("records_changed", changed[0], len(changed)))
    return findings
