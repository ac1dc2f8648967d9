"""The error tree of the outpost.

OutpostError
├── RequestError      the caller sent something that cannot be served
├── DeniedError       the caller may not, or policy says no
├── PeerError         a provider or the control plane misbehaved
├── BundleError       signed configuration is not acceptable
├── StoreError        a disk, a file or the ledger failed
└── InternalError     our own fault

Rooms define their own leaves below these families, each with a stable dotted ``code``. Classes know neither HTTP nor
gRPC; tables at the edges map codes. Messages never hold a payload, a secret or a matched value.
"""

from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose fault an error is: the first question of whoever reads it."""

    CALLER = "caller"
    PEER = "peer"
    BUNDLE = "bundle"
    STORE = "store"
    OURSELVES = "ourselves"


class OutpostError(Exception):
    """Root of everything that the outpost raises on purpose.

    Args:
        message: what happened and why, one sentence, no payload.
        field: the field, file or option that is to blame, or empty.
        next_step: the command or act that helps, or empty.
    """

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.OURSELVES
    fatal: ClassVar[bool] = True  # FATAL never retries; False is TRANSIENT

    def __init__(self, message: str, *, field: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.next_step = next_step

    def as_dict(self) -> dict[str, str | bool]:
        """Fields for a JSON answer or a log line."""
        return {
            "code": self.code,
            "message": self.message,
            "fault": self.fault.value,
            "fatal": self.fatal,
            "field": self.field,
            "next": self.next_step,
        }


class RequestError(OutpostError):
    """The caller sent something that cannot be served."""

    code = "request.invalid"
    fault = Fault.CALLER


class DeniedError(OutpostError):
    """The caller is not allowed, by key or by policy."""

    code = "request.denied"
    fault = Fault.CALLER


class PeerError(OutpostError):
    """A provider or the control plane did not keep its side."""

    code = "peer.failed"
    fault = Fault.PEER
    fatal = False
    retry_after_seconds: float = 0.0  # what the peer asked us to wait; 0 = as we like


class BundleError(OutpostError):
    """Signed configuration is not acceptable."""

    code = "bundle.invalid"
    fault = Fault.BUNDLE


class StoreError(OutpostError):
    """A disk, a file or the ledger failed."""

    code = "store.failed"
    fault = Fault.STORE


class InternalError(OutpostError):
    """Our own fault."""

    code = "internal"
