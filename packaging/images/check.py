"""Run the image as an operator would, and look at it from inside and outside.

check.py WORK TAG: the image store is below WORK. The control plane and the provider run on this machine, the outpost in
a container without root, without capabilities and on a read-only root file system.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from outpost.cli.stack import Stack, free_port, stack, wait_ready

UID = 65532
ORG = "acme"
STOP_SECONDS = 5.0  # the promise for SIGTERM with a stream open
COMMAND_SECONDS = 180.0
PROBE = """
import json, os, shutil
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
try:
    open("/opt/outpost/written", "w").close()
    written = True
except OSError:
    written = False
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "written": written,
    "capabilities": status["CapEff"].strip(), "bounding": status["CapBnd"].strip(),
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "tools": [tool for tool in ("curl", "wget", "gcc", "pip") if shutil.which(tool)],
}))
"""


class Engine:
    """podman over the store that the build filled."""

    def __init__(self, work: Path, tag: str) -> None:
        self._base = ["podman", "--root", str(work / "store"), "--runroot", str(work / "run")]
        self._base += ["--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
        self._tag = tag

    def call(self, *arguments: str, timeout: float = COMMAND_SECONDS) -> str:
        """Run podman; its standard output.

        Raises:
            SystemExit: it failed; both its outputs are shown.
        """
        run = subprocess.run(
            [*self._base, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if run.returncode != 0:
            sys.exit(f"image-test: podman {arguments[0]} ended with {run.returncode}\n{run.stdout}{run.stderr}")
        return run.stdout

    def run(self, state: Path, command: Sequence[str], *options: str) -> str:
        """Run the image with the restrictions that it is made for."""
        hard = ["--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--tmpfs"]
        hard += ["/tmp:mode=1777,size=64m"]  # noqa: S108 - inside the container
        hard += ["--security-opt", "no-new-privileges", "--memory", "1g", "--pids-limit", "256", "--network", "host"]
        # Without CAP_SYS_RESOURCE the engine may not raise limits above what it has itself.
        hard += ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096"]
        return self.call("run", *hard, "--volume", f"{state}:/var/lib/outpost", *options, self._tag, *command)


def passed(what: str, figure: str = "") -> None:
    """One line for people."""
    sys.stdout.write(f"  ✓ {what}  {figure}".rstrip() + "\n")
    sys.stdout.flush()


def require(condition: object, what: str, seen: object) -> None:
    """Stop at the first thing that is not as it must be."""
    if not condition:
        sys.exit(f"image-test: {what}: {seen}")


def own_folder(parent: Path, name: str) -> Path:
    """A folder that the container's user owns, and nobody else may enter."""
    folder = parent / name
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, UID)
    return folder


def check_confinement(engine: Engine, parent: Path) -> None:
    """Who the process is and what it may do."""
    state = own_folder(parent, "probe")
    seen = json.loads(engine.run(state, ["-c", PROBE], "--rm", "--entrypoint", "python"))
    require((seen["uid"], seen["gid"]) == (UID, UID), "runs as another user", seen)
    require(int(seen["capabilities"], 16) == 0 and int(seen["bounding"], 16) == 0, "has capabilities", seen)
    require(seen["no_new_privileges"] == "1" and seen["seccomp"] == "2", "is not confined", seen)
    require(not seen["written"], "can write to its root file system", seen)
    require(not seen["tools"], "holds tools that it does not need", seen)
    passed(f"uid {UID}, no capabilities, seccomp on, root file system read-only, no curl, compiler or pip")


def check_demo(engine: Engine, parent: Path) -> None:
    """The demo's requests, all inside one container."""
    begun = time.monotonic()
    output = engine.run(own_folder(parent, "demo"), ["demo"], "--rm")
    require("403" in output, "the demo shows no blocked request", output)
    passed("the demo's requests pass inside the container", f"{time.monotonic() - begun:.1f} s")


async def enroll(engine: Engine, installation: Stack, state: Path) -> str:
    """Control plane and provider here, identity for the container; returns a client key."""
    provider = await installation.start_provider()
    await installation.start_controlplane()
    await installation.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
    token = state / "join.token"
    await installation.controlplane("outpost", "register", "container", "--org", ORG, "--token-file", str(token))
    os.chown(token, UID, UID)
    await asyncio.to_thread(engine.run, state, ["enroll", "--token-file", "join.token"], "--rm")
    passed("enrolls from inside the container")
    secret = own_folder(state, "secrets") / "provider"
    secret.write_text("up")
    os.chown(secret, UID, UID)
    slow = {"reply": "word " * 2000, "chunk_chars": 5, "delay_ms": 50}
    async with (
        aiohttp.ClientSession() as session,
        session.post(provider.removesuffix("/v1") + "/_sim/script", json=slow) as answer,
    ):
        require(answer.status < 300, "the provider takes no script", await answer.text())
    return await installation.create_key(ORG)


async def read_stream(session: aiohttp.ClientSession, url: str, key: str, started: asyncio.Event) -> bytes:
    """A streamed chat until it ends, however it ends."""
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    received = b""
    async with session.post(
        f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        require(answer.status == 200, "the stream is refused", await answer.text() if answer.status != 200 else "")
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async for chunk in answer.content.iter_any():
                received += chunk
                if received.count(b"data:") >= 3:
                    started.set()
    return received


async def check_stop(engine: Engine, parent: Path) -> None:
    """SIGTERM while a client reads a stream."""
    state = own_folder(parent, "state")
    async with stack(parent / "stack") as installation:
        key = await enroll(engine, installation, state)
        port, metrics = free_port(), free_port()
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(metrics)}
        options = [word for name, value in settings.items() for word in ("--env", f"OUTPOST_{name}={value}")]
        container = (await asyncio.to_thread(engine.run, state, ["run"], "--detach", *options)).strip()
        try:
            await wait_ready(f"http://127.0.0.1:{port}")
            await asyncio.to_thread(engine.call, "exec", container, "outpost", "health", "--ready", "--port", str(port))
            passed("ready, and healthy by its own command")
            await stop_during_stream(engine, container, f"http://127.0.0.1:{port}", key)
        finally:
            await asyncio.to_thread(engine.call, "rm", "--force", "--time", "0", container)


async def stop_during_stream(engine: Engine, container: str, url: str, key: str) -> None:
    """Open a stream, stop the container, and look at both ends."""
    async with aiohttp.ClientSession() as session:
        started = asyncio.Event()
        reading = asyncio.create_task(read_stream(session, url, key, started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        require(started.is_set() and not reading.done(), "no stream is open", reading)
        begun = time.monotonic()
        await asyncio.to_thread(engine.call, "stop", "--time", "20", container)
        seconds = time.monotonic() - begun
        received = await reading
    status = (await asyncio.to_thread(engine.call, "inspect", "--format", "{{.State.ExitCode}}", container)).strip()
    require(status == "0", "another exit status than 0 after SIGTERM", status)
    require(seconds <= STOP_SECONDS, f"took longer than {STOP_SECONDS} s to stop", seconds)
    require(received.rstrip().endswith(b"data: [DONE]"), "the open stream has no terminator", received[-200:])
    passed("SIGTERM with a stream open: ended by an event, exit status 0", f"{seconds:.1f} s")


def main() -> None:
    """All checks, in order."""
    engine = Engine(Path(sys.argv[1]).resolve(), sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="outpost-image-") as name:
        parent = Path(name)
        parent.chmod(0o711)  # the container's user must reach its folder below
        check_confinement(engine, parent)
        check_demo(engine, parent)
        asyncio.run(check_stop(engine, parent))


if __name__ == "__main__":
    main()
