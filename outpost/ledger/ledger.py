"""All audit logs of an outpost: one per org, each with its own folder, key and threads.

A log that cannot be opened does not stop the others. Its error is kept, shown by ``status`` and raised to whoever
appends to it.
"""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from outpost.core.errors import OutpostError, StoreError
from outpost.ledger.errors import LedgerClosedError, LedgerDamagedError, LedgerUnreadableError, LogIdentityError
from outpost.ledger.identity import load_identity
from outpost.ledger.log import AuditLog, LogStatus
from outpost.ledger.writer import LogOptions

AUDIT_NAME = "audit"

_ORG = re.compile(r"[a-z][a-z0-9-]{1,30}")  # docs/design.md section 1; also keeps paths inside the state folder


@dataclass(frozen=True, slots=True)
class OrgStatus:
    """The state of one org's log: its status, or the error that keeps it closed."""

    org: str
    log: LogStatus | None
    error: OutpostError | None


class Ledger:
    """Owner of the logs below ``orgs/<org>/audit``. Safe to use from several threads.

    Args:
        orgs_folder: the folder ``orgs`` of the outpost's state.
        options: bounds and rhythm of every log.
    """

    def __init__(self, orgs_folder: Path, options: LogOptions | None = None) -> None:
        self._folder = orgs_folder
        self._options = options or LogOptions()
        self._logs: dict[str, AuditLog] = {}
        self._refused: dict[str, StoreError] = {}
        self._closed = False
        self._lock = threading.Lock()

    def open_all(self) -> tuple[OrgStatus, ...]:
        """Open the log of every enrolled org; what cannot be opened is in the status."""
        if self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                if (folder / AUDIT_NAME / "origin").exists():
                    self._try_open(folder.name)
        return self.status()

    def _try_open(self, org: str) -> OutpostError | None:
        try:
            self.log(org)
        except OutpostError as error:
            return error
        return None

    def log(self, org: str) -> AuditLog:
        """The log of an org, opened when it is not yet.

        Raises:
            LogIdentityError: the org is not enrolled here, or its key is unusable.
            LedgerDamagedError: the log cannot be continued honestly.
            LedgerUnreadableError: the disk does not give or take its files; the next call looks again.
            LedgerLockedError: another process writes it.
            LedgerClosedError: this ledger is closed.
        """
        log = self._logs.get(org)
        if log is not None:
            return log
        if _ORG.fullmatch(org) is None:
            raise LogIdentityError("the org id is malformed", field="org")
        with self._lock:
            if self._closed:
                raise LedgerClosedError("the ledger is closed")
            refused = self._refused.get(org)
            if refused is not None and refused.fatal:
                raise refused
            if org not in self._logs:
                self._logs[org] = self._open(org)
                self._refused.pop(org, None)
            return self._logs[org]

    def _open(self, org: str) -> AuditLog:
        folder = self._folder / org / AUDIT_NAME
        try:
            return AuditLog(folder, load_identity(folder).signer, self._options)
        except LedgerDamagedError as error:
            self._refused[org] = error  # looking again would cost a scan per request; a restart looks again
            raise
        except OSError as error:
            unreadable = LedgerUnreadableError(
                f"the audit log cannot be opened: {error.strerror}",
                field=str(folder),
                next_step="look at the disk; the log is opened as soon as it can be",
            )
            self._refused[org] = unreadable
            raise unreadable from error

    def append(self, org: str, bodies: Sequence[bytes]) -> "Future[range]":
        """Queue records for an org's log; see ``GroupWriter.append``.

        Raises:
            StoreError: what ``log`` and ``GroupWriter.append`` raise.
        """
        return self.log(org).append(bodies)

    def status(self) -> tuple[OrgStatus, ...]:
        """How every log is doing, by org."""
        with self._lock:
            states = [OrgStatus(org, log.status(), None) for org, log in self._logs.items()]
            states += [OrgStatus(org, None, error) for org, error in self._refused.items()]
        return tuple(sorted(states, key=lambda state: state.org))

    def close(self) -> None:
        """Write what was queued, sign every head, let go of the files."""
        with self._lock:
            self._closed = True
            logs, self._logs = self._logs, {}
        for log in logs.values():
            log.close()
