"""The supervisor: starts the ledger, the agent and the workers, restarts what dies, relays between agent and workers.

It holds no program, no key and no prompt. Children find it through the control socket; when it dies, their sockets
close and they end.
"""

import asyncio
import contextlib
import os
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

from outpost.admin import metrics
from outpost.admin.views import join_views
from outpost.core.errors import InternalError
from outpost.ipc import control, frames
from outpost.paths import StatePaths
from outpost.settings import ListenError, Settings, listening
from outpost.telemetry import Event, emit

RESTART_FIRST_SECONDS = 0.05
RESTART_CAP_SECONDS = 1.0
STABLE_SECONDS = 10.0  # a child that lived so long starts with the first wait again
PREPARE_TIMEOUT_SECONDS = 5.0  # a worker that cannot load a set in this time is replaced
START_TIMEOUT_SECONDS = 30.0
WORKER_STOP_SECONDS = 3.5  # streams get 3 s to end, then an error event
OTHER_STOP_SECONDS = 1.0
METRICS_TIMEOUT_SECONDS = 1.0


class StartError(InternalError):
    """A process of the outpost did not come up."""

    code = "outpost.start"


class ActivationRefusedError(InternalError):
    """A worker cannot use a new set; whether it could later, the worker said."""

    code = "bundle.worker_refused"

    def __init__(self, refusal: control.RemoteError) -> None:
        super().__init__(refusal.message, field=refusal.remote_code)
        self._is_fatal = refusal.remote_fatal

    def as_dict(self) -> dict[str, str | bool]:
        """Fields for a JSON answer or a log line."""
        return {**super().as_dict(), "fatal": self._is_fatal}


@dataclass(slots=True)
class Child:
    """One child process, over its restarts."""

    role: str
    index: int
    process: asyncio.subprocess.Process | None = None
    link: control.Link | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    missed: set[tuple[str, str]] = field(default_factory=set)  # kind and org of what was said while it was coming up


class Supervisor:
    """One outpost in several processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = StatePaths(settings.state)
        self._ledger = Child("ledger", 0)
        self._agent = Child("agent", 0)
        self._workers = [Child("worker", index) for index in range(settings.workers)]
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._health: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        self._metrics = metrics.Merger()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Start everything; returns when every child has reported.

        Raises:
            StartError: a child did not come up; names it.
        """
        self._reserved = reserve(self._settings.host, self._settings.port)
        self.port = self._reserved.getsockname()[1]
        self._server = await control.serve(self._paths.control_socket, self._on_link)
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                for together in ((self._ledger, *self._workers), (self._agent,)):  # service first: it needs no agent
                    for child in together:
                        self._keep(child)
                    for child in together:
                        await child.ready.wait()
        except TimeoutError as error:
            down = [f"{child.role} {child.index}" for child in self._children() if not child.ready.is_set()]
            raise StartError(
                f"not every process came up within {START_TIMEOUT_SECONDS:.0f} s: {', '.join(down)}",
                next_step="read the log lines above; outpost doctor",
            ) from error

    async def stop(self) -> None:
        """Drain the workers, then the agent, then the ledger: nothing is recorded after the ledger has gone."""
        self._stopping = True
        await asyncio.gather(*(self._end(worker, WORKER_STOP_SECONDS) for worker in self._workers))
        await self._end(self._agent, OTHER_STOP_SECONDS)
        await self._end(self._ledger, OTHER_STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()

    def status(self) -> dict[str, Any]:
        """What `outpost status` shows: processes, and per org what the agent knows."""
        children = self._children()
        return {
            "schema": "outpost.status/1",
            "pid": os.getpid(),
            "port": self.port,
            "orgs": join_views(self._health, self._states),
            "processes": [
                {
                    "role": child.role,
                    "index": child.index,
                    "pid": child.process.pid if child.process is not None else 0,
                    "ready": child.ready.is_set(),
                    "starts": child.starts,
                    **child.info,
                }
                for child in children
            ],
        }

    async def metrics_text(self) -> bytes:
        """Metrics of all workers as one text."""
        links = [(child.index, child.link) for child in self._workers if child.link is not None]
        answers = await asyncio.gather(
            *(link.call({"type": "metrics"}, METRICS_TIMEOUT_SECONDS) for _, link in links), return_exceptions=True
        )
        for (index, _), answer in zip(links, answers, strict=True):
            if isinstance(answer, str):
                self._metrics.update(f"{index}-{self._workers[index].starts}", answer)
        return self._metrics.render()

    # processes

    def _keep(self, child: Child) -> None:
        task = asyncio.create_task(self._run_child(child))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _run_child(self, child: Child) -> None:
        wait = RESTART_FIRST_SECONDS
        loop = asyncio.get_running_loop()
        while not self._is_stopping():
            began = loop.time()
            child.starts += 1
            code = await self._run_once(child)
            child.ready.clear()
            child.link = None
            if self._is_stopping():
                return
            wait = RESTART_FIRST_SECONDS if loop.time() - began > STABLE_SECONDS else min(RESTART_CAP_SECONDS, wait * 2)
            emit(Event.CHILD_EXITED, 30, role=child.role, index=child.index, exit_code=code, wait_ms=int(wait * 1000))
            await asyncio.sleep(wait)

    async def _run_once(self, child: Child) -> int:
        """Start a process and wait for its end; returns its exit status."""
        try:
            child.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "outpost", "_child", child.role, str(child.index)),
                str(self._paths.control_socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,  # standard output is the supervisor's: one ready line
            )
        except OSError as error:  # no memory, no more processes: both pass
            return -(error.errno or 1)
        emit(Event.CHILD_STARTED, role=child.role, index=child.index, pid=child.process.pid)
        try:
            return await child.process.wait()
        except asyncio.CancelledError:  # started while the others were being stopped
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
            raise

    async def _end(self, child: Child, grace_seconds: float) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), grace_seconds)
            except TimeoutError:
                process.kill()
                await process.wait()

    # control socket

    async def _on_link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        child: Child | None = None

        async def handle(frame: frames.Frame) -> Any:
            nonlocal child
            if frame["type"] == "hello":
                child = self._child(str(frame["role"]), int(frame["index"]))
                child.link = link
                return {"settings": self._settings.model_dump(mode="json"), "port": self.port}
            if child is None:
                raise InternalError("a child spoke before it said hello")
            return await self._on_frame(child, frame)

        link = control.Link(reader, writer, handle)
        await link.run()

    def _children(self) -> tuple[Child, ...]:
        return (self._ledger, self._agent, *self._workers)

    def _child(self, role: str, index: int) -> Child:
        for child in self._children():
            if (child.role, child.index) == (role, index):
                return child
        raise InternalError("a process said hello that the supervisor did not start")

    async def _on_frame(self, child: Child, frame: frames.Frame) -> Any:
        kind = frame["type"]
        if kind == "ready":
            child.info = frame.get("info", {})
            child.ready.set()
            if child.role == "worker":
                self._tell_worker(child)
                self._catch_up(child)
            self._tell_agent()
            return None
        if kind == "states":
            self._states = frame["orgs"]
            self._tell_agent()
            return None
        if kind == "health":
            self._health = frame["orgs"]
            for worker in self._workers:
                self._tell_worker(worker)
            return None
        if kind in {"prepare", "commit", "lock"}:
            return await self._fan_out(frame)
        raise InternalError(f"unknown frame type from {child.role}")

    def _tell_worker(self, worker: Child) -> None:
        if worker.link is not None:
            worker.link.cast({"type": "health", "orgs": self._health})

    def _catch_up(self, worker: Child) -> None:
        """Say what was said between the moment when it read the state folder and the moment when it was ready."""
        assert worker.link is not None  # the ready frame came through it
        for kind, org in sorted(worker.missed):  # a commit before a lock
            worker.link.cast({"type": kind, "org": org})
        worker.missed.clear()

    def _tell_agent(self) -> None:
        if self._agent.link is not None:
            ready = sum(worker.ready.is_set() for worker in self._workers)
            fleet = {"workers": len(self._workers), "workers_ready": ready, "states": self._states}
            self._agent.link.cast({"type": "fleet", **fleet})

    async def _fan_out(self, frame: frames.Frame) -> None:
        """Ask every worker that is up; one that is late is replaced, one that refuses refuses for all."""
        message = {key: value for key, value in frame.items() if key != "id"}
        if frame["type"] != "prepare":
            for worker in self._workers:
                if not worker.ready.is_set():
                    worker.missed.add((str(frame["type"]), str(frame["org"])))
        asked = [(worker, worker.link) for worker in self._workers if worker.ready.is_set()]
        await asyncio.gather(*(self._ask(worker, link, message) for worker, link in asked if link is not None))

    async def _ask(self, worker: Child, link: control.Link, message: frames.Frame) -> None:
        try:
            await link.call(message, PREPARE_TIMEOUT_SECONDS)
        except frames.PeerGoneError:
            return  # it died: when it comes back it loads what is active then
        except TimeoutError:
            emit(Event.CHILD_REPLACED, 30, role=worker.role, index=worker.index)
            worker.ready.clear()
            if worker.process is not None and worker.process.returncode is None:
                worker.process.kill()
        except control.RemoteError as error:
            raise ActivationRefusedError(error) from error


def reserve(host: str, port: int) -> socket.socket:
    """A bound, not listening socket: fixes the port that all workers share through SO_REUSEPORT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        with listening("port", host, port):
            reserved.bind((host, port))
    except ListenError:
        reserved.close()
        raise
    return reserved
