"""Files to and from outposts that no network reaches, on the state directory of a control plane; each act on record."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.signer import KeySigner
from controlplane.bootstrap.plane import Plane, opened
from controlplane.bootstrap.recording import on_record
from controlplane.services.courier import CarriedBundle, CourierDesk
from controlplane.services.enroll import Enrollment
from controlplane.services.issuance import OutpostIssuer
from outpost.core.audit.archive import Read, read_head, read_records
from outpost.core.bundle.courier import (
    CourierForeignError,
    JoinAnswer,
    Receipts,
    SignedAnswer,
    read_request,
    signed_message,
)

ANSWER, BUNDLE, AUDIT = "airgap.answer", "airgap.bundle", "airgap.audit"


async def answer(folder: Path, data: bytes) -> tuple[JoinAnswer, bytes]:
    """Enroll an outpost by its request, as it was read from a file.

    Returns:
        What is answered, and the file that travels back.

    Raises:
        CourierMalformedError: not a request.
        ControlPlaneError: the token or the request is refused.
    """
    request = read_request(data)
    async with opened(folder) as plane, on_record(plane, request.org, ANSWER, f"outpost/{request.name}"):
        desk = await _desk(plane)
        told = await desk.answer(request, data, plane.settings.trust_domain)
        return told, (await _signed(plane, told)).to_bytes()


async def bundle(folder: Path, org: str, validity_ms: int) -> CarriedBundle:
    """The configuration of an org as a file. Raises ControlPlaneError."""
    async with opened(folder) as plane, on_record(plane, org, BUNDLE, f"org/{org}"):
        return await (await _desk(plane)).bundle(org, validity_ms)


async def take_audit(folder: Path, org: str, read: Read) -> Receipts:
    """Take in a part of an audit log, read from a file.

    Raises:
        AuditArchiveError: not such a file; CourierForeignError: of another org.
        ControlPlaneError: its records are refused; those before the one to blame may have been taken in.
    """
    head = read_head(read)
    if head.org != org:
        raise CourierForeignError(
            f"the file is of org {head.org[:64]}", field="org", next_step="name that org with --org, if it is meant"
        )
    async with opened(folder) as plane, on_record(plane, org, AUDIT, f"outpost/{head.outpost_id[:64]}"):
        return await (await _desk(plane)).take_audit(head, read_records(read, head))


async def _desk(plane: Plane) -> CourierDesk:
    await plane.trust()
    issuer = OutpostIssuer(plane.settings.trust_domain, lambda: plane.board.current, plane.chance)
    enrollment = Enrollment(plane.store, issuer, plane.keyring.pepper(), plane.clock)
    return CourierDesk(plane.store, enrollment, await plane.ingest(), plane.clock)


async def _signed(plane: Plane, told: JoinAnswer) -> SignedAnswer:
    """An answer with the signature of this control plane's server."""
    identity = await plane.setup.server_identity(plane.settings.hosts, await plane.trust())
    key = keys.private_key_from_pem(identity.key_pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a server's key is a P-256 key")
    chain = tuple(keys.certificate_der(each) for each in keys.certificates_from_pem(identity.chain_pem, field="chain"))
    payload = told.payload()
    return SignedAnswer(payload, chain, KeySigner(key).sign(signed_message(payload)))
