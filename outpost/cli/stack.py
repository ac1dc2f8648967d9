"""A whole installation on one machine: control plane, provider and outpost as separate programs in one folder.

Used by the demo and by the end-to-end tests. Every program prints one JSON line on standard output when it is ready,
so nothing here waits by guess.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outpost.core.errors import InternalError

if TYPE_CHECKING:
    import ssl

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
PROBE_SECONDS = 0.05


class ProgramError(InternalError):
    """A program of the stack failed; its last words are in the log file that is named."""

    code = "stack.program"


class Program:
    """A program that runs until it is stopped."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.name = name
        self.process = process
        self.ready = ready

    @classmethod
    async def start(cls, name: str, log: Path, arguments: Sequence[str]) -> "Program":
        """Start and wait for the ready line.

        Raises:
            ProgramError: it ended or said nothing.
        """
        with log.open("ab") as sink:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=sink, start_new_session=True
            )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)
            return cls(name, process, json.loads(line))
        except (TimeoutError, json.JSONDecodeError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise ProgramError(f"{name} did not start", field=str(log)) from error

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL when that is not enough; returns the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Stack:
    """Programs and folders of one installation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controlplane_state = folder / "controlplane"
        self.programs: dict[str, Program] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def command(self, *arguments: str, status: int = 0, text: str | None = None) -> str:
        """Run a command to its end; returns standard output.

        Raises:
            ProgramError: another exit status than the expected one; carries standard error.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate(text.encode() if text is not None else None)
        if process.returncode != status:
            shown = " ".join(arguments[:3])
            raise ProgramError(f"{shown} ended with {process.returncode}: {errors.decode(errors='replace').strip()}")
        return out.decode()

    async def controlplane(self, *arguments: str, status: int = 0) -> str:
        """A `controlplane` command on this installation."""
        return await self.command("controlplane", *arguments, "--state", str(self.controlplane_state), status=status)

    async def start(self, name: str, *arguments: str) -> Program:
        """Start a program that keeps running."""
        program = await Program.start(name, self.folder / f"{name}.log", arguments)
        self.programs[name] = program
        return program

    async def start_provider(self) -> str:
        """A pretended provider; returns its base URL."""
        program = await self.start("provider", "outpost", "simulate-provider", "--port", "0")
        return str(program.ready["url"])

    async def start_controlplane(self) -> Program:
        """`controlplane init` when needed, then `serve` on the same ports as before."""
        if not (self.controlplane_state / "registry.db").exists():
            ports = {name: str(free_port()) for name in ("--enroll-port", "--grpc-port", "--api-port")}
            await self.controlplane("init", *(word for pair in ports.items() for word in pair))
        return await self.start("controlplane", "controlplane", "serve", "--state", str(self.controlplane_state))

    def outpost_state(self, name: str = "outpost") -> Path:
        """State folder of an outpost."""
        return self.folder / name

    async def enroll(self, org: str, name: str = "outpost") -> None:
        """Register an outpost and enroll it."""
        token = self.folder / f"{name}-{org}.token"
        await self.controlplane("outpost", "register", name, "--org", org, "--token-file", str(token))
        await self.command("outpost", "enroll", "--state", str(self.outpost_state(name)), "--token-file", str(token))
        token.unlink()

    async def create_key(self, org: str, *options: str, name: str = "developer") -> str:
        """A client key."""
        out = await self.controlplane("key", "create", name, "--org", org, *options, "--output", "json")
        return str(json.loads(out)["key"])

    async def start_outpost(self, name: str = "outpost", *options: str) -> Program:
        """`outpost run` on free ports."""
        state = str(self.outpost_state(name))
        return await self.start(
            *(name, "outpost", "run", "--state", state, "--host", "127.0.0.1"),
            *("--port", "0", "--metrics-port", "0", *options),
        )

    async def stop(self) -> None:
        """Stop everything, the outposts first."""
        order = sorted(self.programs.values(), key=lambda program: program.name in {"controlplane", "provider"})
        for program in order:
            await program.stop()
        self.programs.clear()


def free_port() -> int:
    """A port of loopback that nobody uses now: restarts must come back on the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[Stack]:
    """An installation that is stopped at the end, whatever happens."""
    running = Stack(folder)
    try:
        yield running
    finally:
        await running.stop()


async def wait_ready(
    base_url: str, seconds: float = READY_SECONDS, tls: "ssl.SSLContext | None" = None
) -> dict[str, Any]:
    """Ask /readyz until it says yes. ``tls`` is how a listener that speaks it is trusted.

    Raises:
        ProgramError: it did not in time; the message has the reasons.
    """
    import aiohttp

    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{base_url}/readyz", ssl=tls or True) as reply:
                        answer = await reply.json()
                        if reply.status == 200:
                            return answer
                await asyncio.sleep(PROBE_SECONDS)
    except TimeoutError as error:
        raise ProgramError(f"the outpost is not ready: {json.dumps(answer)}") from error
