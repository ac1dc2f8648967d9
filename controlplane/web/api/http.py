"""The API over HTTP: one handler for every path, within limits of size and time, saying nothing of itself."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from aiohttp import web

from controlplane import telemetry
from controlplane.web.api.calls import Answer, Call
from controlplane.web.api.context import Origin
from controlplane.web.api.dispatch import Dispatcher
from controlplane.web.api.reading import body_of, check_head, query_of, token_of
from controlplane.web.api.registry import Match, allowed, match
from controlplane.web.problem import (
    MEDIA_TYPE,
    TYPED,
    AnswerTimeoutError,
    HttpMalformedError,
    MethodError,
    problem_of,
)

HEADERS_SECONDS: Final = 10.0  # until the first request of a connection has its headers
KEEPALIVE_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 30.0  # a whole request; a body alone may take as long
MAX_LINE_BYTES: Final = 8_190  # of the request line, and of one header
MAX_HEADERS: Final = 64
BACKLOG: Final = 256
STOP_SECONDS: Final = 2.0
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""OWASP REST Security Cheat Sheet: on every answer."""


class ApiHandler:
    """Answers every request.

    Args:
        new_id: makes request ids.
    """

    def __init__(self, dispatcher: Dispatcher, new_id: Callable[[], str]) -> None:
        self._dispatcher = dispatcher
        self._new_id = new_id

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        begun = time.monotonic()
        if isinstance(request.protocol, Connection):
            request.protocol.begun()
        request_id = self._new_id()
        found: Match | None = None
        try:
            check_head(request)
            found = match(request.method, request.rel_url.raw_path)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._dispatcher.answer(_call(request, found, request_id))
        except TYPED as error:
            problem = problem_of(error, request_id)
            headers = dict(problem.headers)
            if isinstance(error, MethodError):
                headers["Allow"] = ", ".join(allowed(request.rel_url.raw_path))
            answer = Answer(problem.status, problem.document, headers)
        except TimeoutError:
            late = AnswerTimeoutError(f"no answer within {ANSWER_SECONDS:g} s", next_step="look, then try again")
            problem = problem_of(late, request_id)
            answer = Answer(problem.status, problem.document, problem.headers)
        telemetry.log(
            telemetry.Event.API_REQUEST,
            method=request.method if found else "-",
            route=found.operation.path if found else "-",
            status=answer.status,
            duration_ms=int((time.monotonic() - begun) * 1000),
            source=source_of(request),
            request_id=request_id,
        )
        return response_of(answer, request_id)


class BareResponse(web.Response):
    """An answer that does not name the library and its version."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def source_of(request: web.BaseRequest) -> str:
    """Address of the caller; empty when the connection is gone."""
    return request.remote or ""


def response_of(answer: Answer, request_id: str) -> web.Response:
    """An answer as HTTP."""
    problem = "type" in answer.document and answer.status >= 400
    response = BareResponse(
        body=orjson.dumps(answer.document),
        status=answer.status,
        headers={**SECURITY_HEADERS, "X-Request-Id": request_id, **answer.headers},
        content_type=MEDIA_TYPE if problem else "application/json",
    )
    if answer.status in (408, 413, 431):
        response.force_close()  # what is left of the request is not read
    return response


def _call(request: web.Request, found: Match, request_id: str) -> Call:
    async def read_body() -> Mapping[str, object]:
        return await body_of(request, found.operation)

    return Call(
        operation=found.operation,
        origin=Origin(source_of(request), request_id),
        path=found.values,
        query=query_of(request),
        read_body=read_body,
        token=token_of(request),
        idempotency_key=request.headers.get("Idempotency-Key", ""),
        if_match=request.headers.get("If-Match", ""),
    )


class Connection(web.RequestHandler):
    """A connection that has to say something soon, and whose protocol errors are answered in our shape.

    The library's own answer repeats bytes that it could not read, and names itself.
    """

    __slots__ = ("_deadline",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HEADERS_SECONDS, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop waiting."""
        self._deadline.cancel()
        super().connection_lost(exc)

    def begun(self) -> None:
        """The first request has its headers."""
        self._deadline.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer for what no handler saw; the connection ends with it."""
        super().handle_error(request, status, exc, message)
        error: Exception = RuntimeError("internal error")
        if status < 500:
            error = HttpMalformedError("the request is not acceptable HTTP", next_step="check what sends it")
        problem = problem_of(error, "none")
        response = response_of(Answer(problem.status, problem.document, problem.headers), "none")
        response.force_close()
        return response


class _Server(web.Server):
    """The library's server with our connections."""

    def __init__(self, made: web.Server) -> None:
        vars(self).update(vars(made))

    def __call__(self) -> web.RequestHandler:
        """Serve a connection that was just accepted."""
        return Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server())


async def start(handler: ApiHandler, host: str, port: int, tls: ssl.SSLContext) -> tuple[web.AppRunner, int]:
    """Listen.

    Returns:
        The running listener, whose ``cleanup`` ends it, and its port.

    Raises:
        OSError: the address cannot be listened on.
    """
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler.handle)
    runner = _Runner(
        app,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
        max_headers=MAX_HEADERS,
        shutdown_timeout=STOP_SECONDS,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls, backlog=BACKLOG)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])
