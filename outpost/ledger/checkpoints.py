"""Checkpoints on disk: the newest, what the witness cosigned, and a thinned history that only grows.

``checkpoint`` and ``cosigned`` are signed notes, replaced as a whole. ``history`` is a list of notes, each followed
by an empty line; it lets a verifier say between which two heads something was rewritten. Not every head goes there:
one per full tile, and one per minute of change, so that the history stays below one byte per record.
"""

import os
from pathlib import Path

from outpost.core.audit.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    NoteVerifier,
    SignedCheckpoint,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
)
from outpost.ledger.files import FILE_MODE, make_folder, read_file, replace_file, sync_folder, write_all

_SEPARATOR = b"\n\n"


class CheckpointStore:
    """The checkpoint files of one log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.history_path = folder / "history"

    def read(self, name: str = "checkpoint") -> bytes | None:
        """The note as stored, untrusted: ``checkpoint`` or ``cosigned``."""
        return read_file(self.folder / name, MAX_NOTE_BYTES)

    def replace(self, note: bytes, name: str = "checkpoint") -> None:
        """Store a note, all or nothing.

        Raises:
            OSError: the disk did not take it; the old one stands.
        """
        make_folder(self.folder)
        replace_file(self.folder / name, note)

    def history(self) -> list[bytes]:
        """Notes of the history, oldest first, untrusted; a torn last one is left out."""
        try:
            data = self.history_path.read_bytes()
        except FileNotFoundError:
            return []
        parts = data.split(_SEPARATOR)[:-1]  # what follows the last separator is empty or torn
        pairs = zip(parts[0::2], parts[1::2], strict=False)
        return [text + _SEPARATOR + signatures + b"\n" for text, signatures in pairs]

    def append_history(self, note: bytes) -> None:
        """Add a note to the history and wait for the disk.

        Raises:
            OSError: the disk did not take it.
        """
        new = not self.history_path.exists()
        descriptor = os.open(self.history_path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            end = self._whole_end(descriptor)
            os.ftruncate(descriptor, end)
            write_all(descriptor, note + b"\n", end)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.folder)

    def _whole_end(self, descriptor: int) -> int:
        """Offset behind the last whole note: a crash may have left the beginning of another."""
        length = os.fstat(descriptor).st_size
        start = max(0, length - 2 * MAX_NOTE_BYTES)
        tail = os.pread(descriptor, length - start, start)
        at = tail.rfind(b"\n\n")
        while at >= 0:
            # A separator ends a note when the line before it is a signature, and the text of one otherwise.
            if tail[tail.rfind(b"\n", 0, at) + 1 : at].startswith("— ".encode()):
                return start + at + 2
            at = tail.rfind(b"\n\n", 0, at)
        return 0


def peek(note: bytes | None) -> Checkpoint | None:
    """What a stored note says, unverified, or None when it is missing or unreadable."""
    if note is None:
        return None
    try:
        return parse_checkpoint(parse_note(note).text)
    except NoteError:
        return None


def newest_verified(store: CheckpointStore, log: NoteVerifier) -> tuple[SignedCheckpoint | None, int]:
    """The largest tree head that this log's own key signed, and how many notes on disk are not that."""
    notes = [store.read(), store.read("cosigned"), *store.history()[-1:]]
    newest: SignedCheckpoint | None = None
    unreadable = 0
    for note in notes:
        if note is None:
            continue
        try:
            signed = open_checkpoint(note, log)
        except NoteError:
            unreadable += 1
            continue
        if newest is None or signed.checkpoint.size > newest.checkpoint.size:
            newest = signed
    return newest, unreadable
