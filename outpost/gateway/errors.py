"""From our errors to the answers that OpenAI clients understand: one table from code to HTTP status.

The official SDKs retry 408, 409, 429 and 5xx on their own; ``x-should-retry: false`` keeps them from repeating what
cannot succeed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from outpost.core.errors import (
    BundleError,
    DeniedError,
    InternalError,
    OutpostError,
    PeerError,
    RequestError,
    StoreError,
)
from outpost.core.inspection import PolicyDeniedError
from outpost.gateway.limits import RequestLimitError

STATUS_BY_CODE: Mapping[str, int] = MappingProxyType(
    {
        "auth.missing": 401,
        "auth.unknown_key": 401,
        "auth.expired": 401,
        "auth.not_yet_valid": 401,
        "auth.revoked": 401,
        "body.bom": 400,
        "body.duplicate_key": 400,
        "body.malformed": 400,
        "body.not_an_object": 400,
        "body.not_utf8": 400,
        "body.number_range": 400,
        "body.timeout": 408,
        "body.too_deep": 400,
        "body.too_large": 413,
        "body.too_many_nodes": 400,
        "body.trailing": 400,
        "content.uninspectable": 400,
        "content_type.unsupported": 415,
        "endpoint.method": 405,
        "endpoint.unknown": 404,
        "http.expectation": 417,
        "http.malformed": 400,
        "limit.requests": 429,
        "model.killed": 403,
        "model.not_allowed": 403,
        "model.unknown": 404,
        "outpost.overloaded": 503,
        "outpost.sealed": 503,
        "outpost.locked": 503,
        "outpost.stopping": 503,
        "outpost.unconfigured": 503,
        "policy.blocked": 403,
        "policy.cancelled": 422,
        "policy.default_blocked": 403,
        "policy.held": 403,
        "policy.override_required": 403,
        "policy.unbounded": 403,
        "policy.unredactable": 403,
        "policy.unroutable": 403,
        "provider.bad_reply": 502,
        "provider.bad_sse": 502,
        "provider.credentials": 502,
        "provider.killed": 403,
        "provider.rate_limited": 429,
        "provider.rejected": 400,
        "provider.reset": 502,
        "provider.status": 502,
        "provider.timeout": 504,
        "provider.too_large": 502,
        "provider.unreachable": 502,
        "request.field_missing": 400,
        "request.field_range": 400,
        "request.field_type": 400,
        "audit.unavailable": 503,
    }
)
_STATUS_BY_FAMILY: tuple[tuple[type[OutpostError], int], ...] = (
    (RequestError, 400),
    (DeniedError, 403),
    (PeerError, 502),
    (BundleError, 503),
    (StoreError, 503),
    (InternalError, 500),
)
_TYPES: tuple[tuple[type[OutpostError], str], ...] = (
    (PolicyDeniedError, "policy_violation"),
    (RequestError, "invalid_request_error"),
    (PeerError, "provider_error"),
)
_TYPE_BY_STATUS = MappingProxyType({401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"})


class AuditUnavailableError(StoreError):
    """The audit log did not take a record; without a record nothing happens."""

    code = "audit.unavailable"
    fatal = False


class SealedError(DeniedError):
    """The org is sealed: nothing may pass until the cause is gone."""

    code = "outpost.sealed"


class LockedError(SealedError):
    """A signed order wiped this outpost: only a new enrollment brings it back."""

    code = "outpost.locked"


class UnconfiguredError(DeniedError):
    """The org has no active configuration yet."""

    code = "outpost.unconfigured"
    fatal = False


class StoppingError(InternalError):
    """The outpost is shutting down."""

    code = "outpost.stopping"
    fatal = False


def is_own_fault(error: OutpostError | None) -> bool:
    """Whether it is us who failed a request: no caller, no provider, no rule, and not the end of the process."""
    return isinstance(error, StoreError | InternalError | BundleError) and not isinstance(error, StoppingError)


class UnknownEndpointError(RequestError):
    """No such path."""

    code = "endpoint.unknown"


class MalformedHttpError(RequestError):
    """The bytes are no HTTP request."""

    code = "http.malformed"


class ExpectationError(RequestError):
    """An Expect header other than 100-continue."""

    code = "http.expectation"


class MethodError(RequestError):
    """The path does not take this method."""

    code = "endpoint.method"


class UnknownModelError(RequestError):
    """No provider of the org serves this model."""

    code = "model.unknown"


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error ready to be sent, as a response or as an event of a stream."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def status_of(error: OutpostError) -> int:
    """HTTP status of an error; total, because a family stands behind every leaf."""
    exact = STATUS_BY_CODE.get(error.code)
    if exact is not None:
        return exact
    return next((status for family, status in _STATUS_BY_FAMILY if isinstance(error, family)), 500)


def _type_of(error: OutpostError, status: int) -> str:
    by_class = next((name for family, name in _TYPES if isinstance(error, family)), None)
    return by_class or _TYPE_BY_STATUS.get(status, "server_error")


def error_object(error: OutpostError, request_id: str) -> dict[str, Any]:
    """The body, in OpenAI's shape with our fields beside.

    Errors of other rooms speak to operators and may name paths: clients get their code only.
    """
    message, param = "the outpost cannot serve this request now; its operator finds the cause under this code", ""
    if error.code in STATUS_BY_CODE:
        message, param = error.message, error.field
        if error.next_step:
            message = f"{message}; {error.next_step}"
    detail: dict[str, Any] = {
        "message": message,
        "type": _type_of(error, status_of(error)),
        "code": error.code,
        "param": param or None,
        "request_id": request_id,
        "rule": None,
        "reason": None,
    }
    if isinstance(error, PolicyDeniedError):
        detail["rule"] = error.decision.rule
        detail["reason"] = error.decision.reason
    return {"error": detail}


def answer(error: OutpostError, request_id: str) -> ErrorAnswer:
    """Build the whole answer."""
    status = status_of(error)
    headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
    if error.fatal or isinstance(error, DeniedError):
        headers["x-should-retry"] = "false"
    if isinstance(error, PolicyDeniedError):
        headers["X-Policy-Action"] = error.decision.action.value
    if isinstance(error, RequestLimitError):
        headers["x-should-retry"] = "true"
        headers["Retry-After"] = str(error.reset_seconds)
        headers["X-RateLimit-Limit-Requests"] = str(error.limit)
        headers["X-RateLimit-Reset-Requests"] = f"{error.reset_seconds}s"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ErrorAnswer(status, headers, orjson.dumps(error_object(error, request_id)))


def error_event(error: OutpostError, request_id: str) -> bytes:
    """The same error as the last events of a stream: the error, then the terminator that clients wait for."""
    return b"data: " + orjson.dumps(error_object(error, request_id)) + b"\n\ndata: [DONE]\n\n"
