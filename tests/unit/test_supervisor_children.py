"""The supervisor over the real children: they serve, they come back, and they never outlive it."""

import asyncio
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from outpost.cli.status import ask
from outpost.settings import Settings
from outpost.supervisor import Supervisor
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.enrolled import Enrolled

PATIENCE = 30.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """An enrolled outpost whose control plane cannot be reached."""
    Enrolled(time.time_ns() // 1_000_000).fill(tmp_path / "state", records=1)
    return tmp_path / "state"


async def served(port: int) -> dict[str, Any]:
    """What /readyz says once somebody answers and the org is served."""
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as reply:
                    told: dict[str, Any] = await reply.json()
                    if reply.status == 200:
                        return told
            except aiohttp.ClientError:  # nobody listens while the only worker is away
                pass
            await asyncio.sleep(0.02)


async def starts(outpost: Supervisor, role: str, at_least: int) -> int:
    """Wait until a role is up again; returns its process id."""
    async with asyncio.timeout(PATIENCE):
        while True:
            (told,) = [process for process in outpost.status()["processes"] if process["role"] == role]
            if told["starts"] >= at_least and told["ready"]:
                return int(told["pid"])
            await asyncio.sleep(0.02)


async def test_the_real_children_serve_and_each_comes_back(state: Path) -> None:
    outpost = Supervisor(Settings(state=state, port=0, workers=1, heartbeat_seconds=0.2))
    try:
        await outpost.start()
        pids = {role: await starts(outpost, role, 1) for role in ("ledger", "agent", "worker")}
        told = (await served(outpost.port))["orgs"][ORG]
        assert {told[name] for name in ("bundle", "tiers", "audit", "canary")} == {"ok"}
        for role, pid in pids.items():
            os.kill(pid, signal.SIGKILL)
            assert await starts(outpost, role, 2) != pid
        await served(outpost.port)
        known = outpost.status()["orgs"][ORG]
        assert (known["state"], known["revision"]) == ("OFFLINE", "1.1")
        assert b"outpost_canary_blocked" in await outpost.metrics_text()
    finally:
        await outpost.stop()
    for role in pids:
        process = next(child for child in outpost._children() if child.role == role).process
        assert process is not None
        assert process.returncode == 0  # each ended by itself when asked


async def ended(descriptors: dict[int, int]) -> None:
    """Wait until every process has ended; a process's descriptor becomes readable then."""

    def wait() -> set[int]:
        left, poll = set(descriptors.values()), select.poll()
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + PATIENCE
        while left and time.monotonic() < deadline:
            for descriptor, _ in poll.poll(1000):
                poll.unregister(descriptor)
                left.discard(descriptor)
        return left

    assert await asyncio.to_thread(wait) == set()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
async def test_no_child_outlives_a_supervisor_that_gets(name: str, state: Path) -> None:
    command = ("-m", "outpost", "run", "--state", str(state), "--port", "0", "--metrics-port", "0", "--workers", "1")
    with (state.parent / "errors").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    assert ready["pid"] == process.pid
    told = await asyncio.to_thread(ask, state)
    children = {p["role"]: int(p["pid"]) for p in told["processes"]}
    assert sorted(children) == ["agent", "ledger", "worker"]
    descriptors = {pid: os.pidfd_open(pid) for pid in children.values()}
    process.send_signal(getattr(signal, name))
    await ended(descriptors)
    for descriptor in descriptors.values():
        os.close(descriptor)
    await process.communicate()
    assert process.returncode == (-signal.SIGKILL if name == "SIGKILL" else 0)
