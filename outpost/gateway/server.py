"""Listeners of a worker: clients (TLS, plain on loopback only) and metrics."""

import ipaddress
import socket
import ssl

from aiohttp import web

from outpost.core.errors import InternalError
from outpost.gateway.context import Gateway
from outpost.gateway.handlers import Handlers

KEEPALIVE_SECONDS = 75.0  # idle client connections; nginx's default
BACKLOG = 1_024  # connections that wait for accept
STOP_SECONDS = 1.0  # for answers that are being written when the listener closes; streams were drained before


class PlainListenerError(InternalError):
    """A listener without TLS beyond loopback was asked for."""

    code = "settings.plain_listener"


def client_app(gateway: Gateway) -> web.Application:
    """Endpoints for clients, and probes."""
    app = web.Application()
    Handlers(gateway).add_routes(app)
    return app


def metrics_app(gateway: Gateway) -> web.Application:
    """`/metrics` and probes, for a listener that clients do not reach."""
    app = web.Application()
    handlers = Handlers(gateway)
    app.router.add_get("/metrics", handlers.show_metrics)
    handlers.add_probes(app)
    return app


class Listener:
    """One listening socket with an application behind it."""

    def __init__(self, app: web.Application) -> None:
        # A client that goes away cancels its handler: the provider is let go at once.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None, *, reuse_port: bool = False) -> None:
        """Listen.

        Args:
            host: address; without ``tls`` only loopback.
            port: 0 takes a free one.
            tls: server context.
            reuse_port: share the port with other workers.

        Raises:
            PlainListenerError: keys and prompts would cross a network in clear.
        """
        if tls is None and not is_loopback(host):
            raise PlainListenerError(
                f"a listener without TLS is allowed on loopback only, not on {host}",
                field="host",
                next_step="set tls_certificate_file and tls_key_file, or listen on 127.0.0.1",
            )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, host, port, ssl_context=tls, backlog=BACKLOG, reuse_port=True if reuse_port else None
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def start_on(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Listen on a socket that somebody else has bound.

        Raises:
            PlainListenerError: see ``start``.
        """
        host = sock.getsockname()[0]
        if tls is None and not is_loopback(host):
            raise PlainListenerError("a listener without TLS is allowed on loopback only", field="host")
        await self._runner.setup()
        await web.SockSite(self._runner, sock, ssl_context=tls, backlog=BACKLOG).start()
        self.port = sock.getsockname()[1]

    async def close(self) -> None:
        """Close the socket, then what is left of its connections."""
        await self._runner.cleanup()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
