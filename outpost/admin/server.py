"""What people and probes on the machine itself may ask: the admin socket, and the listener for metrics and health.

The admin socket lies in a folder with mode 0700, and the peer's user must be ours or root (SO_PEERCRED).
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from outpost.ipc import sockets

SHUTDOWN_SECONDS = 0.5
PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of socket(7)


@dataclass(frozen=True, slots=True)
class Views:
    """Where the answers come from."""

    status: Callable[[], dict[str, Any]]
    metrics: Callable[[], Awaitable[bytes]]


async def serve_admin(path: Path, views: Views) -> web.AppRunner:
    """Serve ``GET /status`` on a Unix socket."""

    async def status(request: web.Request) -> web.Response:
        return web.json_response(views.status())

    app = web.Application(middlewares=[_own_user_only])
    app.router.add_get("/status", status)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.SockSite(runner, sockets.listen(path)).start()
    return runner


async def serve_metrics(host: str, port: int, views: Views) -> tuple[web.AppRunner, int]:
    """Serve ``GET /metrics`` and ``GET /healthz``.

    Returns:
        The runner and the port that was bound.
    """

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=await views.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, int(runner.addresses[0][1])


@web.middleware
async def _own_user_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    peer: socket.socket | None = request.transport.get_extra_info("socket") if request.transport else None
    if peer is None:
        raise web.HTTPForbidden
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    if PEER_CREDENTIALS.unpack(raw)[1] not in {0, os.geteuid()}:
        raise web.HTTPForbidden
    return await handler(request)
