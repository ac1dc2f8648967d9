"""One audit log, open for writing: recovery, the writer and the checkpointer behind one small door.

Files below its folder: ``segments/`` records, ``tiles/`` leaf hashes, ``checkpoint`` the newest signed head,
``history`` older heads, ``cosigned`` the newest head that the witness cosigned (written by the uploader), ``lock``.
"""

import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from outpost.core.audit.note import NoteSigner
from outpost.core.errors import OutpostError
from outpost.ledger.checkpointer import Checkpointer
from outpost.ledger.checkpoints import CheckpointStore, newest_verified
from outpost.ledger.errors import LedgerLockedError
from outpost.ledger.files import FILE_MODE, make_folder
from outpost.ledger.recovery import LogFinding, Recovered, recover
from outpost.ledger.segments import SegmentStore, set_aside
from outpost.ledger.tiles import TileStore
from outpost.ledger.writer import GroupWriter, LogOptions

SEGMENTS_NAME = "segments"
TILES_NAME = "tiles"


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How a log is doing.

    Attributes:
        origin: which log.
        size: durable records.
        signed_size: records that the newest signed head covers.
        findings: what the start noticed and survived.
        abandoned_segments: segments given up since the start after a failed write or sync.
        error: the newest failure that has not healed, or None.
    """

    origin: str
    size: int
    signed_size: int
    findings: tuple[LogFinding, ...]
    abandoned_segments: int
    error: OutpostError | None


class AuditLog:
    """An append-only log in one folder.

    Args:
        folder: where it lives; made when missing.
        signer: the log's key; its name is the origin.
        options: bounds and rhythm.

    Raises:
        LedgerLockedError: another process writes this log.
        LedgerDamagedError: the log cannot be continued honestly.
        OSError: the disk cannot be read.
    """

    def __init__(self, folder: Path, signer: NoteSigner, options: LogOptions | None = None) -> None:
        options = options or LogOptions()
        self._origin = signer.verifier.name
        self._lock = _lock(folder)
        try:
            segments = SegmentStore(folder / SEGMENTS_NAME, options.segment_bytes, options.sync)
            tiles, checkpoints = TileStore(folder / TILES_NAME), CheckpointStore(folder)
            head, unreadable = newest_verified(checkpoints, signer.verifier)
            found = recover(segments, tiles, head.checkpoint if head is not None else None)
            self._findings = found.findings
            if unreadable:
                self._findings += (LogFinding("checkpoint_unreadable", found.floor, unreadable),)
            for left_over in found.unused:
                set_aside(left_over.path)
            segment = segments.reopen(found.segment, found.position) if found.segment is not None else None
        except BaseException:
            os.close(self._lock)
            raise
        self._writer = GroupWriter(segments, found.tree, found.unsigned, segment, options)
        self._checkpointer = Checkpointer(self._writer, (segments, tiles, checkpoints), signer, found.floor, options)
        self._writer.start()
        self._checkpointer.start()
        self._renumber(found)

    def _renumber(self, found: Recovered) -> None:
        """Append records again whose old numbers stand behind a hole; see rule 4 of ``recovery``."""
        for future in [self._writer.append([body]) for body in found.orphans]:
            future.result()

    def append(self, bodies: Sequence[bytes]) -> "Future[range]":
        """Queue records for the next group; see ``GroupWriter.append``."""
        return self._writer.append(bodies)

    def checkpoint(self) -> None:
        """Sign the head of what is durable now, without waiting for the rhythm.

        Raises:
            OSError: the disk did not take it.
        """
        self._checkpointer.checkpoint()

    def wait_signed(self, size: int, timeout_seconds: float) -> bool:
        """Wait until a signed head covers ``size`` records; False when the time ran out before."""
        return self._checkpointer.wait(size, timeout_seconds)

    @property
    def size(self) -> int:
        """Durable records."""
        return self._writer.size

    @property
    def signed_size(self) -> int:
        """Records that the newest signed head covers."""
        return self._checkpointer.signed_size

    @property
    def findings(self) -> tuple[LogFinding, ...]:
        """What the start noticed and survived; its codes belong into ``outpost.started``."""
        return self._findings

    def status(self) -> LogStatus:
        """How this log is doing."""
        return LogStatus(
            origin=self._origin,
            size=self.size,
            signed_size=self.signed_size,
            findings=self._findings,
            abandoned_segments=self._writer.abandoned,
            error=self._writer.error or self._checkpointer.error,
        )

    def close(self) -> None:
        """Write what was queued, sign the head, let go of the files. A second call does nothing."""
        if self._lock >= 0:
            self._writer.close()
            self._checkpointer.close()
            os.close(self._lock)
            self._lock = -1


def _lock(folder: Path) -> int:
    """Descriptor of the lock file; the kernel releases it with the process."""
    make_folder(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LedgerLockedError(
            "another process writes this audit log", next_step="stop the other outpost that uses this state folder"
        ) from error
    return descriptor
