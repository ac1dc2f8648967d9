"""Wire messages to plain values and back. Only this room touches generated messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from outpost_wire.v1 import audit_pb2, enrollment_pb2, sync_pb2, types_pb2

from certs.errors import TrustError
from certs.join_token import split_endpoint
from outpost import issuing, ports
from outpost.core.bundle.delta import PARTIAL_OFFERS, unpack_chunk
from outpost.core.errors import OutpostError, PeerError

PROTOCOL_VERSION = 1
CAPABILITIES = (PARTIAL_OFFERS,)
MAX_ENDPOINTS = 8  # sync.proto: Endpoints.sync
ERROR_KEY = "outpost-error-bin"
TRANSIENT_STATUS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    }
)


class ControlPlaneRefusedError(PeerError):
    """The control plane answered with a typed refusal, kept in ``remote_code``."""

    code = "controlplane.refused"
    fatal = True

    def __init__(self, detail: types_pb2.ErrorDetail) -> None:
        super().__init__(detail.message, field=detail.field, next_step=detail.next_step)
        self.remote_code: str = detail.code
        self.remote_fatal: bool = detail.fatal
        self.retry_after_seconds = detail.retry_after_ms / 1000

    def as_dict(self) -> dict[str, str | bool]:
        """The remote's own code: the real cause is printed, never a wrapper's."""
        return {**super().as_dict(), "code": self.remote_code, "fatal": self.remote_fatal}


class ControlPlaneUnreachableError(PeerError):
    """No connection, or it broke."""

    code = "controlplane.unreachable"
    fatal = False


def error_from_rpc(error: grpc.aio.AioRpcError, endpoint: str) -> OutpostError:
    """The typed error behind a failed call; status texts of the transport are shortened, never trusted."""
    told = _told(error)
    if told is not None:
        return ControlPlaneRefusedError(told)
    if error.code() in TRANSIENT_STATUS:
        return ControlPlaneUnreachableError(
            f"the control plane at {endpoint} cannot be reached ({error.code().name})",
            next_step="check the network and the endpoint; it is tried again by itself",
        )
    detail = types_pb2.ErrorDetail(
        code="controlplane.refused",
        message=f"the control plane at {endpoint} refused the call ({error.code().name})",
        fatal=True,
    )
    return ControlPlaneRefusedError(detail)


def _told(error: grpc.aio.AioRpcError) -> types_pb2.ErrorDetail | None:
    """The detail that came with a refusal; None when there is none that can be read and has a code."""
    for key, value in error.trailing_metadata() or ():
        if key == ERROR_KEY and isinstance(value, bytes):
            detail = types_pb2.ErrorDetail()
            try:
                detail.ParseFromString(value)
            except DecodeError:
                return None
            return detail if detail.code else None
    return None


def enroll_request(value: issuing.EnrollmentRequest) -> enrollment_pb2.EnrollRequest:
    """A join token about to be spent, as a wire message."""
    return enrollment_pb2.EnrollRequest(
        token_org=value.token_org,
        token_secret=value.token_secret,
        csr_der=value.csr_der,
        audit_log_public_key=value.audit_log_public_key,
        now_ms=value.now_ms,
        software_version=value.software_version,
    )


def enrollment_answer(message: enrollment_pb2.EnrollResponse) -> issuing.EnrollmentAnswer:
    """Plain values of an EnrollResponse."""
    return issuing.EnrollmentAnswer(
        org=message.org,
        outpost_id=message.outpost_id,
        name=message.name,
        trust_domain=message.trust_domain,
        chain=tuple(message.chain_der),
        trust_bundle=tuple(message.trust_bundle_der),
        tuf_root=message.tuf_root,
        witness_public_key=message.witness_public_key,
        witness_name=message.witness_name,
        sync_endpoint=message.sync_endpoint,
        join_sequence=message.join_sequence,
        now_ms=message.now_ms,
        sync_endpoints=_endpoints(message.sync_endpoints),
        issuers=tuple(message.issuer_der),
        logical=message.logical,
    )


def hello(value: ports.Hello) -> sync_pb2.SyncUp:
    """Hello as a wire message."""
    held = [sync_pb2.HeldFile(name=name, sha256=digest) for name, digest in sorted(value.held.items())]
    return sync_pb2.SyncUp(
        hello=sync_pb2.Hello(
            protocol_min=PROTOCOL_VERSION,
            protocol_max=PROTOCOL_VERSION,
            software_version=value.software_version,
            boot_id=value.boot_id,
            join_sequence=value.join_sequence,
            held=held,
            active_revision=value.active_revision,
            set_sha256=value.set_sha256,
            trust_bundle_sha256=value.trust_bundle_sha256,
            refused_revision=value.refused_revision,
            capabilities=CAPABILITIES,
        )
    )


def heartbeat(value: ports.Heartbeat) -> sync_pb2.SyncUp:
    """Status as a wire message: names, codes and totals only."""
    health = [
        types_pb2.FunctionHealth(
            function=name, state="ok" if code == "ok" else "failed", code="" if code == "ok" else code
        )
        for name, code in sorted(value.functions.items())
    ]
    return sync_pb2.SyncUp(
        status=sync_pb2.Status(
            now_ms=value.now_ms,
            health=health,
            state=value.state,
            active_revision=value.active_revision,
            certificate_expires_ms=value.certificate_expires_ms,
            audit_size=value.audit_size,
            audit_cosigned=value.audit_cosigned,
            tiers=value.tiers,
            workers=value.workers,
            workers_ready=value.workers_ready,
            software_version=value.software_version,
            trust_bundle_sha256=value.trust_bundle_sha256,
            release=value.release,
            requests=value.requests,
            failed=value.failed,
            shadow=shadow(value.shadow) if value.shadow is not None else None,
        )
    )


def shadow(value: Mapping[str, Any]) -> sync_pb2.ShadowReport:
    """Totals of the judgement in the shadow."""
    return sync_pb2.ShadowReport(
        release=value["release"],
        compared=value["compared"],
        changes=[sync_pb2.ShadowChange(**each) for each in value["changes"]],
    )


def renewal_request(value: issuing.RenewalRequest) -> sync_pb2.RenewRequest:
    """A renewal as a wire message."""
    return sync_pb2.RenewRequest(csr_der=value.csr_der, join_sequence=value.join_sequence, boot_id=value.boot_id)


def renewal_answer(message: sync_pb2.RenewResponse) -> issuing.RenewalAnswer:
    """Plain values of a RenewResponse."""
    return issuing.RenewalAnswer(
        tuple(message.chain_der), tuple(message.trust_bundle_der), message.join_sequence, tuple(message.issuer_der)
    )


def recovery_request(value: issuing.RecoveryRequest) -> enrollment_pb2.RecoverRequest:
    """A recovery as a wire message."""
    return enrollment_pb2.RecoverRequest(
        org=value.org,
        outpost_id=value.outpost_id,
        nonce=value.nonce,
        csr_der=value.csr_der,
        join_sequence=value.join_sequence,
        serial=value.serial,
        proof=value.proof,
        boot_id=value.boot_id,
        now_ms=value.now_ms,
        software_version=value.software_version,
    )


def recovery_answer(message: enrollment_pb2.RecoverResponse) -> issuing.RenewalAnswer:
    """Plain values of a RecoverResponse."""
    return issuing.RenewalAnswer(
        tuple(message.chain_der),
        tuple(message.trust_bundle_der),
        message.join_sequence,
        tuple(message.issuer_der),
        _endpoints(message.sync_endpoints),
    )


def control_message(message: sync_pb2.SyncDown) -> ports.ControlMessage | None:
    """A message from above, or None for a kind that this version does not know."""
    kind = message.WhichOneof("message")
    if kind == "offer":
        return _offer(message.offer)
    if kind == "lock":
        signatures = tuple((item.key_id, item.signature) for item in message.lock.signatures)
        return ports.Locked(message.lock.reason, message.lock.order, signatures)
    if kind == "rotate_now":
        return ports.RotateNow(message.rotate_now.spread_seconds)
    if kind == "drain":
        return ports.Drain(message.drain.spread_seconds)
    if kind == "endpoints":
        return ports.Endpoints(_endpoints(message.endpoints.sync))
    return None


def _endpoints(told: Sequence[str]) -> tuple[str, ...]:
    """Addresses that we were told; none of them when one is no address, or when they are too many."""
    try:
        for each in told:
            split_endpoint(each)
    except TrustError:
        return ()
    return tuple(told) if len(told) <= MAX_ENDPOINTS else ()


def _offer(message: sync_pb2.Offer) -> ports.Offer:
    files = tuple(
        ports.OfferedFile(
            name=item.name,
            sha256=item.sha256,
            size=item.size,
            metadata=item.metadata,
            inline=item.inline,
            delta=item.delta,
            delta_sha256=item.delta_sha256,
        )
        for item in message.files
    )
    return ports.Offer(
        nonce=message.nonce,
        revision=message.revision,
        files=files,
        now_ms=message.now_ms,
        base_sha256=message.base_sha256,
        removed=tuple(message.removed),
        withheld=message.withheld,
    )


def chunk_bytes(message: sync_pb2.FetchChunk) -> bytes:
    """Bytes of a fetched chunk, unpacked.

    Raises:
        DeltaError: a packed chunk is damaged, or larger than it says.
    """
    return unpack_chunk(message.data, message.plain_bytes) if message.plain_bytes else message.data


def append_answer(message: audit_pb2.AppendResponse) -> ports.AppendAnswer:
    """Plain values of an AppendResponse."""
    return ports.AppendAnswer(int(message.status), message.known_size, message.cosigned_checkpoint)
