"""Wraps every handler: typed errors become statuses, everything else becomes "internal".

gRPC itself would send the text of an unknown exception to the client, and so it would for a request that is no message
of its type: that one is read here, and refused like every other. Handlers are coroutines that read and write
through their context, so one wrapper fits all four kinds of calls; each method is wrapped once.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controlplane import telemetry
from controlplane.rpc.codec import WireError
from controlplane.rpc.errors import ERROR_KEY, INTERNAL, TYPED, TypedError, detail_of

Handler = Callable[[Any, Any], Awaitable[Any]]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers for the exceptions of every handler."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}  # by method; only methods that exist come in

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a call, wrapped; None when there is no such method."""
        wrapped = self._wrapped.get(handler_call_details.method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        factory, inner = _parts(handler)
        wrapped = factory(
            _answering(inner, handler_call_details.method),
            request_deserializer=_reading(handler.request_deserializer, streamed=handler.request_streaming),
            response_serializer=handler.response_serializer,
        )
        self._wrapped[handler_call_details.method] = wrapped
        return wrapped


class _Unreadable:
    """Stands for a request whose bytes are no message."""


def _reading(deserialise: Callable[[bytes], Any] | None, *, streamed: bool) -> Callable[[bytes], Any] | None:
    """Read a request; what is unreadable reaches the handler's wrapper. Streams are read inside their handlers."""
    if deserialise is None or streamed:
        return deserialise

    def read(data: bytes) -> Any:
        try:
            return deserialise(data)
        except DecodeError:
            return _Unreadable()

    return read


def _parts(handler: Any) -> tuple[Callable[..., Any], Handler]:
    kinds: tuple[tuple[Callable[..., Any], Handler | None], ...] = (
        (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    )
    for factory, inner in kinds:
        if inner is not None:
            return factory, inner
    raise LookupError("a handler without a function")


def _answering(inner: Handler, method: str) -> Handler:
    async def answer(request: Any, context: Any) -> Any:
        try:
            if isinstance(request, _Unreadable):
                raise WireError("the request is no message of its type")
            return await inner(request, context)
        except grpc.aio.AbortError:
            raise
        except TYPED as error:
            await _abort(context, error, method)
        except DecodeError:
            await _abort(context, WireError("a message of the stream is none of its type"), method)
        except Exception as error:
            telemetry.LOGGER.error(
                telemetry.Event.RPC_FAILED.value,
                exc_info=error,
                extra={"fields": {"method": method, "code": INTERNAL.code}},
            )
            await context.abort(grpc.StatusCode.INTERNAL, INTERNAL.code, ((ERROR_KEY, INTERNAL.SerializeToString()),))

    return answer


async def _abort(context: Any, error: TypedError, method: str) -> None:
    status, detail = detail_of(error)
    ours = status is grpc.StatusCode.INTERNAL
    level = logging.ERROR if ours else logging.INFO
    telemetry.log(telemetry.Event.RPC_FAILED, level=level, method=method, code=error.code)
    await context.abort(status, detail.code, ((ERROR_KEY, detail.SerializeToString()),))
