"""Life of an outpost: pending -> active -> revoked.

Rules
- Registered: pending, with one join token. Enrolled: active, with one serial.
- Two serial slots. A renewal fills ``next_serial``; the first use of that serial retires the old one and
  advances the join sequence. A serial that was retired is superseded for ever.
- Revoked is final. For 7 days a revoked outpost may deliver its audit tail and nothing else.
- A boot id that was superseded by another and comes back means that two machines hold one identity: it is
  refused and marked.

Source: /docs/design.md 4; two slots and first use as in SPIRE's agent renewal.
"""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from controlplane.domain.errors import ConflictError, InputError, NotFoundError, RefusedError

DRAIN_MS = 7 * 24 * 3600 * 1000  # a revoked outpost delivers its audit tail this long (docs/design.md 4)
OUTPOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")  # wire: at most 63 bytes
OUTPOST_ID_BYTES = 8  # 16 hex digits behind "op-"
KEPT_BOOT_IDS = 16  # superseded boot ids remembered for each outpost; older ones cannot be told from new ones
BOOT_ID = re.compile(r"[0-9a-f]{32}")


class OutpostState(StrEnum):
    """Where an outpost stands."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"


class Act(StrEnum):
    """What a caller wants to do; a revoked outpost may only drain."""

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


class IdentityRefusedError(RefusedError):
    """The certificate is not one of a live outpost."""

    code = "identity.refused"


class IdentitySupersededError(RefusedError):
    """A newer certificate, or a newer start of the outpost, took this one's place."""

    code = "identity.superseded"


class RenewalConflictError(RefusedError):
    """Another key was certified at this join sequence already."""

    code = "identity.conflict"
    fatal = False  # the slot becomes free by itself


@dataclass(frozen=True, slots=True)
class Outpost:
    """One registered outpost.

    Attributes:
        id: "op-" and 16 hex digits.
        name: as registered, unique in the org.
        state: pending, active or revoked.
        created_ms: registration, Unix milliseconds; so are the other ``_ms``, 0 = never.
        join_sequence: advances at each first use of a new leaf certificate.
        serial: serial number (hex) of the certificate in use, empty before enrollment.
        next_serial: issued by a renewal, not used yet; empty when there is none.
        audit_public_key: Ed25519, 32 bytes; signs the checkpoints of the outpost's log.
        boot_id: newest start that said hello, 32 hex digits.
        superseded_boots: starts before it, newest first.
        alert: code of the newest anomaly (a possible clone), or empty.
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


def checked_name(text: str) -> str:
    """An outpost's name, or OutpostNameError."""
    if OUTPOST_NAME.fullmatch(text) is None:
        raise OutpostNameError(
            "an outpost's name is 1 to 63 lower-case letters, digits, dots or hyphens, and starts with a "
            "letter or digit",
            field="name",
            next_step="choose a name such as 'prod-eu-1' and run the command again",
        )
    return text


def register(name: str, chance: bytes, now_ms: int) -> Outpost:
    """A new outpost in state pending.

    Args:
        name: checked here.
        chance: 8 random bytes for the id.
        now_ms: Unix milliseconds.
    """
    if len(chance) != OUTPOST_ID_BYTES:
        raise ValueError("an outpost id is made of 8 random bytes")
    return Outpost("op-" + chance.hex(), checked_name(name), OutpostState.PENDING, now_ms)


def registered_again(outpost: Outpost) -> Outpost:
    """The outpost that has a name already and may get another join token: it never enrolled.

    Raises:
        OutpostExistsError: it is active or revoked, and the name stays its own.
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
        next_step=f"choose another name; to replace a lost machine, revoke it first: "
        f"controlplane outpost revoke {outpost.name} --org ORG",
    )


def enrolled(outpost: Outpost, serial: str, audit_public_key: bytes, now_ms: int) -> Outpost:
    """The outpost after its join token was spent.

    Raises:
        OutpostRevokedError: it was revoked meanwhile.
        IdentityRefusedError: it is enrolled already: another token is needed for another outpost.
    """
    if outpost.state is OutpostState.REVOKED:
        raise revoked_error(outpost)
    if outpost.state is OutpostState.ACTIVE:
        raise IdentityRefusedError("this outpost is enrolled already", next_step="register a new outpost")
    return replace(
        outpost,
        state=OutpostState.ACTIVE,
        activated_ms=now_ms,
        join_sequence=1,
        serial=serial,
        audit_public_key=audit_public_key,
    )


def revoked(outpost: Outpost, reason: str, now_ms: int) -> Outpost:
    """The outpost after revocation; a second revocation changes nothing."""
    if outpost.state is OutpostState.REVOKED:
        return outpost
    return replace(outpost, state=OutpostState.REVOKED, revoked_ms=now_ms, reason=reason, next_serial="")


def authorise(outpost: Outpost, serial: str, act: Act, now_ms: int) -> bool:
    """Whether this certificate may do this now.

    Returns:
        True when this is the first use of ``next_serial``: the caller must then store ``advanced``.

    Raises:
        OutpostRevokedError: revoked, and the act is not the audit tail or the 7 days are over.
        IdentityRefusedError: the outpost has no such serial.
        IdentitySupersededError: another certificate took this one's place.
    """
    if outpost.state is OutpostState.REVOKED:
        if act is not Act.DRAIN or now_ms >= outpost.revoked_ms + DRAIN_MS:
            raise revoked_error(outpost)
        if serial != outpost.serial:
            raise IdentitySupersededError("this certificate was replaced before the outpost was revoked")
        return False
    if outpost.state is OutpostState.PENDING or not outpost.serial:
        raise IdentityRefusedError(
            "this outpost never enrolled",
            next_step="enroll it with a join token: outpost enroll --token-file FILE",
        )
    if serial == outpost.serial:
        return False
    if outpost.next_serial and serial == outpost.next_serial:
        return True
    raise IdentitySupersededError(
        "a newer certificate of this outpost is in use",
        next_step="if this machine is no copy, register it as a new outpost and revoke the old one",
    )


def advanced(outpost: Outpost, serial: str) -> Outpost:
    """The outpost after the first use of its new certificate: the old serial is retired."""
    return replace(outpost, serial=serial, next_serial="", join_sequence=outpost.join_sequence + 1)


def renewed(outpost: Outpost, serial: str) -> Outpost:
    """The outpost with a new certificate waiting for its first use."""
    return replace(outpost, next_serial=serial)


def said_hello(outpost: Outpost, boot_id: str, software_version: str, now_ms: int) -> Outpost:
    """The outpost after Hello.

    Raises:
        IdentitySupersededError: this start was followed by another one and is back: two machines hold one
        identity.
    """
    if boot_id in outpost.superseded_boots:
        raise IdentitySupersededError(
            "another start of this outpost took its place and this one came back: two machines hold one identity",
            field="boot_id",
            next_step="stop the copy, or revoke the outpost and register both",
        )
    older = outpost.superseded_boots
    if outpost.boot_id and outpost.boot_id != boot_id:
        older = (outpost.boot_id, *older)[:KEPT_BOOT_IDS]
    return replace(
        outpost,
        boot_id=boot_id,
        superseded_boots=older,
        software_version=software_version,
        last_seen_ms=now_ms,
    )


def revoked_error(outpost: Outpost) -> OutpostRevokedError:
    """The refusal that a revoked outpost gets."""
    return OutpostRevokedError(
        f"outpost {outpost.id} was revoked; that is final",
        next_step="ask for a registration under another name: controlplane outpost register NAME --org ORG",
    )
