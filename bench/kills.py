"""SIGKILL of random processes of a running outpost, at random moments, under load: nothing acknowledged may be lost.

    make bench-kills            # 50 kills; KILLS=8 for a short run, SEED=1 to repeat one

Every answer that a client got (200 or 403) is an acknowledgement: its record must be in the audit log afterwards. A
killed supervisor is started again by this program, as a container platform would do.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from outpost.cli.stack import Stack, stack, wait_ready
from outpost.cli.status import AdminUnreachableError, ask
from outpost.ledger.frames import Frame, scan

ORG = "killed"
CARD = "4111" + " 1111" * 3
CLIENTS = 4
BACK_BOUND_SECONDS = 3.0
PAUSE_SECONDS = (0.2, 1.2)  # of normal service between two kills, drawn anew each time


@dataclass
class Load:
    """Clients that ask without pause and remember what they were told."""

    url: str
    key: str
    acknowledged: list[str] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    failed: int = 0
    running: bool = True

    async def run(self, number: int) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.key}"}) as session:
            turn = number
            while self.running:
                turn += 1
                text = f"my card is {CARD}" if turn % 2 else f"hello {turn}"
                body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
                try:
                    async with session.post(f"{self.url}/v1/chat/completions", json=body) as reply:
                        await reply.read()
                        if reply.status in (200, 403):
                            self.acknowledged.append(reply.headers["X-Request-Id"])
                            self.answered.append(time.monotonic())
                        else:
                            self.failed += 1
                except (aiohttp.ClientError, OSError):
                    self.failed += 1
                    await asyncio.sleep(0.05)


@dataclass
class Result:
    kills: dict[str, int] = field(default_factory=dict)
    killed_at: list[float] = field(default_factory=list)
    failed_starts: int = 0


async def start(running: Stack, port: int) -> Any:
    state = str(running.outpost_state())
    arguments = ("outpost", "run", "--state", state, "--port", str(port), "--metrics-port", "0", "--workers", "2")
    return await running.start("outpost", *arguments)


async def kill_one(running: Stack, port: int, choose: Callable[[list[str]], str], result: Result) -> None:
    status = await asyncio.to_thread(ask, running.outpost_state())
    victims = {f"{item['role']}": item["pid"] for item in status["processes"]} | {"supervisor": status["pid"]}
    role = choose(sorted(victims))
    with contextlib.suppress(ProcessLookupError):
        os.kill(victims[role], signal.SIGKILL)
    result.killed_at.append(time.monotonic())
    result.kills[role] = result.kills.get(role, 0) + 1
    if role == "supervisor":
        await running.programs["outpost"].process.wait()
        try:
            await start(running, port)
        except Exception:
            result.failed_starts += 1
            raise


async def campaign(
    folder: Path, kills: int, seed: int, first: Sequence[str] = ()
) -> tuple[Result, Load, dict[str, Any]]:
    """Start an installation and kill; ``first`` names the roles to begin with, the others are drawn."""
    chance, result = random.Random(seed), Result()
    async with stack(folder) as running:
        provider = await running.start_provider()
        await running.start_controlplane()
        await running.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
        key = await running.create_key(ORG)
        await running.enroll(ORG)
        secrets = running.outpost_state() / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "provider").write_text("sk-simulated")
        program = await running.start_outpost("outpost", "--workers", "2")
        url = program.ready["url"]
        port = int(url.rsplit(":", 1)[1])
        await wait_ready(url)
        load = Load(url, key)
        clients = [asyncio.create_task(load.run(number)) for number in range(CLIENTS)]
        for turn in range(kills):
            choose = chance.choice if turn >= len(first) else partial(named, first[turn])
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
            with contextlib.suppress(AdminUnreachableError):
                await kill_one(running, port, choose, result)
                await served(load)
        load.running = False
        await asyncio.gather(*clients)
    verified = await running.command(
        "outpost", "verify-audit", "--state", str(running.outpost_state()), "--output", "json"
    )
    return result, load, json.loads(verified)


def named(role: str, running: list[str]) -> str:
    """That role, which must be running."""
    if role not in running:
        raise ValueError(f"no {role} runs")
    return role


async def served(load: Load) -> None:
    """Wait for an answer from now on."""
    known = len(load.answered)
    async with asyncio.timeout(30):
        while len(load.answered) == known:
            await asyncio.sleep(0.005)


def outages(killed_at: list[float], answered: list[float]) -> list[float]:
    """For each kill, the longest time without any answer between it and the next one, seconds."""
    spans = []
    for start, end in pairwise([*killed_at, answered[-1]]):
        inside = [start, *(moment for moment in sorted(answered) if start < moment <= end)]
        spans.append(max((later - earlier for earlier, later in pairwise(inside)), default=0.0))
    return spans


def on_disk(segments: Path) -> set[str]:
    """Request ids of every durable record, those after the newest signed head too."""
    frames = (
        item for path in sorted(segments.iterdir()) for item in scan(path.read_bytes()) if isinstance(item, Frame)
    )
    return {str(json.loads(frame.payload).get("request_id", "")) for frame in frames}


def main() -> int:
    kills, seed = int(os.environ.get("KILLS", "50")), int(os.environ.get("SEED", str(random.randrange(10**6))))
    with tempfile.TemporaryDirectory(prefix="outpost-kills-") as name:
        result, load, _ = asyncio.run(campaign(Path(name), kills, seed))
        recorded = on_disk(Path(name) / "outpost" / "orgs" / ORG / "audit" / "segments")
    lost = sum(request_id not in recorded for request_id in load.acknowledged)
    back = outages(result.killed_at, load.answered)
    worst = max(back)
    print(f"seed {seed}; killed: " + ", ".join(f"{role} {count}" for role, count in sorted(result.kills.items())))
    print(f"acknowledged {len(load.acknowledged)}, lost {lost}; refused or cut meanwhile {load.failed}")
    print(f"failed starts {result.failed_starts}; back after {statistics.median(back):.2f} s (median),")
    print(f"at worst {worst:.2f} s; the log verifies")
    line = {
        "kills": sum(result.kills.values()),
        "acknowledged": len(load.acknowledged),
        "lost": lost,
        "failed_starts": result.failed_starts,
        "back_median_s": round(statistics.median(back), 3),
        "back_worst_s": round(worst, 3),
        "seed": seed,
    }
    print(json.dumps(line))
    return 0 if not lost and not result.failed_starts and worst <= BACK_BOUND_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
