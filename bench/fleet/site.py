"""A control plane of real processes, and simulators beside it; whatever is started here ends with it."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import meters
from bench.fleet.identities import Enrolled, enroll_many
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.services.defaults import default_provider
from controlplane.settings import Settings

ORG = "fleet"
SHM = Path("/dev/shm")
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
LINE_BYTES = 64 * 1024 * 1024  # notes of thousands of outposts in one line
POLL_SECONDS = 0.05
SIMULATORS = 2


class BenchError(Exception):
    """A measurement that did not come to its end; says why."""


class Process:
    """A child that answers orders in JSON lines, or only says that it is ready."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, log: Path, *command: str, env: dict[str, str] | None = None) -> "Process":
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                limit=LINE_BYTES,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)
            return cls(process, json.loads(line))
        except (TimeoutError, json.JSONDecodeError):
            await _end(process)
            raise BenchError(f"{command[-3:]} did not start; its last words are in {log}") from None

    @property
    def pid(self) -> int:
        return self.process.pid

    async def order(self, do: str, **given: Any) -> dict[str, Any]:
        """One order, one answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with self._turn:
            self.process.stdin.write(json.dumps({"do": do, **given}).encode() + b"\n")
            await self.process.stdin.drain()
            line = await self.process.stdout.readline()
        if not line:
            raise BenchError("a simulator died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough."""
        await _end(self.process)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self.process.send_signal(signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
    await process.wait()


@dataclass
class Site:
    """A control plane with its fleet."""

    folder: Path
    plane: Plane
    replicas: list[Process]
    simulators: list[Process]
    outposts: list[Enrolled]

    def groups(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        return {
            "control plane": [each.pid for each in self.replicas],
            "simulators": [each.pid for each in self.simulators],
        }

    async def load(self, **options: Any) -> None:
        """Give each simulator its share of the outposts."""
        await self._share("load", **options)

    async def restart(self, **options: Any) -> None:
        """Let every outpost start anew from its folder."""
        await self._share("restart", **options)

    async def _share(self, do: str, **options: Any) -> None:
        folders = [{str(n): str(each.folder) for n, each in enumerate(self.outposts)}]
        count = len(self.simulators)
        shares = [{n: path for n, path in folders[0].items() if int(n) % count == k} for k in range(count)]
        await asyncio.gather(
            *(
                each.order(do, org=ORG, folders=share, **options)
                for each, share in zip(self.simulators, shares, strict=True)
            )
        )

    async def everyone(self, do: str, **given: Any) -> list[dict[str, Any]]:
        """The same order to all simulators."""
        return list(await asyncio.gather(*(each.order(do, **given) for each in self.simulators)))

    async def until(self, what: str, count: int, seconds: float, **given: Any) -> float:
        """Wait until so many outposts are linked or active; seconds that it took."""
        began = time.monotonic()
        while True:
            answers = await self.everyone("count", **given)
            if any(answer["failed"] for answer in answers):
                raise BenchError(f"an agent failed: {answers[0]['failed'][:1]}")
            found = sum(answer[what] for answer in answers)
            if found >= count:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise BenchError(f"{found} of {count} outposts are {what} after {seconds:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    async def notes(self) -> dict[int, dict[str, Any]]:
        """Notes of all outposts since the last time, by number."""
        found: dict[int, dict[str, Any]] = {}
        for answer in await self.everyone("notes"):
            found |= {int(number): notes for number, notes in answer["notes"].items()}
        return found

    def reading(self) -> meters.Reading:
        """CPU of all processes now."""
        return meters.reading(self.groups())


@asynccontextmanager
async def site(count: int, *, replicas: int = 1, database: str = "sqlite", **settings: Any) -> AsyncIterator[Site]:
    """Start a control plane and the simulators, with a fleet that is enrolled and not yet connected."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        memory = Path(tempfile.mkdtemp(prefix="fleet-", dir=SHM if SHM.is_dir() else None))
        stack.callback(shutil.rmtree, memory, ignore_errors=True)
        state = folder / "controlplane"
        await initialise(state, Settings(enroll_port=0, grpc_port=0, **settings), None)
        plane = await stack.enter_async_context(opened(state))
        await plane.publisher.create(ORG, [default_provider("http://127.0.0.1:9/v1", "provider")])
        found = Site(folder, plane, [], [], [])
        stack.push_async_callback(_stop, found)
        for number in range(replicas):
            found.replicas.append(await _serve(folder, state, number))
        endpoint = str(found.replicas[0].ready["grpc"])
        found.outposts += await enroll_many(plane, ORG, memory, count, endpoint)
        for number in range(SIMULATORS):
            log = folder / f"simulator-{number}.log"
            found.simulators.append(await Process.start(log, sys.executable, "-m", "bench.fleet.simulator"))
        yield found


async def _serve(folder: Path, state: Path, number: int) -> Process:
    log = folder / f"replica-{number}.log"
    return await Process.start(log, sys.executable, "-m", "controlplane", "serve", "--state", str(state))


async def _stop(found: Site) -> None:
    for each in [*found.simulators, *found.replicas]:
        if each in found.simulators and each.process.returncode is None:
            each.process.kill()
        with contextlib.suppress(ProcessLookupError):
            await each.stop()


def where(folder: Path) -> str:
    """Kind of file system of a folder, for the output."""
    best, kind = "", "?"
    for line in Path("/proc/mounts").read_text().splitlines():
        place, found = line.split()[1:3]
        if str(folder.resolve()).startswith(place.rstrip("/") + "/") and len(place) > len(best):
            best, kind = place, found
    return kind
