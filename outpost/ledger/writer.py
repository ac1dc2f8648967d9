"""Group commit: whatever waits goes to the disk together, and is acknowledged when the disk has it.

One thread writes one log. While it waits in fdatasync the next group gathers behind it, so groups grow with load by
themselves and a lone record never waits for a timer. An acknowledgement means: written, synced, in the tree.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from outpost.core.audit.canonical import MAX_SEQUENCE_BYTES, check_body, with_sequence
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.core.errors import InternalError, OutpostError
from outpost.ledger.errors import AppendTooLargeError, LedgerBusyError, LedgerClosedError, LedgerWriteError
from outpost.ledger.frames import FRAME_HEADER_BYTES, encode_frame
from outpost.ledger.segments import SEGMENT_BYTES, OpenSegment, SegmentStore

GROUP_BYTES = 1024 * 1024  # bytes of one group; at 100 MB/s a sync of this takes 10 ms
MAX_PENDING_BYTES = 16 * 1024 * 1024  # bytes that may wait; a second of a slow disk
CHECKPOINT_RECORDS = 1000  # records without a signed head; section 9 of the design
CHECKPOINT_SECONDS = 1.0  # age of a record without a signed head; same source
HISTORY_SECONDS = 60.0  # how often a changing log adds to its history without filling a tile

_OVERHEAD_BYTES = FRAME_HEADER_BYTES + MAX_SEQUENCE_BYTES  # what a stored record takes beyond its body


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How one log behaves. The defaults are for production; tests make things small.

    Attributes:
        segment_bytes: size of a segment file.
        group_bytes: most bytes in one commit.
        pending_bytes: most bytes waiting for a commit.
        checkpoint_records: a head is signed at the latest after so many records.
        checkpoint_seconds: and at the latest after so long.
        sync: makes the data of a descriptor durable.
    """

    segment_bytes: int = SEGMENT_BYTES
    group_bytes: int = GROUP_BYTES
    pending_bytes: int = MAX_PENDING_BYTES
    checkpoint_records: int = CHECKPOINT_RECORDS
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    history_seconds: float = HISTORY_SECONDS
    sync: Callable[[int], None] = os.fdatasync


@dataclass(frozen=True, slots=True)
class _Job:
    bodies: tuple[bytes, ...]
    size_bytes: int
    future: "Future[range]"


class GroupWriter:
    """The thread that appends to one log.

    Args:
        segments: where segments come from.
        tree: the tree so far.
        unsigned: leaf hashes that no checkpoint covers yet.
        segment: the segment to go on writing, or None.
        options: bounds.
    """

    def __init__(
        self,
        segments: SegmentStore,
        tree: CompactRange,
        unsigned: Sequence[bytes],
        segment: OpenSegment | None,
        options: LogOptions,
    ) -> None:
        self._segments = segments
        self._tree = tree
        self._unsigned = list(unsigned)
        self._segment = segment
        self._options = options
        self._group_bytes = min(options.group_bytes, segments.capacity_bytes)
        self._queue: deque[_Job] = deque()
        self._pending_bytes = 0
        self._closing = False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self.wake_checkpointer = threading.Event()
        self.abandoned = 0  # segments given up after a failed write or sync
        self.error: OutpostError | None = None  # of the newest group, None when it went well

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def append(self, bodies: Sequence[bytes]) -> "Future[range]":
        """Queue records; the future gives their sequence numbers once they are durable.

        All of them stand in one group, next to each other. The future cannot be cancelled: what was queued is
        written.

        Args:
            bodies: record bodies, as ``core.audit.record`` builds them. None at all asks whether the disk takes
                records now: the answer comes with the sync of the group that it stands in.

        Raises:
            RecordError: a body has the wrong form; nothing was queued.
            AppendTooLargeError: more bytes than one group may hold.
            LedgerBusyError: too much waits already; try again later.
            LedgerClosedError: the log is closing.
        """
        for body in bodies:
            check_body(body)
        size = sum(map(len, bodies)) + len(bodies) * _OVERHEAD_BYTES
        if size > self._group_bytes:
            raise AppendTooLargeError(f"one append takes {self._group_bytes} bytes at most, this one has {size}")
        job = _Job(tuple(bodies), size, Future())
        job.future.set_running_or_notify_cancel()
        with self._condition:
            if self._closing:
                raise LedgerClosedError("the audit log is closing and takes no more records")
            if self._pending_bytes + size > self._options.pending_bytes:
                raise LedgerBusyError(
                    f"{self._pending_bytes} bytes wait for the disk already",
                    next_step="the disk is slower than the traffic: look at its latency",
                )
            self._queue.append(job)
            self._pending_bytes += size
            self._condition.notify()
        return job.future

    def snapshot(self) -> tuple[CompactRange, list[bytes]]:
        """The durable tree, and the leaf hashes at its end that no checkpoint covers."""
        with self._condition:
            return self._tree, list(self._unsigned)

    def mark_signed(self, count: int) -> None:
        """The first ``count`` hashes of the last snapshot are covered now."""
        with self._condition:
            del self._unsigned[:count]

    @property
    def size(self) -> int:
        """Records that are durable."""
        return self._tree.size

    def close(self) -> None:
        """Write what was queued, then stop."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _run(self) -> None:
        while jobs := self._next_group():
            self._commit(jobs)
            if len(self._unsigned) >= self._options.checkpoint_records:
                self.wake_checkpointer.set()

    def _next_group(self) -> list[_Job]:
        """Everything that waits, up to one group; empty when the log closes."""
        jobs: list[_Job] = []
        with self._condition:
            while not self._queue and not self._closing:
                self._condition.wait()
            size = 0
            while self._queue and size + self._queue[0].size_bytes <= self._group_bytes:
                jobs.append(self._queue.popleft())
                size += jobs[-1].size_bytes
            self._pending_bytes -= size
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            spans = self._store(jobs)
        except OSError as error:
            self.error = LedgerWriteError(
                f"the disk did not take a group of records: {error.strerror}",
                next_step="free space or replace the disk; the log goes on by itself",
            )
            self.error.__cause__ = error
        except Exception as error:  # a bug must fail its callers, not leave them waiting for ever
            self.error = InternalError(f"the audit writer failed: {type(error).__name__}")
            self.error.__cause__ = error
        else:
            self.error = None
            for job, span in zip(jobs, spans, strict=True):
                job.future.set_result(span)
            return
        for job in jobs:
            job.future.set_exception(self.error)

    def _store(self, jobs: list[_Job]) -> list[range]:
        """Make one group durable and grow the tree.

        Raises:
            OSError: the disk did not take it, neither in this segment nor in a new one.
        """
        sequence = self._tree.size
        frames: list[bytes] = []
        hashes: list[bytes] = []
        spans: list[range] = []
        for job in jobs:
            first = sequence
            for body in job.bodies:
                record = with_sequence(body, sequence)
                frames.append(encode_frame(record, opens_group=not frames))
                hashes.append(leaf_hash(record))
                sequence += 1
            spans.append(range(first, sequence))
        self._write(b"".join(frames))
        tree = self._tree.extend(hashes)
        with self._condition:
            self._tree = tree
            self._unsigned += hashes
        return spans

    def _write(self, data: bytes) -> None:
        """Write to the current segment, and once more to a new one: a failed sync is final for its file."""
        try:
            self._room_for(data).append(data)
        except OSError:
            if self._segment is None:
                raise
            self._segment.close()
            self._segment = None
            self.abandoned += 1
            self._room_for(data).append(data)

    def _room_for(self, data: bytes) -> OpenSegment:
        """The current segment, or a new one when this group does not fit."""
        if self._segment is not None and self._segment.has_room(len(data)):
            return self._segment
        fresh = self._segments.start(self._tree)
        if self._segment is not None:
            self._segment.close()
        self._segment = fresh
        self.wake_checkpointer.set()  # it fills the next spare
        return fresh
