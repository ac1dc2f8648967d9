"""What each process of `outpost run` does, and how it talks to the supervisor.

A child ends when its control connection closes: there is no outpost without a supervisor.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from outpost import settings as configuration
from outpost.bootstrap import listener
from outpost.bootstrap.world import SystemChance, SystemClock
from outpost.core.errors import InternalError
from outpost.ipc import control, frames
from outpost.paths import StatePaths
from outpost.settings import Settings
from outpost.telemetry import configure

HELLO_TIMEOUT_SECONDS = 10.0
ACTIVATE_TIMEOUT_SECONDS = 15.0  # above the supervisor's own patience with workers
REPORT_SECONDS = 1.0
ORPHANED = 1  # exit status that nobody is left to read

FrameHandler = Callable[[frames.Frame], Awaitable[Any]]


class Child:
    """Connection of a child: settings come down it, everything else goes both ways."""

    def __init__(self, role: str, index: int, socket_path: Path) -> None:
        self._role = role
        self._index = index
        self._path = socket_path
        self._handlers: dict[str, FrameHandler] = {}
        self.stopping = asyncio.Event()
        self.link: control.Link

    def on(self, kind: str, handler: FrameHandler) -> None:
        """Serve one type of frame."""
        self._handlers[kind] = handler

    async def connect(self) -> tuple[Settings, int, asyncio.Task[None]]:
        """Say hello; returns settings, the shared port and the task that ends with the connection."""
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, self.stopping.set)
        self.link = await control.connect(self._path, self._handle)
        running = asyncio.create_task(self.link.run())
        running.add_done_callback(lambda _: self._orphaned())
        hello = {"type": "hello", "role": self._role, "index": self._index, "pid": os.getpid()}
        answer = await self.link.call(hello, HELLO_TIMEOUT_SECONDS)
        settings = configuration.check(answer["settings"])
        configure(settings.log_level)
        return settings, int(answer["port"]), running

    def _orphaned(self) -> None:
        """The supervisor is gone. Another may be starting: the port is free at once, only the ledger tidies up."""
        if self._role != "ledger" and not self.stopping.is_set():
            os._exit(ORPHANED)  # no handler may hold the port any longer
        self.stopping.set()

    def ready(self, **info: Any) -> None:
        """Tell the supervisor that this process does its work."""
        self.link.cast({"type": "ready", "info": info})

    async def _handle(self, frame: frames.Frame) -> Any:
        handler = self._handlers.get(frame["type"])
        if handler is None:
            raise InternalError(f"a {self._role} does not serve frames of this type")
        return await handler(frame)


async def run(role: str, index: int, socket_path: Path) -> None:
    """Run one child until SIGTERM or until the supervisor is gone."""
    child = Child(role, index, socket_path)
    work = {"worker": _worker, "ledger": _ledger, "agent": _agent}[role]
    await work(child, index)


async def _ledger(child: Child, index: int) -> None:
    from outpost.ledger.door import LedgerServer
    from outpost.ledger.ledger import Ledger

    settings, _, running = await child.connect()
    paths = StatePaths(settings.state)
    ledger = Ledger(paths.state / "orgs")
    await asyncio.to_thread(ledger.open_all)
    server = await LedgerServer(ledger).start(paths.ledger_socket)
    child.ready()
    await child.stopping.wait()
    server.close()
    await asyncio.to_thread(ledger.close)
    await _end(running)


async def _worker(child: Child, index: int) -> None:
    from outpost.bootstrap.detectors import load_scanner
    from outpost.bootstrap.state import wrap_key
    from outpost.bootstrap.worker import Worker, World
    from outpost.ledger.door import LedgerClient

    settings, port, running = await child.connect()
    paths = StatePaths(settings.state)
    ledger = LedgerClient(paths.ledger_socket)
    scanner = load_scanner(paths, wrap_key(paths, SystemChance()), SystemChance())
    worker = Worker(settings, World(SystemClock(), SystemChance(), ledger), scanner)

    _listen(child, worker)
    runner = await worker.serve(listener.share(settings.host, port), listener.tls_context(settings))
    child.ready(states=worker.states())
    jobs = [asyncio.create_task(worker.keep_canary())]
    if index == 0:
        jobs += [asyncio.create_task(worker.watch_states()), asyncio.create_task(_report_states(child, worker))]
    await child.stopping.wait()
    for job in jobs:
        job.cancel()
    await worker.close()
    await runner.cleanup()
    await ledger.close()
    await _end(running)


def _listen(child: Child, worker: Any) -> None:
    """Do what the supervisor says."""

    async def prepare(frame: frames.Frame) -> None:
        await worker.prepare(str(frame["org"]), str(frame["slot"]))

    async def commit(frame: frames.Frame) -> None:
        await worker.commit(str(frame["org"]))

    async def lock(frame: frames.Frame) -> None:
        await worker.lock(str(frame["org"]))

    async def health(frame: frames.Frame) -> None:
        worker.health(frame["orgs"])

    async def metrics(frame: frames.Frame) -> str:
        return str(worker.gateway.metrics.render().decode())

    for handler in (prepare, commit, lock, health, metrics):
        child.on(handler.__name__, handler)


async def _report_states(child: Child, worker: Any) -> None:
    while True:
        child.link.cast({"type": "states", "orgs": worker.states()})
        await asyncio.sleep(REPORT_SECONDS)


async def _agent(child: Child, index: int) -> None:
    from outpost.bootstrap.agents import Agents, Shared
    from outpost.bootstrap.detectors import load_scanner
    from outpost.bootstrap.state import wrap_key
    from outpost.ledger.door import LedgerClient

    fleet = Fleet()
    child.on("fleet", fleet.told)
    settings, _, running = await child.connect()
    paths = StatePaths(settings.state)
    ledger = LedgerClient(paths.ledger_socket)
    key = wrap_key(paths, SystemChance())
    agents = Agents(
        Shared(
            settings=settings,
            paths=paths,
            wrap_key=key,
            ledger=ledger,
            activator=RemoteWorkers(child),
            scanner=load_scanner(paths, key, SystemChance()),
            clock=SystemClock(),
            chance=SystemChance(),
            publish=lambda orgs: child.link.cast({"type": "health", "orgs": orgs}),
            fleet=lambda: (fleet.workers, fleet.ready),
            state=lambda org: fleet.states.get(org, "ENROLLED"),
            running=lambda org: fleet.running.get(org, {}),
        )
    )
    job = asyncio.create_task(agents.run())
    job.add_done_callback(lambda _: child.stopping.set())
    child.ready()
    await child.stopping.wait()
    job.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await job
    await ledger.close()
    await _end(running)


class Fleet:
    """What the supervisor tells of the workers."""

    def __init__(self) -> None:
        self.workers = 0
        self.ready = 0
        self.states: dict[str, str] = {}
        self.running: dict[str, Any] = {}

    async def told(self, frame: frames.Frame) -> None:
        """Take a frame."""
        self.workers, self.ready = int(frame["workers"]), int(frame["workers_ready"])
        self.states = {org: str(item["state"]) for org, item in frame["states"].items()}
        self.running = {org: item.get("running", {}) for org, item in frame["states"].items()}


class ActivationLateError(InternalError):
    """The workers did not load a new set in time; a machine that is less busy may."""

    code = "bundle.activation_late"
    fatal = False


class RemoteWorkers:
    """``Activator`` over the supervisor."""

    def __init__(self, child: Child) -> None:
        self._child = child

    async def prepare(self, org: str, slot: str) -> None:
        """Every worker loads and tries the slot."""
        await self._call({"type": "prepare", "org": org, "slot": slot})

    async def commit(self, org: str) -> None:
        """Every worker uses it."""
        await self._call({"type": "commit", "org": org})

    async def lock(self, org: str) -> None:
        """Every worker refuses from now on."""
        await self._call({"type": "lock", "org": org})

    async def _call(self, frame: Mapping[str, Any]) -> None:
        try:
            await self._child.link.call(dict(frame), ACTIVATE_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise ActivationLateError("the supervisor did not answer in time") from error


async def _end(running: "asyncio.Task[None]") -> None:
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
