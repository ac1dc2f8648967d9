"""One table from error families to gRPC statuses. The status text is the code only; the rest travels as ErrorDetail.

What is our own fault becomes "internal": its message and its exception's text stay here.
"""

from collections.abc import Mapping
from typing import Final

import grpc
from outpost_wire.v1 import types_pb2

from certs import errors as trust
from certs.rotation import RotationInputError
from certs.shell.tls import ServerUnreachableError
from controlplane.domain import errors as ours
from controlplane.domain.witness import WitnessRefused
from outpost.core import errors as outpost

ERROR_KEY = "outpost-error-bin"
# Bounds of types.proto, in bytes.
MAX_CODE, MAX_MESSAGE, MAX_FIELD, MAX_NEXT_STEP = 64, 512, 128, 256

_Code = grpc.StatusCode
STATUS: Final[Mapping[type[Exception], grpc.StatusCode]] = {
    ours.InputError: _Code.INVALID_ARGUMENT,
    ours.RefusedError: _Code.PERMISSION_DENIED,
    ours.NotFoundError: _Code.NOT_FOUND,
    ours.ConflictError: _Code.ALREADY_EXISTS,
    ours.ThrottledError: _Code.RESOURCE_EXHAUSTED,
    ours.StateError: _Code.UNAVAILABLE,
    ours.ConfigurationError: _Code.INTERNAL,
    WitnessRefused: _Code.FAILED_PRECONDITION,  # answered in AppendResponse; here for calls that have no such field
    trust.IdentityError: _Code.INVALID_ARGUMENT,
    trust.TokenError: _Code.INVALID_ARGUMENT,
    trust.KeyMaterialError: _Code.INVALID_ARGUMENT,
    trust.CertificateRequestError: _Code.INVALID_ARGUMENT,
    trust.ChainError: _Code.UNAUTHENTICATED,
    trust.RecoveryError: _Code.UNAUTHENTICATED,
    trust.IssuanceError: _Code.INTERNAL,
    trust.RevocationListError: _Code.INTERNAL,
    trust.KeyStoreError: _Code.INTERNAL,
    ServerUnreachableError: _Code.UNAVAILABLE,
    RotationInputError: _Code.INTERNAL,
    outpost.RequestError: _Code.INVALID_ARGUMENT,
    outpost.DeniedError: _Code.PERMISSION_DENIED,
    outpost.PeerError: _Code.UNAVAILABLE,
    outpost.BundleError: _Code.FAILED_PRECONDITION,
    outpost.StoreError: _Code.UNAVAILABLE,
    outpost.InternalError: _Code.INTERNAL,
}
"""Every family of the three trees; a test holds that each error class belongs to one."""

INTERNAL = types_pb2.ErrorDetail(
    code="internal", message="the control plane failed; its log says why", next_step="try again later", fatal=False
)
TypedError = ours.ControlPlaneError | trust.TrustError | outpost.OutpostError
TYPED: Final = (ours.ControlPlaneError, trust.TrustError, outpost.OutpostError)


def status_of(kind: type[Exception]) -> grpc.StatusCode:
    """Status of an error class: that of its nearest listed family; what has none is our own fault."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), _Code.INTERNAL)


def detail_of(error: TypedError) -> tuple[grpc.StatusCode, types_pb2.ErrorDetail]:
    """Status and detail of an error, within the bounds of the wire."""
    status = status_of(type(error))
    if status is _Code.INTERNAL:
        return status, INTERNAL
    detail = types_pb2.ErrorDetail(
        code=_cut(error.code, MAX_CODE),
        message=_cut(error.message, MAX_MESSAGE),
        field=_cut(error.field, MAX_FIELD),
        next_step=_cut(error.next_step, MAX_NEXT_STEP),
        fatal=error.fatal,
        retry_after_ms=error.retry_after_ms if isinstance(error, ours.ThrottledError) else 0,
    )
    return status, detail


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
