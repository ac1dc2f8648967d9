"""Small logs on temporary folders: the real writer, with small files and a disk that can fail on demand."""

import errno
import os
from collections import deque
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.audit.note import NoteSigner, SignatureType
from outpost.core.audit.record import BundleActivated, RecordHead
from outpost.ledger.log import AuditLog
from outpost.ledger.writer import LogOptions

ORIGIN = "outpost.internal/org/acme/outpost/op-0123456789abcdef"
LOG_KEY = Ed25519PrivateKey.generate()
SIGNER = NoteSigner.of_key(ORIGIN, LOG_KEY)
LOG = SIGNER.verifier
WITNESS_SIGNER = NoteSigner.of_key(
    "outpost.internal/witness", Ed25519PrivateKey.generate(), SignatureType.COSIGNATURE_V1
)
WITNESS = WITNESS_SIGNER.verifier
HEAD = RecordHead(1_700_000_000_000, "acme", "op-0123456789abcdef")

# Segments of about 300 small records, and no checkpoint before a test or the end of the log asks for one.
SMALL = LogOptions(segment_bytes=72_000, group_bytes=60_000, checkpoint_seconds=3600.0, checkpoint_records=1_000_000)


class FailingDisk:
    """fdatasync that fails when told to."""

    def __init__(self) -> None:
        self.errors: deque[int | None] = deque()
        self.calls = 0

    def sync(self, descriptor: int) -> None:
        self.calls += 1
        error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise OSError(error, os.strerror(error))
        os.fdatasync(descriptor)

    def fail(self, *errors: int | None) -> None:
        """What the next calls do: an errno, or None for success."""
        self.errors.extend(errors)


EIO = errno.EIO
ENOSPC = errno.ENOSPC


def body(number: int) -> bytes:
    """A record whose text tells its place."""
    return BundleActivated(HEAD, f"record-{number}").to_bytes()


def open_log(folder: Path, **changes: object) -> AuditLog:
    """The log of a folder, with small files."""
    return AuditLog(folder, SIGNER, replace(SMALL, **changes))  # type: ignore[arg-type]


def fill(log: AuditLog, count: int, group: int = 10) -> None:
    """Append numbered records and wait until they are durable."""
    first = log.size
    for start in range(first, first + count, group):
        end = min(start + group, first + count)
        span = log.append([body(number) for number in range(start, end)]).result(10)
        assert span == range(start, end)


def make_log(folder: Path, count: int, heads: int = 4, group: int = 10) -> None:
    """A closed log of ``count`` records with a few signed heads."""
    log = open_log(folder, history_seconds=0.0)
    for part in range(heads):
        fill(log, count // heads + (count % heads if part == heads - 1 else 0), group)
        log.checkpoint()
    log.close()
