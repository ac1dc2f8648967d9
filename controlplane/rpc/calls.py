"""The enrollment and audit services: plain calls."""

from collections.abc import Callable
from typing import Any

from outpost_wire.v1 import audit_pb2, audit_pb2_grpc, enrollment_pb2, enrollment_pb2_grpc

from controlplane.domain.outposts import Act
from controlplane.domain.sources import plain_address
from controlplane.rpc import codec
from controlplane.rpc.callers import Callers
from controlplane.services.enroll import Enrollment
from controlplane.services.ingest import MAX_ORIGIN_BYTES, Ingest
from controlplane.services.recover import Recovery

SIZE_LIMIT = 1 << 63  # sizes beyond a signed 64-bit integer are no sizes


class EnrollmentService(enrollment_pb2_grpc.EnrollmentServicer):
    """Adapter of the Enrollment service.

    Args:
        sync_endpoints: gives host:port that outposts will call, then those of every replica now.
    """

    def __init__(
        self,
        enrollment: Enrollment,
        recovery: Recovery,
        trust_domain: str,
        witness: tuple[str, bytes],
        sync_endpoints: Callable[[], tuple[str, ...]],
    ) -> None:
        self._enrollment = enrollment
        self._recovery = recovery
        self._trust_domain = trust_domain
        self._witness = witness
        self._sync_endpoints = sync_endpoints

    async def Enroll(  # noqa: N802
        self, request: enrollment_pb2.EnrollRequest, context: Any
    ) -> enrollment_pb2.EnrollResponse:
        """Spend a join token."""
        enrolled = await self._enrollment.enroll(codec.enrollment_call(request, plain_address(context.peer())))
        return codec.enrollment_answer(enrolled, self._trust_domain, self._witness, self._sync_endpoints())

    async def Challenge(  # noqa: N802
        self, request: enrollment_pb2.ChallengeRequest, context: Any
    ) -> enrollment_pb2.ChallengeResponse:
        """A nonce for a recovery."""
        org, outpost_id = codec.challenge(request)
        nonce, now_ms = self._recovery.challenge(org, outpost_id)
        return enrollment_pb2.ChallengeResponse(nonce=nonce, now_ms=now_ms)

    async def Recover(  # noqa: N802
        self, request: enrollment_pb2.RecoverRequest, context: Any
    ) -> enrollment_pb2.RecoverResponse:
        """A certificate for a proof of the bound key."""
        recovered = await self._recovery.recover(codec.recovery_call(request, plain_address(context.peer())))
        return codec.recovery_answer(recovered, self._sync_endpoints())


class AuditService(audit_pb2_grpc.AuditServicer):
    """Adapter of the Audit service; revoked outposts may still call it for 7 days."""

    def __init__(self, callers: Callers, ingest: Ingest) -> None:
        self._callers = callers
        self._ingest = ingest

    async def Append(self, request: audit_pb2.AppendRequest, context: Any) -> audit_pb2.AppendResponse:  # noqa: N802
        """Take entries of one tile."""
        principal = await self._callers.paced(context, Act.DRAIN)
        codec.require(request.first < SIZE_LIMIT, "first")
        return codec.append_answer(await self._ingest.append(principal, codec.upload(request)))

    async def Root(self, request: audit_pb2.RootRequest, context: Any) -> audit_pb2.RootResponse:  # noqa: N802
        """Root of the tree as held here."""
        principal = await self._callers.paced(context, Act.DRAIN)
        codec.require(request.size < SIZE_LIMIT, "size")
        codec.require(len(request.origin.encode()) <= MAX_ORIGIN_BYTES, "origin")
        known_size, root = await self._ingest.root(principal, request.origin, request.size)
        return audit_pb2.RootResponse(known_size=known_size, root=root)
