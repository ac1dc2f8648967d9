"""One table from error families to HTTP statuses, and problem details (RFC 9457) in one shape.

A class's status is that of its nearest listed ancestor. What is our own fault becomes ``internal``: its message and its
exception's text stay here, but for a caller on the state directory itself, who is its operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from certs import errors as trust
from certs.rotation import RotationInputError
from certs.shell.tls import ServerUnreachableError
from controlplane.domain import errors as ours
from controlplane.domain.pace import PaceError
from controlplane.domain.rbac import UnauthenticatedError
from controlplane.domain.replies import IdempotencyBusyError
from controlplane.domain.witness import WitnessRefused
from outpost.core import errors as outpost
from outpost.core.chat.messages import BodyTooLargeError, ContentTypeError

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:outpost:error:"  # and the code; docs/errors.md lists them
INTERNAL_CODE: Final = "internal"


class EndpointUnknownError(ours.NotFoundError):
    """No operation has this path."""

    code = "endpoint.unknown"


class MethodError(ours.InputError):
    """The path has no operation of this method."""

    code = "endpoint.method"


class RequestInvalidError(ours.InputError):
    """A parameter or a field of the body is missing, unknown, of the wrong type or out of its bounds."""

    code = "request.invalid"


class HttpMalformedError(ours.InputError):
    """The bytes are no HTTP request."""

    code = "http.malformed"


class HeadersTooLargeError(ours.InputError):
    """The header section is longer than the limit."""

    code = "http.headers_too_large"


class RequestTimeoutError(ours.InputError):
    """The body did not arrive in time."""

    code = "http.timeout"
    fatal = False


class AnswerTimeoutError(ours.StateError):
    """The answer took too long; what was asked for was not done, or its end is unknown."""

    code = "api.timeout"


class PreconditionMissingError(ours.InputError):
    """An update that could overwrite another's came without If-Match."""

    code = "precondition.missing"


class PreconditionFailedError(ours.ConflictError):
    """Somebody else changed it since it was read."""

    code = "precondition.failed"


TypedError = ours.ControlPlaneError | trust.TrustError | outpost.OutpostError
TYPED: Final = (ours.ControlPlaneError, trust.TrustError, outpost.OutpostError)

STATUS: Final[Mapping[type[Exception], HTTPStatus]] = {
    ours.InputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ours.RefusedError: HTTPStatus.FORBIDDEN,
    ours.NotFoundError: HTTPStatus.NOT_FOUND,
    ours.ConflictError: HTTPStatus.CONFLICT,
    ours.ThrottledError: HTTPStatus.TOO_MANY_REQUESTS,
    ours.StateError: HTTPStatus.SERVICE_UNAVAILABLE,
    ours.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    MethodError: HTTPStatus.METHOD_NOT_ALLOWED,
    HttpMalformedError: HTTPStatus.BAD_REQUEST,
    HeadersTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    RequestTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    PreconditionMissingError: HTTPStatus.PRECONDITION_REQUIRED,
    PreconditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    WitnessRefused: HTTPStatus.CONFLICT,  # of the wire only; here so that the table is total
    trust.IdentityError: HTTPStatus.UNPROCESSABLE_ENTITY,
    trust.TokenError: HTTPStatus.UNPROCESSABLE_ENTITY,
    trust.KeyMaterialError: HTTPStatus.UNPROCESSABLE_ENTITY,
    trust.CertificateRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    trust.ChainError: HTTPStatus.UNPROCESSABLE_ENTITY,
    trust.RecoveryError: HTTPStatus.FORBIDDEN,
    trust.IssuanceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    trust.RevocationListError: HTTPStatus.INTERNAL_SERVER_ERROR,
    trust.KeyStoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
    ServerUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
    RotationInputError: HTTPStatus.INTERNAL_SERVER_ERROR,
    outpost.RequestError: HTTPStatus.BAD_REQUEST,
    BodyTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ContentTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    outpost.DeniedError: HTTPStatus.FORBIDDEN,
    outpost.PeerError: HTTPStatus.SERVICE_UNAVAILABLE,
    outpost.BundleError: HTTPStatus.UNPROCESSABLE_ENTITY,
    outpost.StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    outpost.InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Every family of the three trees; a test holds that each error class belongs to one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, ready to be sent.

    Attributes:
        document: problem details with our members beside: code, fault, fatal, field, next.
        headers: such as Retry-After.
    """

    status: int
    document: Mapping[str, object]
    headers: Mapping[str, str]


def status_of(kind: type[Exception]) -> HTTPStatus:
    """Status of an error class: that of its nearest listed ancestor; what has none is our own fault."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: Exception, request_id: str, *, reveal: bool = False) -> Problem:
    """An error as problem details.

    Args:
        error: whatever was raised.
        request_id: of the call; also in the access log and in the act log.
        reveal: show our own typed faults too: the caller is the operator at the state directory.
    """
    status = status_of(type(error))
    hidden = status is HTTPStatus.INTERNAL_SERVER_ERROR and not reveal
    if not isinstance(error, TYPED) or hidden:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        facts = {
            "code": INTERNAL_CODE,
            "message": "the control plane failed; its log says why, under this request id",
            "fatal": False,
            "field": "",
            "next": "try again later",
            "fault": outpost.Fault.OURSELVES.value,
        }
    else:
        facts = {"fault": fault_of(error), **error.as_dict()}
    document = {
        "type": f"{TYPE_PREFIX}{facts['code']}",
        "title": status.phrase,
        "status": int(status),
        "detail": facts["message"],
        "instance": f"urn:outpost:request:{request_id}",
        "code": facts["code"],
        "fault": facts["fault"],
        "fatal": facts["fatal"],
        "field": facts["field"],
        "next": facts["next"],
    }
    return Problem(int(status), document, _headers(error, status))


def fault_of(error: TypedError) -> str:
    """Whose fault it is, in the words of ``outpost.core.errors.Fault``."""
    if isinstance(error, outpost.OutpostError):
        return error.fault.value
    if isinstance(error, ours.StateError | trust.KeyStoreError):
        return outpost.Fault.STORE.value
    return outpost.Fault.OURSELVES.value if type(error) is ours.ControlPlaneError else outpost.Fault.CALLER.value


def _headers(error: Exception, status: HTTPStatus) -> dict[str, str]:
    if isinstance(error, PaceError):
        return {"Retry-After": str(error.retry_seconds)}
    if isinstance(error, IdempotencyBusyError) or status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ):
        return {"Retry-After": "1"}
    if status is HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": 'Bearer realm="controlplane"'}
    return {}
