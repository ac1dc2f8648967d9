"""Life of an outpost: pending -> active <-> locked; revoked is final.

Rules
- Registered: pending, with one join token. Enrolled: active, with one serial.
- Two serial slots. A renewal fills ``next_serial``; the first use of that serial retires the old one and
  advances the join sequence. A serial that was retired is superseded for ever.
- Locked: two machines hold one identity (``clones.py``), or an administrator ordered it. It leaves only by a new
  join token for the same outpost: fresh key, next join sequence, the same audit log. Certificates from before are
  void from then on: whoever holds one can do nothing, not even lock the outpost again.
- Revoked is final. For 7 days a revoked or locked outpost may deliver its audit tail and nothing else: with a
  certificate that was held then, or with one that such a holder was issued since for his key. None takes the place of
  another, so no holder shuts another one out.

Source: /docs/design.md 4; two slots and first use as in SPIRE's agent renewal; join state and lock as in
Teleport's bound keypair joining.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from controlplane.domain.errors import ConflictError, InputError, NotFoundError, RefusedError

DRAIN_MS = 7 * 24 * 3600 * 1000  # a revoked or locked outpost delivers its audit tail this long (docs/design.md 4)
OUTPOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")  # wire: at most 63 bytes
OUTPOST_ID_BYTES = 8  # 16 hex digits behind "op-"
MAX_DRAINING = 8  # serials held at the end: both slots and one caller's, of a lock and of a revocation, with room


class OutpostState(StrEnum):
    """Where an outpost stands."""

    PENDING = "pending"
    ACTIVE = "active"
    LOCKED = "locked"
    REVOKED = "revoked"


class Act(StrEnum):
    """What a caller wants to do; a revoked or locked outpost may only drain."""

    SYNC = "sync"
    RENEW = "renew"
    DRAIN = "drain"


class OutpostNameError(InputError):
    """A name that is not one."""

    code = "outpost.name"


class OutpostUnknownError(NotFoundError):
    """No such outpost in this org."""

    code = "outpost.unknown"


class OutpostExistsError(ConflictError):
    """Another outpost of the org has this name."""

    code = "outpost.exists"


class OutpostRevokedError(RefusedError):
    """The outpost was revoked; that is final."""

    code = "outpost.revoked"


class OutpostLockedError(RefusedError):
    """The identity is locked: two machines held it, or an administrator ordered it."""

    code = "identity.locked"


class OutpostPendingError(ConflictError):
    """The outpost never enrolled: there is nothing to enroll again."""

    code = "outpost.pending"


class IdentityRefusedError(RefusedError):
    """The certificate is not one of a live outpost."""

    code = "identity.refused"


class IdentitySupersededError(RefusedError):
    """A newer certificate, or a newer start of the outpost, took this one's place."""

    code = "identity.superseded"
    fatal = False  # what waits on the line may still be let in after a new enrollment


@dataclass(frozen=True, slots=True)
class Outpost:
    """One registered outpost.

    Attributes:
        id: "op-" and 16 hex digits.
        name: as registered, unique in the org.
        state: pending, active, locked or revoked.
        created_ms: registration, Unix milliseconds; so are the other ``_ms``, 0 = never.
        reason: why it was revoked or locked.
        join_sequence: advances at each first use of a new leaf certificate, and at each enrollment.
        serial: serial number (hex) of the certificate in use, empty before enrollment.
        next_serial: issued by a renewal, not used yet; empty when there is none.
        audit_public_key: Ed25519, 32 bytes; signs the checkpoints of the outpost's log.
        boot_id: newest start that said hello, 32 hex digits.
        superseded_boots: starts before it, newest first.
        alert: code of the newest anomaly (a possible clone), or empty.
        logical: the logical outpost of which this one is a replica; empty when it has no other name than its own.
        enrolled_sequence: join sequence of the newest enrollment; certificates from before it are void.
        boot_source: address from which the newest start said hello, or that enrolled.
        draining: serials that were held when the outpost was locked or revoked; they may deliver its audit tail.
        advanced_ms: when the certificate in use was used first.
        recoveries: in a row, without a regular renewal between them.
        alert_sources: addresses of the two holders behind ``alert``.
        lock_order: signed order to wipe, canonical JSON; empty when there is none.
        lock_signatures: key ids and signatures of the order, hex.
        lock_confirmed_ms: when a holder of the identity first said that it obeys.
        adopted_ms: when a certificate counted that a restored control plane had no record of (``restorations``).
    """

    id: str
    name: str
    state: OutpostState
    created_ms: int
    activated_ms: int = 0
    revoked_ms: int = 0
    reason: str = ""
    join_sequence: int = 0
    serial: str = ""
    next_serial: str = ""
    audit_public_key: bytes = b""
    software_version: str = ""
    boot_id: str = ""
    superseded_boots: tuple[str, ...] = ()
    alert: str = ""
    last_seen_ms: int = 0
    logical: str = ""
    locked_ms: int = 0
    enrolled_sequence: int = 0
    boot_source: str = ""
    draining: tuple[str, ...] = ()
    advanced_ms: int = 0
    recoveries: int = 0
    alert_sources: tuple[str, ...] = ()
    alert_ms: int = 0
    lock_order: str = ""
    lock_signatures: tuple[tuple[str, str], ...] = ()
    lock_confirmed_ms: int = 0
    adopted_ms: int = 0

    @property
    def is_order_out(self) -> bool:
        """Whether there is an order to wipe, and no holder said yet that it obeys. It is sent afterwards, too."""
        return bool(self.lock_order) and not self.lock_confirmed_ms

    @property
    def site(self) -> str:
        """Name of the logical outpost."""
        return self.logical or self.name


def checked_name(text: str, field: str = "name") -> str:
    """An outpost's name, or that of a logical outpost. Raises OutpostNameError."""
    if OUTPOST_NAME.fullmatch(text) is None:
        raise OutpostNameError(
            "an outpost's name is 1 to 63 lower-case letters, digits, dots or hyphens, and starts with a "
            "letter or digit",
            field=field,
            next_step="choose a name such as 'prod-eu-1' and run the command again",
        )
    return text


def register(name: str, chance: bytes, now_ms: int, logical: str = "") -> Outpost:
    """A new outpost in state pending.

    Args:
        name: checked here.
        chance: 8 random bytes for the id.
        now_ms: Unix milliseconds.
        logical: name of the logical outpost, checked here; empty for its own.
    """
    if len(chance) != OUTPOST_ID_BYTES:
        raise ValueError("an outpost id is made of 8 random bytes")
    site = checked_name(logical, "logical") if logical else ""
    return Outpost("op-" + chance.hex(), checked_name(name), OutpostState.PENDING, now_ms, logical=site)


def registered_again(outpost: Outpost) -> Outpost:
    """The outpost that has a name already and may get another join token: it never enrolled.

    Raises:
        OutpostExistsError: it is active, locked or revoked, and the name stays its own.
    """
    if outpost.state is OutpostState.PENDING:
        return outpost
    if outpost.state is OutpostState.REVOKED:
        raise OutpostExistsError(
            f"{outpost.name} is the name of an outpost that was revoked; its audit log keeps the name",
            field="name",
            next_step=f"register it under another name, such as {outpost.name[:60]}-2",
        )
    raise OutpostExistsError(
        f"an outpost named {outpost.name} is enrolled already",
        field="name",
        next_step=f"choose another name; to enroll the same machine anew: "
        f"controlplane outpost reenroll {outpost.name} --org ORG",
    )


def require_reenrollable(outpost: Outpost) -> None:
    """Whether an outpost may get a join token that gives it a fresh identity.

    Raises:
        OutpostRevokedError: that is final.
        OutpostPendingError: it never enrolled.
    """
    if outpost.state is OutpostState.REVOKED:
        raise revoked_error(outpost)
    if outpost.state is OutpostState.PENDING:
        raise OutpostPendingError(
            f"{outpost.name} never enrolled",
            field="name",
            next_step=f"make its join token: controlplane outpost register {outpost.name} --org ORG",
        )


def revoked(outpost: Outpost, reason: str, now_ms: int) -> Outpost:
    """The outpost after revocation; a second revocation changes nothing."""
    if outpost.state is OutpostState.REVOKED:
        return outpost
    return replace(
        outpost,
        state=OutpostState.REVOKED,
        revoked_ms=now_ms,
        reason=reason,
        draining=_draining(outpost),
    )


def locked(outpost: Outpost, reason: str, now_ms: int, caller: str = "") -> Outpost:
    """The outpost after a lock; a second lock, or one of a revoked outpost, changes nothing.

    Args:
        outpost: active.
        reason: code of a clone's trace, or an administrator's words.
        now_ms: Unix milliseconds.
        caller: serial of the certificate whose holder caused it; it may deliver its audit tail as the others.

    Raises:
        OutpostPendingError: there is no identity to lock.
    """
    if outpost.state is OutpostState.PENDING:
        require_reenrollable(outpost)
    if outpost.state is not OutpostState.ACTIVE:
        return outpost
    return replace(
        outpost, state=OutpostState.LOCKED, locked_ms=now_ms, reason=reason, draining=_draining(outpost, caller)
    )


def is_draining(outpost: Outpost, now_ms: int) -> bool:
    """Whether a locked or revoked outpost may still deliver its audit tail."""
    since_ms = outpost.revoked_ms if outpost.state is OutpostState.REVOKED else outpost.locked_ms
    return now_ms < since_ms + DRAIN_MS


def refused_since_ms(outpost: Outpost, sequence: int) -> int:
    """Since when a certificate is refused for what its outpost is, whoever holds it; 0 when it is not.

    A certificate that a renewal replaced is not meant: who shows it is judged as a clone may be.

    Args:
        outpost: as stored.
        sequence: join sequence that is on record for the certificate.
    """
    if outpost.state is OutpostState.REVOKED:
        return outpost.revoked_ms
    if outpost.state is OutpostState.LOCKED:
        return outpost.locked_ms
    return outpost.activated_ms if sequence < outpost.enrolled_sequence else 0


def is_of_tail(outpost: Outpost, serial: str, sequence: int, now_ms: int) -> bool:
    """Whether a certificate on record may deliver the audit tail of a locked or revoked outpost.

    The join sequence stands still from a lock to the next enrollment, which goes beyond it. So it is held by those
    certificates only that were in use or waiting at the end, and by those that were issued since for the tail.

    Args:
        outpost: as stored.
        serial: of the certificate.
        sequence: join sequence that is on record for it.
        now_ms: Unix milliseconds.
    """
    is_held = serial in outpost.draining or sequence >= outpost.join_sequence
    return is_held and outpost.state in (OutpostState.LOCKED, OutpostState.REVOKED) and is_draining(outpost, now_ms)


def authorise(outpost: Outpost, serial: str, act: Act, now_ms: int) -> bool:
    """Whether this certificate may do this now, as far as the outpost's own row tells; see also ``is_of_tail``.

    Returns:
        True when this is the first use of ``next_serial``: the caller must then store ``advanced``.

    Raises:
        OutpostRevokedError: revoked, and the act is not the audit tail or the 7 days are over.
        OutpostLockedError: the same of a locked one.
        IdentityRefusedError: the outpost has no such serial.
        IdentitySupersededError: another certificate took this one's place.
    """
    if outpost.state in (OutpostState.REVOKED, OutpostState.LOCKED):
        if act is Act.DRAIN and serial in outpost.draining and is_draining(outpost, now_ms):
            return False
        raise ended_error(outpost)
    if outpost.state is OutpostState.PENDING or not outpost.serial:
        raise IdentityRefusedError(
            "this outpost never enrolled",
            next_step="enroll it with a join token: outpost enroll --token-file FILE",
        )
    if serial == outpost.serial:
        return False
    if outpost.next_serial and serial == outpost.next_serial:
        return True
    raise superseded_error()


def advanced(outpost: Outpost, serial: str, now_ms: int) -> Outpost:
    """The outpost after the first use of its new certificate: the old serial is retired."""
    sequence = outpost.join_sequence + 1
    return replace(outpost, serial=serial, next_serial="", join_sequence=sequence, advanced_ms=now_ms)


def renewed(outpost: Outpost, serial: str) -> Outpost:
    """The outpost with a new certificate waiting for its first use."""
    return replace(outpost, next_serial=serial)


def ended_error(outpost: Outpost) -> RefusedError:
    """The refusal that a revoked or locked outpost gets."""
    return revoked_error(outpost) if outpost.state is OutpostState.REVOKED else locked_error(outpost)


def revoked_error(outpost: Outpost) -> OutpostRevokedError:
    """The refusal that a revoked outpost gets."""
    return OutpostRevokedError(
        f"outpost {outpost.id} was revoked; that is final",
        next_step="ask for a registration under another name: controlplane outpost register NAME --org ORG",
    )


def locked_error(outpost: Outpost) -> OutpostLockedError:
    """The refusal that every holder of a locked identity gets."""
    return OutpostLockedError(
        f"the identity of outpost {outpost.id} is locked; its audit tail is still taken",
        next_step=f"ask for a new join token: controlplane outpost reenroll {outpost.name} --org ORG",
    )


def superseded_error() -> IdentitySupersededError:
    """The refusal of a certificate that another one replaced."""
    return IdentitySupersededError(
        "a newer certificate of this outpost is in use",
        next_step="if this machine is no copy, ask who else holds its state folder: outpost doctor",
    )


def _draining(outpost: Outpost, caller: str = "") -> tuple[str, ...]:
    serials = (outpost.serial, outpost.next_serial, caller, *outpost.draining)
    return tuple(dict.fromkeys(serial for serial in serials if serial))[:MAX_DRAINING]
