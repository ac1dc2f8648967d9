"""What a verifier can find wrong with a log; each class is one kind of tampering, each names a record.

AuditVerificationError
├── CheckpointInvalidError   a head is missing, of another log, or not signed by its key
├── RecordChangedError       the bytes of a record are not those that were signed
├── RecordMissingError       a record was taken out
├── RecordReorderedError     a record stands in another's place
├── RecordDuplicatedError    a record stands twice
├── TailCutError             the log ends before its own newest head
├── RolledBackError          the log ends before what the witness cosigned
├── HistoryRewrittenError    records and leaf hashes agree, but not with a signed head
└── TileChangedError         only a stored leaf hash is wrong
"""

from outpost.core.errors import StoreError


class AuditVerificationError(StoreError):
    """A log does not hold what it promises.

    Attributes:
        sequence: the first record concerned.
    """

    code = "audit.invalid"

    def __init__(self, message: str, *, sequence: int) -> None:
        super().__init__(
            message,
            field=f"sequence {sequence}",
            next_step="keep the folder as evidence and compare it with the control plane's copy",
        )
        self.sequence = sequence


class CheckpointInvalidError(AuditVerificationError):
    """A head is missing, of another log, or not signed by its key."""

    code = "audit.checkpoint_invalid"


class RecordChangedError(AuditVerificationError):
    """The bytes of a record are not those that were signed."""

    code = "audit.record_changed"


class RecordMissingError(AuditVerificationError):
    """A record was taken out."""

    code = "audit.record_missing"


class RecordReorderedError(AuditVerificationError):
    """A record stands in another's place."""

    code = "audit.record_reordered"


class RecordDuplicatedError(AuditVerificationError):
    """A record stands twice."""

    code = "audit.record_duplicated"


class TailCutError(AuditVerificationError):
    """The log ends before its own newest head."""

    code = "audit.tail_cut"


class RolledBackError(AuditVerificationError):
    """The log ends before what the witness cosigned; ``sequence`` is the size that is left."""

    code = "audit.rolled_back"


class HistoryRewrittenError(AuditVerificationError):
    """Records and leaf hashes agree with each other, but not with a signed head."""

    code = "audit.history_rewritten"


class TileChangedError(AuditVerificationError):
    """Only a stored leaf hash is wrong."""

    code = "audit.tile_changed"
