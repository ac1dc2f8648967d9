"""What can go wrong with an audit log on disk.

StoreError
├── LedgerBusyError      the queue is full: push back, transient
├── LedgerClosedError    the log is shutting down
├── AppendTooLargeError  one call brings more than a group may hold
├── LedgerWriteError     the disk did not take a group
├── LedgerLockedError    another process writes this log
├── LedgerDamagedError   the log cannot be continued honestly
├── LedgerUnreadableError the disk does not give or take the files of a log
├── LogIdentityError     key or origin of the log is missing or unusable
├── EntryMissingError    a record that the tree covers cannot be read
└── AuditVerificationError and its leaves, in ``verify``
"""

from outpost.core.errors import StoreError


class LedgerBusyError(StoreError):
    """More records wait for the disk than the bound allows."""

    code = "ledger.busy"
    fatal = False


class LedgerClosedError(StoreError):
    """The log no longer takes records."""

    code = "ledger.closed"
    fatal = False


class AppendTooLargeError(StoreError):
    """One call brings more bytes than a group may hold."""

    code = "ledger.append_too_large"


class LedgerWriteError(StoreError):
    """A group of records could not be made durable; none of it was acknowledged."""

    code = "ledger.write_failed"
    fatal = False


class LedgerLockedError(StoreError):
    """Another process has this log open for writing."""

    code = "ledger.locked"


class LedgerDamagedError(StoreError):
    """What is on disk does not lead to the checkpoint that was signed, so nothing may be appended."""

    code = "ledger.damaged"


class LedgerUnreadableError(StoreError):
    """The disk does not give or take the files of a log, so it cannot be opened."""

    code = "ledger.unreadable"
    fatal = False


class LogIdentityError(StoreError):
    """The key or the origin of a log is missing or unusable."""

    code = "ledger.identity"


class EntryMissingError(StoreError):
    """A record that the tree covers cannot be read.

    Attributes:
        sequence: the first such record.
    """

    code = "ledger.entry_missing"

    def __init__(self, message: str, *, sequence: int) -> None:
        super().__init__(
            message, field=f"sequence {sequence}", next_step="run outpost verify-audit on the folder of this log"
        )
        self.sequence = sequence
