"""Read a log from its folder, while another process may be writing it. Nothing here needs a key.

Only records below the newest checkpoint are handed out: those are durable and will not change. The bytes are as they
are on disk; who needs to trust them verifies them.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from outpost.core.audit.canonical import MAX_RECORD_BYTES, RecordError, sequence_of
from outpost.core.audit.merkle import CompactRange
from outpost.core.audit.note import Checkpoint
from outpost.ledger.checkpoints import CheckpointStore, peek
from outpost.ledger.errors import EntryMissingError
from outpost.ledger.frames import FRAME_HEADER_BYTES, PAGE_BYTES, Frame, read_frame, scan
from outpost.ledger.log import SEGMENTS_NAME, TILES_NAME
from outpost.ledger.segments import SegmentFile, list_segments
from outpost.ledger.tiles import TileStore

CHUNK_BYTES = 256 * 1024  # bytes read at a time; more than the largest frame
MAX_EXPORT_LINE_BYTES = MAX_RECORD_BYTES + 1  # a record and its newline


class LogReader:
    """A log as others see it: its checkpoint and the records below it.

    Args:
        folder: the folder of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._segments = folder / SEGMENTS_NAME
        self._checkpoints = CheckpointStore(folder)
        self._tiles = TileStore(folder / TILES_NAME)
        self._index: _SegmentIndex | None = None

    def checkpoint(self) -> bytes | None:
        """The newest signed head, exact bytes, unverified; None before the first."""
        return self._checkpoints.read()

    def head(self) -> Checkpoint | None:
        """What that head says, unverified."""
        return peek(self.checkpoint())

    def tree_size(self) -> int:
        """Records below the newest head."""
        head = self.head()
        return head.size if head is not None else 0

    def entries(self, first: int, count: int) -> tuple[bytes, ...]:
        """Records ``first`` to ``first + count``, exact bytes, fewer where the newest head ends.

        Raises:
            EntryMissingError: one of them cannot be read.
            OSError: the disk cannot be read.
        """
        return tuple(self.stream(first, count))

    def stream(self, first: int, count: int) -> Iterator[bytes]:
        """The same, one after the other, so that what stands before a hole is still seen.

        Raises:
            EntryMissingError: the next one cannot be read.
            OSError: the disk cannot be read.
        """
        size = self.tree_size()
        segments = list_segments(self._segments)  # after the head was read: they hold everything below it
        for sequence in range(first, min(first + count, size)):
            if self._index is None or not self._index.covers(sequence, segments):
                self._index = _open_index(segments, sequence)
            try:
                yield self._index.read(sequence)
            except EntryMissingError:
                self._index = None  # look again from scratch next time: a restart may have repaired the file
                raise

    def leaf_hashes(self, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes below the newest head, from the tiles.

        Raises:
            EntryMissingError: a tile is missing or short.
        """
        wanted = max(0, min(count, self.tree_size() - first))
        hashes = self._tiles.read(first, wanted)
        if len(hashes) < wanted:
            missing = first + len(hashes)
            raise EntryMissingError(f"the leaf hash of record {missing} is missing", sequence=missing)
        return tuple(hashes)

    def root(self, size: int) -> bytes:
        """Root of the tree of the first ``size`` records, about 1 µs per record.

        Raises:
            EntryMissingError: the log does not reach that far, or a tile is missing.
        """
        if size > self.tree_size():
            raise EntryMissingError(f"the log ends before record {size}", sequence=self.tree_size())
        return CompactRange().extend(self.leaf_hashes(0, size)).root()


def _open_index(segments: list[SegmentFile], sequence: int) -> "_SegmentIndex":
    at = bisect_right([segment.first for segment in segments], sequence) - 1
    if at < 0:
        raise EntryMissingError(f"no segment holds record {sequence}", sequence=sequence)
    end = segments[at + 1].first if at + 1 < len(segments) else None
    return _SegmentIndex(segments[at], end)


class _SegmentIndex:
    """Offsets of the records of one segment, found as far as asked. Reads again where the writer was not yet."""

    def __init__(self, segment: SegmentFile, end: int | None) -> None:
        self._segment = segment
        self._end = end  # first of the next segment, None when this one was the last
        self._frames: dict[int, tuple[int, int]] = {}
        self._next = segment.first
        self._position = PAGE_BYTES
        self._resynced = False

    def covers(self, sequence: int, segments: list[SegmentFile]) -> bool:
        if not segments or (self._end is None and segments[-1].first != self._segment.first):
            return False  # another segment has been started since
        return self._segment.first <= sequence and (self._end is None or sequence < self._end)

    def read(self, sequence: int) -> bytes:
        with self._segment.path.open("rb", buffering=0) as file:
            if sequence not in self._frames:
                self._extend(file.fileno(), sequence)
            if sequence not in self._frames and not self._resynced:
                self._resync(file.fileno())
            span = self._frames.get(sequence)
            frame = None
            if span is not None:
                frame = read_frame(os.pread(file.fileno(), span[1] - span[0], span[0]), 0)
        if frame is None or frame.sequence != sequence:
            raise EntryMissingError(f"record {sequence} cannot be read", sequence=sequence)
        return frame.payload

    def _extend(self, descriptor: int, sequence: int) -> None:
        """Follow the frames until a sequence number, while they are intact and in order."""
        base, data = self._position, b""
        while self._next <= sequence:
            at = self._position - base
            frame = read_frame(data, at)
            if frame is None:
                base, data = self._position, os.pread(descriptor, CHUNK_BYTES, self._position)
                frame = read_frame(data, 0)
                if frame is None:
                    return
                at = 0
            if frame.sequence != self._next:
                return
            size = FRAME_HEADER_BYTES + len(frame.payload)
            self._frames[self._next] = (base + at, base + at + size)
            self._position, self._next = base + at + size, self._next + 1

    def _resync(self, descriptor: int) -> None:
        """Look at the whole segment: there is damage, and what lies behind it may still be good."""
        self._resynced = True
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        for item in scan(data):
            if isinstance(item, Frame):
                self._frames.setdefault(item.sequence, (item.start, item.end))


def iterate_folder(folder: Path) -> Iterator[bytes]:
    """Every record below the newest head, in order.

    Raises:
        EntryMissingError: one of them cannot be read.
    """
    reader = LogReader(folder)
    yield from reader.stream(0, reader.tree_size())


def iterate_export(path: Path) -> Iterator[bytes]:
    """Records of an export, one JSON object per line, exact bytes.

    Raises:
        RecordError: a line that is too long or has no sequence number.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_EXPORT_LINE_BYTES + 1):
            record = line.removesuffix(b"\n")
            if len(record) > MAX_RECORD_BYTES:
                raise RecordError(f"a line of the export is longer than {MAX_RECORD_BYTES} bytes")
            sequence_of(record)
            yield record


def iterate(path: Path) -> Iterator[bytes]:
    """Every record of a log's folder or of an export file."""
    return iterate_folder(path) if path.is_dir() else iterate_export(path)


def export(folder: Path, target: Path) -> int:
    """Write every record below the newest head as one line each; the head goes beside it as ``<target>.checkpoint``.

    Returns:
        How many records were written.

    Raises:
        EntryMissingError: a record cannot be read.
    """
    reader = LogReader(folder)
    note = reader.checkpoint() or b""
    head = peek(note)
    size = head.size if head is not None else 0
    with target.open("wb") as file:
        file.writelines(record + b"\n" for record in reader.stream(0, size))
    target.with_name(target.name + ".checkpoint").write_bytes(note)
    return size
