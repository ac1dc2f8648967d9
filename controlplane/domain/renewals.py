"""Who gets the next certificate of an outpost: one judgement for renewals and recoveries.

At each join sequence an outpost may be certified for one request, however often it asks. It stores key and request
before it asks and sends the same request until it is answered, over crashes too; so a second request at one sequence
is a clone's. The first use of the new certificate advances the sequence and retires the old certificate; whoever asks
with a retired one afterwards, for a key that was never seen, is a clone as well. A request that was answered before
may arrive late: it changes nothing, unless a nonce proves that its sender lived after that first use. (A clone that
copied a request that was out repeats it; it shows itself when it says hello with the retired certificate and lives,
or recovers with it.)

Source: /docs/design.md 4, join state.
"""

from dataclasses import dataclass

from controlplane.domain import boots
from controlplane.domain.boots import Start
from controlplane.domain.clones import CloneTrace, cloned
from controlplane.domain.errors import RefusedError
from controlplane.domain.outposts import (
    IdentityRefusedError,
    Outpost,
    OutpostState,
    advanced,
    ended_error,
    is_of_tail,
    superseded_error,
)
from controlplane.domain.records import CertificateRecord

CLOCK_SPREAD_MS = 5_000  # clocks of two replicas may differ by this much (certs.recover.NONCE_SKEW_MS)


class SequenceError(RefusedError):
    """The caller's join sequence is not the one that its certificate belongs to."""

    code = "identity.conflict"
    fatal = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for the next certificate by somebody who proved to hold a certified key.

    Attributes:
        serial: of the certificate whose key it is.
        sequence: join sequence that the caller holds.
        csr_sha256: digest of the request, 64 hex digits.
        boot_id: start of the caller.
        source: its address.
        alive_ms: the caller has lived since then: when the nonce was made that its proof signs; 0 without one.
    """

    serial: str
    sequence: int
    csr_sha256: str
    boot_id: str
    source: str
    alive_ms: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store holds about an ask.

    Attributes:
        held: the certificate with the ask's serial, if it is one of this outpost.
        waiting: the certificate in the second slot.
        answered: the newest certificate of this outpost for this very request.
    """

    held: CertificateRecord | None
    waiting: CertificateRecord | None
    answered: CertificateRecord | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The ask is granted.

    Attributes:
        outpost: after what the ask itself showed: the first use of a waiting certificate.
        again: the certificate that was issued for this request before; None when a new one is to be issued.
        tail: it is for the audit tail of a locked or revoked outpost only.
    """

    outpost: Outpost
    again: CertificateRecord | None
    tail: bool = False


@dataclass(frozen=True, slots=True)
class Cloned:
    """The ask is a clone's trace.

    Attributes:
        outpost: locked; to be stored before the caller is refused.
    """

    outpost: Outpost


def judge(outpost: Outpost, ask: Ask, facts: Facts, now_ms: int) -> Granted | Cloned:
    """Grant the next certificate, or find a clone.

    Args:
        outpost: as stored.
        ask: its sender proved to hold the key.
        facts: of the same transaction.
        now_ms: Unix milliseconds.

    Raises:
        OutpostLockedError: locked; so is OutpostRevokedError.
        IdentityRefusedError: never enrolled, or not a certificate of this outpost.
        IdentitySupersededError: an earlier enrollment's certificate, or a request that was answered long ago.
        SequenceError: the join sequence is another.
    """
    if outpost.state in (OutpostState.LOCKED, OutpostState.REVOKED):
        raise ended_error(outpost)
    held = _held(outpost, facts)
    if outpost.boot_id and boots.judge(outpost, ask.boot_id) is Start.COPIED:
        return _cloned(outpost, CloneTrace.COPIED_START, ask, outpost.boot_source, now_ms)
    waiting = facts.waiting if outpost.next_serial else None
    if held.sequence > outpost.join_sequence:  # to hold the key of a waiting certificate proves its first use
        outpost, waiting = advanced(outpost, ask.serial, now_ms), None
    elif held.sequence < outpost.join_sequence:
        if facts.answered is not None and ask.alive_ms <= outpost.advanced_ms + CLOCK_SPREAD_MS:
            raise superseded_error()
        return _cloned(outpost, CloneTrace.RETIRED_CERTIFICATE, ask, outpost.boot_source, now_ms)
    if ask.sequence != outpost.join_sequence:
        raise SequenceError(
            "the join sequence is not the one of this certificate",
            field="join_sequence",
            next_step="if the control plane was restored from a backup, enroll the outpost anew: "
            "controlplane outpost reenroll NAME --org ORG",
        )
    if waiting is None:
        return Granted(outpost, None)
    if waiting.csr_sha256 != ask.csr_sha256:
        return _cloned(outpost, CloneTrace.SECOND_KEY, ask, waiting.source, now_ms)
    return Granted(outpost, _alive(waiting, now_ms))


def judge_tail(outpost: Outpost, ask: Ask, facts: Facts, now_ms: int) -> Granted:
    """Grant a locked or revoked outpost a certificate for its audit tail.

    Args:
        outpost: locked or revoked.
        ask: its sender proved to hold the key.
        facts: of the same transaction.
        now_ms: Unix milliseconds.

    Raises:
        OutpostLockedError: its 7 days are over, or the certificate is none that may deliver; so is
            OutpostRevokedError.
    """
    if facts.held is None or not is_of_tail(outpost, ask.serial, facts.held.sequence, now_ms):
        raise ended_error(outpost)
    again = _alive(facts.answered, now_ms) if facts.answered is not None else None
    if again is not None and not is_of_tail(outpost, again.serial, again.sequence, now_ms):
        again = None
    return Granted(outpost, again, tail=True)


def is_retired(outpost: Outpost, record: CertificateRecord | None) -> bool:
    """Whether a certificate was in use since the newest enrollment, and another one replaced it. Its holder may be late
    bytes of the outpost, or a clone: only a clone still lives.
    """
    return record is not None and outpost.enrolled_sequence <= record.sequence < outpost.join_sequence


def _held(outpost: Outpost, facts: Facts) -> CertificateRecord:
    if outpost.state is OutpostState.PENDING or facts.held is None:
        raise IdentityRefusedError("this certificate is not one of this outpost", next_step="enroll the outpost")
    if facts.held.sequence < outpost.enrolled_sequence:
        raise superseded_error()
    return facts.held


def _cloned(outpost: Outpost, trace: CloneTrace, ask: Ask, known_source: str, now_ms: int) -> Cloned:
    return Cloned(cloned(outpost, trace, ask.serial, (known_source, ask.source), now_ms))


def _alive(record: CertificateRecord, now_ms: int) -> CertificateRecord | None:
    """A certificate that was issued before, while it is good for something; the same request then gets a fresh one."""
    return record if now_ms < record.not_after_s * 1000 else None
