"""`outpost run`: start, say so, serve until SIGTERM, stop in order."""

import asyncio
import errno
import fcntl
import json
import os
import signal
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from outpost.bootstrap.state import prepare_state, require_orgs, usable, wrap_key
from outpost.bootstrap.world import SystemChance
from outpost.core.errors import StoreError
from outpost.paths import StatePaths
from outpost.settings import ListenError, Settings, listening, with_state
from outpost.supervisor import Supervisor
from outpost.telemetry import Event, configure, emit

if TYPE_CHECKING:
    from outpost.single import Single

LOCK_WAIT_SECONDS = 5.0  # a killed outpost's children end within milliseconds; this is for slow disks
LOCK_POLL_SECONDS = 0.02


class StateInUseError(StoreError):
    """Another outpost runs on this state folder."""

    code = "state.in_use"


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        OutpostError: not enrolled, folder in use, bad settings: fatal, said once.
    """
    configure(settings.log_level)
    require_orgs(StatePaths(settings.state))
    paths = prepare_state(settings.state)
    with usable(paths.state):
        lock = await _lock(paths.run / "lock")
    _finish_wipes(paths)
    await wait_free(settings.host, settings.port)
    wrap_key(paths, SystemChance())
    if settings.uses_tls():
        from outpost.bootstrap import listener

        with usable(paths.state):
            listener.prepare_local_ca(settings)
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    outpost = _make(settings)
    try:
        starting = asyncio.create_task(outpost.start())
        await asyncio.sleep(0)  # the children start while this process imports its own servers
        from outpost.admin import server as admin

        await starting
        views = admin.Views(status=outpost.status, metrics=outpost.metrics_text)
        sockets = [await admin.serve_admin(paths.admin_socket, views)]
        with listening("metrics_port", settings.metrics_host, settings.metrics_port):
            runner, metrics_port = await admin.serve_metrics(settings.metrics_host, settings.metrics_port, views)
        sockets.append(runner)
        _announce(settings, outpost.port, metrics_port)
        await stopping.wait()
        emit(Event.STOPPING, pid=os.getpid())
        for item in sockets:
            await item.cleanup()
    finally:
        await outpost.stop()
        os.close(lock)
    emit(Event.STOPPED, pid=os.getpid())


def _finish_wipes(paths: StatePaths) -> None:
    """Finish what a signed lock order says, should a crash have interrupted it, before anything is served."""
    if any(paths.org(org).lock_mark.exists() for org in paths.orgs()):
        from outpost.sync.obey import finish_wipes  # brings cryptography; hardly any outpost needs it

        finish_wipes(paths)


def _make(settings: Settings) -> "Single | Supervisor":
    if settings.workers > 0:
        return Supervisor(settings)
    from outpost.single import Single  # brings all parts; a supervisor needs none of them

    return Single(settings)


def _announce(settings: Settings, port: int, metrics_port: int) -> None:
    secured = settings.uses_tls()
    emit(
        Event.STARTED,
        version=metadata.version("ai-outpost"),
        port=port,
        metrics_port=metrics_port,
        workers=settings.workers,
        tls=secured,
        pid=os.getpid(),
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    line = {
        "event": "ready",
        "url": f"{'https' if secured else 'http'}://{host}:{port}",
        "metrics": f"http://{settings.metrics_host}:{metrics_port}/metrics",
        "pid": os.getpid(),
    }
    if secured and settings.tls_certificate_file is None:
        line["ca"] = str(settings.state / "listener" / "ca.pem")  # what clients must trust
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def wait_free(host: str, port: int) -> None:
    """Wait until nobody listens on the port.

    Workers share it through SO_REUSEPORT, so without this look two outposts would share it too, and each would get half
    of the other's clients. Workers of a killed outpost close theirs within milliseconds.

    Raises:
        ListenError: somebody else listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_WAIT_SECONDS
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
            try:
                with listening("port", host, port):
                    probe.bind((host, port))
                return
            except ListenError as error:
                taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
                if not taken or loop.time() > deadline:
                    raise
        await asyncio.sleep(LOCK_POLL_SECONDS)


async def _lock(path: Path) -> int:
    """One outpost per state folder; the kernel releases the lock with the process.

    Raises:
        StateInUseError: another outpost holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        async with asyncio.timeout(LOCK_WAIT_SECONDS):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(LOCK_POLL_SECONDS)
                else:
                    return descriptor
    except TimeoutError as error:
        os.close(descriptor)
        raise StateInUseError(
            "another outpost runs on this state folder",
            field=str(path.parent.parent),
            next_step=with_state("outpost status", path.parent.parent),
        ) from error
