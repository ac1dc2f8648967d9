"""Check a log with public keys only, and say which record is wrong first.

What is trusted: the log's public key, the witness's, nothing on disk. What each layer catches:

- the frame's CRC: accidents, and edits by hand;
- the sequence number inside the record: removal, insertion, reordering, duplication;
- the leaf hash in the tile: names the record when an editor also fixed the CRC;
- the signed heads in the history: an editor who fixed the tiles as well, located between two heads;
- the cosigned head: a cut tail or an older copy, even when made with the log's own key.

Records behind the newest head are durable but unsigned yet; they are counted, not proved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from outpost.core.audit.canonical import RecordError, read, sequence_of
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, leaf_hash
from outpost.core.audit.note import (
    Checkpoint,
    NoteError,
    NoteVerifier,
    SignedCheckpoint,
    open_checkpoint,
    open_cosigned,
)
from outpost.ledger.checkpoints import CheckpointStore
from outpost.ledger.findings import (
    CheckpointInvalidError,
    HistoryRewrittenError,
    RecordChangedError,
    RecordDuplicatedError,
    RecordMissingError,
    RecordReorderedError,
    RolledBackError,
    TailCutError,
    TileChangedError,
)
from outpost.ledger.frames import Damage, Frame, scan
from outpost.ledger.log import SEGMENTS_NAME, TILES_NAME
from outpost.ledger.reader import iterate_export
from outpost.ledger.segments import list_segments
from outpost.ledger.tiles import TileStore


@dataclass(frozen=True, slots=True)
class Report:
    """What holds for a log that passed.

    Attributes:
        origin: which log.
        records: records that were read.
        signed: records below the newest head: these are proved. 0 with records is a log that was killed in its first
            second, or one whose heads were all taken away: only a cosigned head tells these apart.
        root: root of that head.
        cosigned: records below the newest cosigned head, 0 when there is none.
        cosigned_time: when the witness signed that, Unix seconds, 0 when not known.
        tiles_missing: records whose leaf hash was not on disk beside them.
        torn_bytes: bytes of an unfinished write at the end; a start cuts them.
    """

    origin: str
    records: int
    signed: int
    root: bytes
    cosigned: int = 0
    cosigned_time: int = 0
    tiles_missing: int = 0
    torn_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Heads:
    """Signed heads by size, and what is special about two of them."""

    by_size: dict[int, Checkpoint]
    newest: int
    cosigned: int = 0
    cosigned_time: int = 0


def verify_directory(
    folder: Path, log: NoteVerifier, witness: NoteVerifier | None = None, cosigned_note: bytes | None = None
) -> Report:
    """Verify the folder of a log.

    Args:
        folder: the folder, untrusted; the log may be running.
        log: origin and public key of the log.
        witness: name and public key of the witness; without it the cosigned head counts as the log's word only.
        cosigned_note: a cosigned checkpoint from elsewhere, such as the control plane; best against an old copy.

    Raises:
        AuditVerificationError: something is wrong; the leaf class says what, ``sequence`` where.
        OSError: the disk cannot be read.
    """
    heads = _read_heads(CheckpointStore(folder), log, witness, cosigned_note)
    check = _TreeCheck(heads, TileStore(folder / TILES_NAME))
    torn_bytes = 0
    for item in _read_segments(folder / SEGMENTS_NAME, heads.newest):
        if isinstance(item, Damage):
            torn_bytes = item.end - item.start
        else:
            check.add(item)
    return check.finish(log.name, torn_bytes)


def verify_export(records: Path, checkpoint: bytes, log: NoteVerifier, witness: NoteVerifier | None = None) -> Report:
    """Verify an export: JSON lines and the checkpoint that came with them.

    Args:
        records: one record per line, untrusted.
        checkpoint: signed note that covers them, untrusted; cosigned when a witness is given.
        log: origin and public key of the log.
        witness: name and public key of the witness, when its line must be there.

    Raises:
        AuditVerificationError: something is wrong; the leaf class says what, ``sequence`` where.
        OSError: the file cannot be read.
    """
    signed, time = _open(checkpoint, log, witness, "the checkpoint of the export")
    head = signed.checkpoint
    size = head.size if witness is not None else 0
    check = _TreeCheck(_Heads({head.size: head}, head.size, size, time), None)
    try:
        for record in iterate_export(records):
            _check_order(sequence_of(record), check.size, _export_sequences(records))
            if check.size == head.size:
                raise CheckpointInvalidError(f"the checkpoint ends before record {check.size}", sequence=check.size)
            check.add(record)
    except RecordError as error:
        raise RecordChangedError(f"line {check.size + 1}: {error.message}", sequence=check.size) from error
    return check.finish(log.name, 0)


def _export_sequences(path: Path) -> Iterator[int]:
    return (sequence_of(record) for record in iterate_export(path))


def _read_heads(
    store: CheckpointStore, log: NoteVerifier, witness: NoteVerifier | None, cosigned_note: bytes | None
) -> _Heads:
    """Open every signed head on disk; two different roots for one size are proof of a fork.

    Raises:
        CheckpointInvalidError: a note that the log's key did not sign, or none where there must be one.
        HistoryRewrittenError: two heads of one size contradict each other.
    """
    signed = [
        _open(note, log, None, f"head {at} of the history")[0].checkpoint for at, note in enumerate(store.history())
    ]
    note = store.read()
    if note is not None:
        signed.append(_open(note, log, None, "the checkpoint")[0].checkpoint)
    elif signed:
        raise CheckpointInvalidError("the newest checkpoint is missing", sequence=signed[-1].size)
    newest = signed[-1].size if signed else 0
    cosigned, cosigned_time = 0, 0
    for extra in (store.read("cosigned"), cosigned_note):
        if extra is not None:
            opened, time = _open(extra, log, witness, "the cosigned checkpoint")
            signed.append(opened.checkpoint)
            if opened.checkpoint.size >= cosigned:
                cosigned, cosigned_time = opened.checkpoint.size, time
    by_size: dict[int, Checkpoint] = {}
    for head in signed:
        if by_size.setdefault(head.size, head).root != head.root:
            raise HistoryRewrittenError(f"the log signed two trees of {head.size}", sequence=head.size)
    return _Heads(by_size, newest, cosigned, cosigned_time)


def _open(note: bytes, log: NoteVerifier, witness: NoteVerifier | None, what: str) -> tuple[SignedCheckpoint, int]:
    try:
        if witness is None:
            return open_checkpoint(note, log), 0
        cosigned = open_cosigned(note, log, witness)
    except NoteError as error:
        raise CheckpointInvalidError(f"{what} cannot be trusted: {error.message}", sequence=0) from error
    return cosigned.signed, cosigned.time_seconds


def _read_segments(folder: Path, newest: int) -> Iterator[bytes | Damage]:
    """Records in order, as the segments hold them; at most one ``Damage``, the torn end behind every head.

    Raises:
        AuditVerificationError: a record is damaged, missing, out of order or there twice.
    """
    segments = list_segments(folder)
    expected = 0
    for at, segment in enumerate(segments):
        end = segments[at + 1].first if at + 1 < len(segments) else None
        data = segment.path.read_bytes()
        for item in scan(data):
            if expected == end:
                break  # the rest was never acknowledged and is written again in the next segment
            if isinstance(item, Damage):
                if end is None and expected >= newest and not _synced_behind(data, expected):
                    yield item
                    return
                raise RecordChangedError(
                    f"the bytes of record {expected} are damaged: its frame does not match its checksum",
                    sequence=expected,
                )
            _check_order(item.sequence, expected, _sequences(data))
            yield item.payload
            expected += 1
        if end is not None and expected < end:
            raise RecordMissingError(f"record {expected} is missing: its segment ends before it", sequence=expected)


def _synced_behind(data: bytes, expected: int) -> bool:
    """Whether a later group was written, so that a hole at ``expected`` had been durable once."""
    frames = (item for item in scan(data) if isinstance(item, Frame))
    return any(frame.opens_group and frame.sequence > expected for frame in frames)


def _sequences(data: bytes) -> Iterator[int]:
    return (item.sequence for item in scan(data) if isinstance(item, Frame))


def _check_order(found: int, expected: int, everything: Iterator[int]) -> None:
    if found == expected:
        return
    if found < expected:
        raise RecordDuplicatedError(f"record {found} stands a second time, where {expected} belongs", sequence=found)
    if expected in everything:
        raise RecordReorderedError(f"record {found} stands where {expected} belongs", sequence=expected)
    raise RecordMissingError(f"record {expected} is missing: {found} follows in its place", sequence=expected)


class _TreeCheck:
    """Grows the tree record by record and holds it against every signed head on the way."""

    def __init__(self, heads: _Heads, tiles: TileStore | None) -> None:
        self._heads = heads
        self._tiles = tiles
        self._tree = CompactRange()
        self._fresh: list[bytes] = []  # leaf hashes since the last tree
        self._tile: Sequence[bytes] = ()
        self._suspect: int | None = None  # first record since the last head whose tile says something else
        self._proved = 0  # size of the last head that matched
        self._tiles_missing = 0

    @property
    def size(self) -> int:
        return self._tree.size + len(self._fresh)

    def add(self, record: bytes) -> None:
        sequence = self.size
        try:
            read(record)
        except RecordError as error:
            raise RecordChangedError(f"record {sequence}: {error.message}", sequence=sequence) from error
        value = leaf_hash(record)
        self._compare(sequence, value)
        self._fresh.append(value)
        head = self._heads.by_size.get(self.size)
        if head is not None:
            self._match(head)

    def _compare(self, sequence: int, value: bytes) -> None:
        if self._tiles is None or sequence >= self._heads.newest:
            return
        column = sequence % TILE_WIDTH
        if column == 0:
            self._tile = self._tiles.read(sequence, TILE_WIDTH)
        if column >= len(self._tile):
            self._tiles_missing += 1
        elif self._tile[column] != value and self._suspect is None:
            self._suspect = sequence

    def _match(self, head: Checkpoint) -> None:
        self._tree = self._tree.extend(self._fresh)
        self._fresh = []
        matches = self._tree.root() == head.root
        if matches and self._suspect is not None:
            raise TileChangedError(
                f"the stored leaf hash of record {self._suspect} is wrong; the record itself is proved",
                sequence=self._suspect,
            )
        if not matches and self._suspect is not None:
            raise RecordChangedError(
                f"record {self._suspect} was changed after it was signed: its leaf hash is another",
                sequence=self._suspect,
            )
        if not matches:
            raise HistoryRewrittenError(
                f"a record from {self._proved} up to {head.size - 1} was changed after it was signed",
                sequence=self._proved,
            )
        self._proved = head.size

    def finish(self, origin: str, torn_bytes: int) -> Report:
        heads, size = self._heads, self.size
        # The newest local head is about this copy; only a witness knows what other copies there were.
        if size < heads.newest:
            raise TailCutError(f"the log ends at record {size}, but it signed a tree of {heads.newest}", sequence=size)
        if size < heads.cosigned:
            raise RolledBackError(
                f"the log ends at record {size}, but the witness cosigned a tree of {heads.cosigned}",
                sequence=size,
            )
        largest = max(heads.by_size, default=0)
        if size < largest:
            raise TailCutError(f"the log ends at record {size}, but it signed a tree of {largest}", sequence=size)
        root = heads.by_size[largest].root if largest else self._tree.root()
        return Report(origin, size, largest, root, heads.cosigned, heads.cosigned_time, self._tiles_missing, torn_bytes)
