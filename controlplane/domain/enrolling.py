"""What a join token makes of an outpost: an identity, or a fresh one in the place of one that is locked or lost."""

from dataclasses import dataclass

from controlplane.domain.errors import RefusedError
from controlplane.domain.outposts import IdentityRefusedError, Outpost, OutpostState, revoked_error


class AuditKeyChangedError(RefusedError):
    """An outpost that enrolls again must go on with its own audit log."""

    code = "outpost.audit_key"


@dataclass(frozen=True, slots=True)
class Joining:
    """Who spends a join token.

    Attributes:
        serial: of the new certificate.
        audit_public_key: of its audit log, Ed25519, 32 bytes.
        source: address that it comes from.
        anew: the token was made for an outpost that had an identity before.
    """

    serial: str
    audit_public_key: bytes
    source: str = ""
    anew: bool = False


def enrolled(outpost: Outpost, joining: Joining, now_ms: int) -> Outpost:
    """The outpost after a join token was spent.

    Raises:
        OutpostRevokedError: it was revoked meanwhile.
        IdentityRefusedError: it is enrolled already, and the token is not one to enroll anew.
        AuditKeyChangedError: enrolled anew on a machine that has not the outpost's audit log.
    """
    if outpost.state is OutpostState.REVOKED:
        raise revoked_error(outpost)
    if outpost.state is not OutpostState.PENDING and not joining.anew:
        raise IdentityRefusedError(
            "this outpost is enrolled already",
            next_step=f"to enroll it anew: controlplane outpost reenroll {outpost.name} --org ORG",
        )
    if outpost.audit_public_key and joining.audit_public_key != outpost.audit_public_key:
        raise AuditKeyChangedError(
            f"this machine has not the audit log of {outpost.name}: an outpost that enrolls again goes on with its log",
            field="audit_log_public_key",
            next_step="run the command on the state folder of that outpost, or register a new outpost",
        )
    sequence = outpost.join_sequence + (2 if outpost.next_serial else 1)  # above every certificate of before
    return Outpost(
        id=outpost.id,
        name=outpost.name,
        state=OutpostState.ACTIVE,
        created_ms=outpost.created_ms,
        activated_ms=now_ms,
        join_sequence=sequence,
        serial=joining.serial,
        audit_public_key=joining.audit_public_key,
        boot_source=joining.source,
        software_version=outpost.software_version,
        last_seen_ms=outpost.last_seen_ms,
        logical=outpost.logical,
        enrolled_sequence=sequence,
        advanced_ms=now_ms,
    )
