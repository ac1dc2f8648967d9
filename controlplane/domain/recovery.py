"""Bounds of recovery: an outpost whose certificate expired gets another one for a proof of its bound key.

An expired leaf dies in the TLS handshake, so the request comes to the listener for strangers and is judged there. To
whoever does not hold the key of a certificate of that very outpost there is one answer, whatever the cause, and the
work behind it is the same. The key may have lain in a drawer; therefore it is good for a bounded time, and for a
bounded number of recoveries without the sign of an orderly life: a regular renewal.

Source: /docs/design.md 4; recovery limits as in Teleport's bound keypair joining.
"""

from dataclasses import replace

from controlplane.domain.errors import RefusedError
from controlplane.domain.outposts import Outpost
from controlplane.domain.records import CertificateRecord

GRACE_MS = 90 * 24 * 3600 * 1000  # after a leaf's end its key still proves who calls
MAX_IN_A_ROW = 5  # recoveries without a regular renewal between them; the fleet renews within minutes of each


class RecoverRefusedError(RefusedError):
    """The one answer to whoever does not hold the bound key."""

    code = "recover.refused"

    def __init__(self) -> None:
        super().__init__(
            "no outpost here is bound to this key",
            field="proof",
            next_step="enroll the outpost anew: controlplane outpost reenroll NAME --org ORG",
        )


class RecoverGraceError(RefusedError):
    """The certificate ended too long ago."""

    code = "recover.grace"


class RecoverCountError(RefusedError):
    """Too many recoveries in a row."""

    code = "recover.count"


def require_grace(record: CertificateRecord, now_ms: int) -> None:
    """Whether the key of a certificate still proves who calls.

    Raises:
        RecoverGraceError: it ended more than 90 days ago.
    """
    if now_ms > record.not_after_s * 1000 + GRACE_MS:
        raise RecoverGraceError(
            f"the certificate ended more than {GRACE_MS // 86_400_000} days ago",
            field="serial",
            next_step="enroll the outpost anew: controlplane outpost reenroll NAME --org ORG",
        )


def recovered(outpost: Outpost) -> Outpost:
    """The outpost with one more recovery in a row.

    Raises:
        RecoverCountError: there were too many.
    """
    if outpost.recoveries >= MAX_IN_A_ROW:
        raise RecoverCountError(
            f"the outpost recovered {MAX_IN_A_ROW} times without a regular renewal between",
            field="serial",
            next_step="find out why it cannot renew, then enroll it anew: controlplane outpost reenroll NAME --org ORG",
        )
    return replace(outpost, recoveries=outpost.recoveries + 1)


def renewed_regularly(outpost: Outpost) -> Outpost:
    """The outpost after a regular renewal: recoveries are counted from zero again."""
    return replace(outpost, recoveries=0)
