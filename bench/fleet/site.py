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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.fleet import meters, postgres
from bench.fleet.identities import Enrolled, enroll_many
from certs.shell.private_files import create_private_file
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.domain.quotas import Quotas
from controlplane.domain.rollout_terms import RolloutTerms
from controlplane.services.defaults import default_provider
from controlplane.settings import Settings

ORG = "fleet"
SHM = Path("/dev/shm")
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
LINE_BYTES = 64 * 1024 * 1024  # notes of thousands of outposts in one line
POLL_SECONDS = 0.05
SIMULATORS = 2
PORTS = {"enroll_port": 0, "grpc_port": 0, "api": False}  # any
DATABASE = os.environ.get("DATABASE") or ("postgres" if postgres.programs() is not None else "sqlite")


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
        except asyncio.CancelledError:
            process.kill()
            raise

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

    async def is_gone(self) -> bool:
        """Whether it ended; one that was killed is waited for."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), 0.5)
        return self.process.returncode is not None

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


class Commits:
    """A store that notes the moment just before a transaction is committed."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.moment = 0.0

    def for_org(self, org: str) -> "_TimedSpace":
        return _TimedSpace(self, self._store.for_org(org))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _TimedSpace:
    def __init__(self, commits: Commits, space: Any) -> None:
        self._commits, self._space = commits, space

    @asynccontextmanager
    async def write(self, *given: Any) -> AsyncIterator[Any]:
        async with self._space.write(*given) as transaction:
            yield transaction
            self._commits.moment = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._space, name)


@dataclass
class Site:
    """A control plane with its fleet."""

    folder: Path
    plane: Plane
    replicas: list[Process]
    simulators: list[Process]
    outposts: list[Enrolled]
    commits: Commits
    states: list[Path]
    ports: list[int]
    database: postgres.Postgres | None = None

    def groups(self) -> dict[str, list[int]]:
        """Process ids by what they are."""
        return {
            "control plane": [each.pid for each in self.replicas],
            "simulators": [each.pid for each in self.simulators],
            "database": self.database.pids() if self.database is not None else [],
        }

    def logs(self) -> list[Path]:
        """Log of each replica."""
        return [_log(self.folder, number) for number in range(len(self.replicas))]

    async def serve_again(self) -> None:
        """Start the replicas that are gone, each where it was."""
        for number, each in enumerate(self.replicas):
            if await each.is_gone():
                self.replicas[number] = await _serve(self.folder, self.states[number], number, self.ports[number])

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

    async def connect(self, first: int | None = None, per_second: float = 0.0, seconds: float = 120.0) -> float:
        """Let agents run, all or the first so many, until they are linked; seconds that it took."""
        share = per_second / len(self.simulators)
        began = time.monotonic()
        await self.everyone("start", below=first, per_second=share)
        await self.until("linked", len(self.outposts) if first is None else first, seconds)
        return time.monotonic() - began

    async def until(self, what: str, count: int, seconds: float, **given: Any) -> float:
        """Wait until so many outposts are linked or active; seconds that it took."""
        began = time.monotonic()
        while True:
            answers = await self.everyone("count", **given)
            if any(answer["failed"] for answer in answers):
                raise BenchError(f"an agent failed: {[answer['failed'][:1] for answer in answers]}")
            found = sum(answer[what] for answer in answers)
            if found >= count:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise BenchError(f"{found} of {count} outposts are {what} after {seconds:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    async def until_stored(self, revision: str, seconds: float) -> float:
        """Wait until the store says of every outpost that a revision is active; the moment."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            async with self.plane.store.for_org(ORG).read() as transaction:
                words = await transaction.releases.deliveries()
            if sum(word.state == "active" and word.revision == revision for word in words) == len(self.outposts):
                return time.monotonic()
            await asyncio.sleep(POLL_SECONDS)
        raise BenchError("not every acknowledgement is in the store")

    async def notes(self, only: list[int] | None = None) -> dict[int, dict[str, Any]]:
        """Notes since the last time by number, of all outposts or of some."""
        found: dict[int, dict[str, Any]] = {}
        for answer in await self.everyone("notes", only=only):
            found |= {int(number): notes for number, notes in answer["notes"].items()}
        return found

    async def stop_agents(self) -> None:
        """End the simulators at once, as if the network were cut: their goodbye is not what is measured."""
        for each in self.simulators:
            each.kill()
            await each.process.wait()

    @property
    def committed(self) -> float:
        """The moment just before the newest publication was committed."""
        return self.commits.moment

    def reading(self) -> meters.Reading:
        """CPU of all processes now."""
        return meters.reading(self.groups())


@asynccontextmanager
async def site(count: int, *, replicas: int = 1, **settings: Any) -> AsyncIterator[Site]:
    """Start a control plane and the simulators, with a fleet that is enrolled and not yet connected."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        memory = Path(tempfile.mkdtemp(prefix="fleet-", dir=SHM if SHM.is_dir() else None))
        stack.callback(shutil.rmtree, memory, ignore_errors=True)
        database = stack.enter_context(postgres.running_server()) if DATABASE == "postgres" else None
        states = await _initialise(folder, database, replicas, settings)
        plane = await stack.enter_async_context(opened(states[0]))
        await plane.publisher.create(ORG, [default_provider("http://127.0.0.1:9/v1", "provider")])
        await _raise_quotas(plane)
        commits: Any = Commits(plane.store)
        plane.publisher._store = commits
        found = Site(folder, plane, [], [], [], commits, states, [], database)
        stack.push_async_callback(_stop, found)
        for number, state in enumerate(states):
            found.ports.append(postgres.free_port())
            found.replicas.append(await _serve(folder, state, number, found.ports[number]))
        endpoints = tuple(str(each.ready["grpc"]) for each in found.replicas)
        enroll_endpoint = str(found.replicas[0].ready["enroll"])
        found.outposts += await enroll_many(plane, (ORG, enroll_endpoint), memory, count, endpoints)
        for number in range(SIMULATORS):
            log = folder / f"simulator-{number}.log"
            found.simulators.append(await Process.start(log, sys.executable, "-m", "bench.fleet.simulator"))
        yield found


async def _initialise(
    folder: Path, database: postgres.Postgres | None, replicas: int, settings: dict[str, Any]
) -> list[Path]:
    """A state folder for each replica: the same settings, the same key-encryption key, one database."""
    states = [folder / f"controlplane-{number}" for number in range(replicas)]
    if database is None:
        if replicas > 1:
            raise BenchError("several replicas need DATABASE=postgres")
        await initialise(states[0], Settings(**{**PORTS, **settings}), None)
        return states
    await database.create_database()
    urls = folder / "app.url", folder / "owner.url"
    for path, role in zip(urls, (postgres.APP, postgres.OWNER), strict=True):
        create_private_file(path, database.url(role).encode())
    made = Settings(**{**PORTS, **settings}, database_url_file=str(urls[0]))
    await initialise(states[0], made, None, urls[1])
    for state in states[1:]:
        state.mkdir(mode=0o700)
        for name in ("controlplane.toml", "kek"):
            create_private_file(state / name, (states[0] / name).read_bytes())
    return states


async def _raise_quotas(plane: Plane) -> None:
    """The replica's own limits are what is measured, not the default ones of an org."""
    async with plane.store.for_org(ORG).write() as transaction:
        await transaction.quotas.put(replace(Quotas(), connects_per_second=100_000, outposts=100_000))
        await transaction.plans.put_terms(RolloutTerms(soak_seconds=86_400))  # nothing is signed but by the bench


async def _serve(folder: Path, state: Path, number: int, port: int) -> Process:
    command = (sys.executable, "-m", "controlplane", "serve", "--state", str(state))
    return await Process.start(_log(folder, number), *command, env={"CONTROLPLANE_GRPC_PORT": str(port)})


def _log(folder: Path, number: int) -> Path:
    return folder / f"replica-{number}.log"


async def _stop(found: Site) -> None:
    for each in [*found.simulators, *found.replicas]:
        if each in found.simulators and each.process.returncode is None:
            each.process.kill()
        with contextlib.suppress(ProcessLookupError):
            await each.stop()
