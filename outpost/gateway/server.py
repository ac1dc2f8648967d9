"""Listeners of a worker: clients (TLS, plain on loopback only) and metrics."""

import ipaddress
import socket
import ssl

from aiohttp import web

from outpost.core.errors import InternalError, OutpostError
from outpost.gateway.context import Gateway
from outpost.gateway.errors import MalformedHttpError, answer
from outpost.gateway.handlers import Handlers

KEEPALIVE_SECONDS = 75.0  # idle client connections; nginx's default
BACKLOG = 1_024  # connections that wait for accept
SERVER = "outpost"
STOP_SECONDS = 1.0  # for answers that are being written when the listener closes; streams were drained before


class PlainListenerError(InternalError):
    """A listener without TLS beyond loopback was asked for."""

    code = "settings.plain_listener"


def client_app(gateway: Gateway) -> web.Application:
    """Endpoints for clients, and probes."""
    app = web.Application()
    app.on_response_prepare.append(_name_server)
    Handlers(gateway).add_routes(app)
    return app


class _Connection(web.RequestHandler):
    """A connection whose protocol errors are answered in our shape.

    The library's own answer repeats the bytes that it could not read, a key among them, and names itself.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer for what no handler saw; the connection ends with it."""
        super().handle_error(request, status, exc, message)
        error: OutpostError = InternalError("internal error")
        if status < 500:
            error = MalformedHttpError("the request is not acceptable HTTP", next_step="check what sends it")
        made = answer(error, "")
        response = web.Response(body=made.body, status=made.status, headers=made.headers)
        response.headers["Server"] = SERVER
        del response.headers["X-Request-Id"]  # nothing was understood that could have one
        response.force_close()
        return response


class _Server(web.Server):
    """The library's server with our connections."""

    def __init__(self, made: web.Server) -> None:
        vars(self).update(vars(made))

    def __call__(self) -> web.RequestHandler:
        """Serve a connection that was just accepted."""
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server())


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Keep versions of libraries to ourselves."""
    response.headers["Server"] = SERVER


def metrics_app(gateway: Gateway) -> web.Application:
    """`/metrics` and probes, for a listener that clients do not reach."""
    app = web.Application()
    handlers = Handlers(gateway)
    app.router.add_get("/metrics", handlers.show_metrics)
    handlers.add_probes(app)
    return app


async def serve(gateway: Gateway, listener: socket.socket, tls: ssl.SSLContext | None) -> web.AppRunner:
    """Accept clients on a socket that is bound already.

    Args:
        gateway: the data path.
        listener: bound; port 0 was resolved by whoever bound it.
        tls: server context; without it only loopback.

    Returns:
        The running listener; ``cleanup`` closes it. Drain the gateway before.

    Raises:
        PlainListenerError: keys and prompts would cross a network in clear.
    """
    host = str(listener.getsockname()[0])
    if tls is None and not is_loopback(host):
        raise PlainListenerError(
            f"a listener without TLS is allowed on loopback only, not on {host}",
            field="host",
            next_step="set tls_certificate_file and tls_key_file, or listen on 127.0.0.1",
        )
    # A client that goes away cancels its handler: the provider is let go at once.
    runner = _Runner(
        client_app(gateway),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=STOP_SECONDS,
    )
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=tls, backlog=BACKLOG).start()
    return runner


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
