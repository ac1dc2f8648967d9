"""Segment files: made of zeros ahead of need, written in place, never grown.

A commit into zeros that are already on disk changes no metadata, so fdatasync has only data to wait for. The next
segment is filled by the checkpointer while the current one still has room; a writer waits for that only when it
overtakes it. A segment is named after its first sequence number. Records at or beyond the first of the next segment
do not count: after a failed sync the unacknowledged ones are written again, into a new file.
"""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outpost.core.audit.merkle import CompactRange
from outpost.ledger.files import FILE_MODE, make_folder, sync_folder, write_all
from outpost.ledger.frames import MAX_FRAME_BYTES, PAGE_BYTES, encode_page

SEGMENT_BYTES = 8 * 1024 * 1024  # bytes of one file; about 12,000 records, 25 ms to scan at a start
MIN_SEGMENT_BYTES = PAGE_BYTES + MAX_FRAME_BYTES  # one record of the largest size must fit
ZERO_CHUNK_BYTES = 256 * 1024  # zeros per fdatasync, so that a running commit never waits behind a whole segment

_NAME = re.compile(r"([0-9]{20})\.segment")


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One segment on disk, closed."""

    path: Path
    first: int


def list_segments(folder: Path) -> list[SegmentFile]:
    """Segments of a log, in order of their first sequence number."""
    if not folder.is_dir():
        return []
    found = [(entry, _NAME.fullmatch(entry.name)) for entry in folder.iterdir()]
    return sorted(
        (SegmentFile(path, int(match[1])) for path, match in found if match is not None),
        key=lambda segment: segment.first,
    )


def set_aside(path: Path) -> None:
    """Rename a segment in which nothing counts; it is kept, and no longer listed."""
    path.replace(path.with_suffix(".suspect"))


class OpenSegment:
    """A segment that takes groups. Used by one thread."""

    def __init__(self, file: SegmentFile, descriptor: int, position: int, sync: Callable[[int], None]) -> None:
        self.file = file
        self._descriptor = descriptor
        self._position = position
        self._sync = sync
        self._capacity = os.fstat(descriptor).st_size

    def has_room(self, size_bytes: int) -> bool:
        """Whether that many bytes still fit."""
        return self._position + size_bytes <= self._capacity

    def append(self, data: bytes) -> None:
        """Write one group and wait until the disk has it.

        Raises:
            OSError: final for this file: the kernel may drop the pages and call the next sync a success.
        """
        write_all(self._descriptor, data, self._position)
        self._sync(self._descriptor)
        self._position += len(data)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class SegmentStore:
    """The folder of segments of one log."""

    def __init__(self, folder: Path, segment_bytes: int, sync: Callable[[int], None]) -> None:
        self.folder = folder
        self.segment_bytes = max(segment_bytes, MIN_SEGMENT_BYTES)
        self._sync = sync
        self._spare = folder / "spare"
        self._spare_ready = False
        self._lock = threading.Lock()

    @property
    def capacity_bytes(self) -> int:
        """Bytes of frames that one segment holds."""
        return self.segment_bytes - PAGE_BYTES

    def prepare_spare(self) -> None:
        """Fill the next segment with zeros, unless it is ready.

        Raises:
            OSError: the disk did not take it.
        """
        with self._lock:
            if not self._spare_ready:
                self._fill_spare()
                self._spare_ready = True

    def _fill_spare(self) -> None:
        make_folder(self.folder)
        descriptor = os.open(self._spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        try:
            for offset in range(0, self.segment_bytes, ZERO_CHUNK_BYTES):
                width = min(ZERO_CHUNK_BYTES, self.segment_bytes - offset)
                write_all(descriptor, bytes(width), offset)
                os.fdatasync(descriptor)
            os.fsync(descriptor)
        except OSError:
            self._spare.unlink()  # gives the space back, and leaves nothing that looks like a segment
            raise
        finally:
            os.close(descriptor)

    def start(self, base: CompactRange) -> OpenSegment:
        """Take the spare into use as the segment after the tree ``base``; durable with its name and header.

        Raises:
            OSError: the disk did not take it.
        """
        self.prepare_spare()
        path = self.folder / f"{base.size:020d}.segment"
        with self._lock:
            self._spare_ready = False
            descriptor = os.open(self._spare, os.O_WRONLY)
            try:
                write_all(descriptor, encode_page(base), 0)
                self._sync(descriptor)
                if path.exists():  # an abandoned file in which nothing counts
                    set_aside(path)
                self._spare.replace(path)
                sync_folder(self.folder)
            except OSError:
                os.close(descriptor)
                raise
        return OpenSegment(SegmentFile(path, base.size), descriptor, PAGE_BYTES, self._sync)

    def reopen(self, file: SegmentFile, position: int) -> OpenSegment:
        """Go on writing a segment at an offset. Bytes behind it, the torn end of a crash, become zeros first.

        Raises:
            OSError: the disk did not take them.
        """
        descriptor = os.open(file.path, os.O_RDWR)
        try:
            length = os.fstat(descriptor).st_size
            if os.pread(descriptor, length - position, position).strip(b"\0"):
                write_all(descriptor, bytes(length - position), position)
                self._sync(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return OpenSegment(file, descriptor, position, self._sync)
