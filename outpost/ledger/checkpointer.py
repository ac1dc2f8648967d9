"""The thread that signs tree heads and fills the next segment, beside the writer and never in its way.

Order on disk: leaf hashes, the checkpoint, then the history. So a checkpoint never covers a record whose bytes and hash
are not durable, and what a crash leaves behind it is rewritten from the records.
"""

import threading
import time

from outpost.core.audit.merkle import TILE_WIDTH
from outpost.core.audit.note import Checkpoint, NoteSigner, sign_checkpoint
from outpost.ledger.checkpoints import CheckpointStore
from outpost.ledger.errors import LedgerWriteError
from outpost.ledger.segments import SegmentStore
from outpost.ledger.tiles import TileStore
from outpost.ledger.writer import GroupWriter, LogOptions


class Checkpointer:
    """Signs the heads of one log.

    Args:
        writer: whose tree is signed.
        stores: segments (for the spare), tiles and checkpoint files of the log.
        signer: the log's key; its name is the origin.
        floor: size of the newest head already signed.
        options: how often.
    """

    def __init__(
        self,
        writer: GroupWriter,
        stores: tuple[SegmentStore, TileStore, CheckpointStore],
        signer: NoteSigner,
        floor: int,
        options: LogOptions,
    ) -> None:
        self._writer = writer
        self._segments, self._tiles, self._checkpoints = stores
        self._signer = signer
        self._options = options
        self._signed_size = floor
        self._history_size = floor
        self._history_at = time.monotonic()
        self._closing = False
        self._lock = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ledger-checkpointer", daemon=True)
        self.error: LedgerWriteError | None = None  # of the newest attempt, None when it went well

    @property
    def signed_size(self) -> int:
        """Records that the newest head covers."""
        return self._signed_size

    def start(self) -> None:
        """Begin to sign."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, then sign what is left. The writer must be closed before."""
        self._closing = True
        self._writer.wake_checkpointer.set()
        self._thread.join()
        self.attempt(closing=True)

    def wait(self, size: int, timeout_seconds: float) -> bool:
        """Wait until a head covers ``size`` records; False when the time ran out before."""
        with self._lock:
            return self._lock.wait_for(lambda: self._signed_size >= size, timeout_seconds)

    def checkpoint(self, *, closing: bool = False) -> None:
        """Sign the durable tree now, unless its head is signed already.

        Raises:
            OSError: the disk did not take it; the older head stands.
        """
        with self._lock:
            tree, hashes = self._writer.snapshot()
            if tree.size > self._signed_size:
                self._tiles.write(self._signed_size, hashes)
                head = Checkpoint(self._signer.verifier.name, tree.size, tree.root())
                note = sign_checkpoint(head, self._signer)
                self._checkpoints.replace(note)
                self._signed_size = tree.size
                self._writer.mark_signed(len(hashes))
                self._lock.notify_all()
                if closing or self._history_due(tree.size):
                    self._add_history(note, tree.size)
            elif closing and tree.size > self._history_size:
                note = self._checkpoints.read() or b""
                self._add_history(note, tree.size)

    def _history_due(self, size: int) -> bool:
        full_tile = size // TILE_WIDTH > self._history_size // TILE_WIDTH
        return full_tile or time.monotonic() - self._history_at >= self._options.history_seconds

    def _add_history(self, note: bytes, size: int) -> None:
        self._checkpoints.append_history(note)
        self._history_size = size
        self._history_at = time.monotonic()

    def attempt(self, *, closing: bool = False) -> None:
        """Sign the head; a failure is kept in ``error`` and tried again at the next turn."""
        try:
            self.checkpoint(closing=closing)
        except OSError as error:
            self._keep("the head of the log could not be stored", error)
        else:
            self.error = None

    def _prepare_spare(self) -> None:
        """Fill the next segment ahead of need; without it the writer does it, and fails its callers if it must."""
        try:
            self._segments.prepare_spare()
        except OSError as error:
            self._keep("the next segment could not be prepared", error)

    def _keep(self, what: str, error: OSError) -> None:
        self.error = LedgerWriteError(
            f"{what}: {error.strerror}",
            next_step="free space or replace the disk; the log tries again by itself",
        )
        self.error.__cause__ = error

    def _run(self) -> None:
        self._prepare_spare()
        while not self._closing:
            self._writer.wake_checkpointer.wait(self._options.checkpoint_seconds)
            self._writer.wake_checkpointer.clear()
            self.attempt()
            self._prepare_spare()
