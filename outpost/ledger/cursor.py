"""How far a log has been delivered: what the witness has, and what it signed for that.

``cosigned`` keeps the newest checkpoint with the witness's line, exact bytes. ``cursor.json`` keeps a number. The
note is written first: a crash between the two only means that some records are sent again, and the witness knows
those.
"""

from dataclasses import dataclass
from pathlib import Path

import orjson

from outpost.core.audit.note import CosignedCheckpoint, NoteVerifier, open_cosigned
from outpost.core.errors import StoreError
from outpost.ledger.checkpoints import CheckpointStore, peek
from outpost.ledger.files import make_folder, read_file, replace_file

CURSOR_NAME = "cursor.json"
MAX_CURSOR_BYTES = 4096  # bytes; it holds one number


class CursorError(StoreError):
    """The delivery would go backwards, or its file is unreadable."""

    code = "ledger.cursor"


@dataclass(frozen=True, slots=True)
class CursorState:
    """Where the delivery stands.

    Attributes:
        uploaded: records that the control plane has acknowledged.
        cosigned: size of the newest cosigned checkpoint.
    """

    uploaded: int = 0
    cosigned: int = 0


class Cursor:
    """The delivery state of one log, kept by the one process that uploads.

    Args:
        folder: the folder of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checkpoints = CheckpointStore(folder)

    def load(self) -> CursorState:
        """Where the delivery stands; without a readable file, at what the witness cosigned."""
        head = peek(self._checkpoints.read("cosigned"))
        cosigned = head.size if head is not None else 0
        return CursorState(max(self._uploaded(), cosigned), cosigned)

    def _uploaded(self) -> int:
        data = read_file(self._folder / CURSOR_NAME, MAX_CURSOR_BYTES)
        if data is None:
            return 0
        try:
            value = orjson.loads(data)["uploaded"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return 0
        return value if isinstance(value, int) and value >= 0 else 0

    def set_uploaded(self, size: int) -> None:
        """Remember what the control plane has; may go down when it says so itself.

        Raises:
            OSError: the disk did not take it.
        """
        make_folder(self._folder)
        replace_file(self._folder / CURSOR_NAME, orjson.dumps({"schema": "outpost.cursor/1", "uploaded": size}))

    def store_cosigned(
        self, checkpoint: bytes, line: bytes, log: NoteVerifier, witness: NoteVerifier
    ) -> CosignedCheckpoint:
        """Verify the witness's line over a checkpoint and keep both.

        Args:
            checkpoint: the note that was uploaded.
            line: the signature line that came back, untrusted.
            log: the log's public key.
            witness: the witness's public key.

        Raises:
            NoteError: the line is not a cosignature of this witness over this checkpoint.
            CursorError: a larger checkpoint has been cosigned already.
            OSError: the disk did not take it.
        """
        cosigned = open_cosigned(checkpoint + line, log, witness)
        size = cosigned.signed.checkpoint.size
        if size < self.load().cosigned:
            raise CursorError(f"a checkpoint larger than {size} has been cosigned already", field="size")
        self._checkpoints.replace(checkpoint + line, "cosigned")
        self.set_uploaded(size)
        return cosigned

    def cosigned(self) -> bytes | None:
        """The newest cosigned checkpoint, exact bytes, unverified."""
        return self._checkpoints.read("cosigned")
