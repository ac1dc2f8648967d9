"""One of three replicas is killed under a connected fleet, then all of them: who is back when, taken how fast.

    make bench-replica-kill     # 1,000 outposts; QUICK=1: 150

Outposts know the addresses of all replicas and choose one by chance at each attempt. What a replica took is read from
its own log. In the second part nobody answers for a while, so that every outpost waits at its cap (here 2 s instead of
60 s); the waits that the agents chose must fill it evenly, and the whole fleet must be taken at no higher rate.
"""

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, BenchError, Site, site
from outpost.sync.agent import RECONNECT_BASE_SECONDS

KEYS = (
    "outposts",
    "replicas",
    "lost",
    "back_p50_s",
    "back_p99_s",
    "all_back_s",
    "connect_rate",
    "most_accepted_in_1_s",
    "all_killed",
    "database",
)
COUNT, REPLICAS = report.outposts(150, 1000), 3
RATE = (
    max(5, COUNT // 2 if report.TINY else COUNT // 4) if report.QUICK else 200
)  # streams that a replica takes in a second
CAP_SECONDS = 2.0
AWAY_SECONDS = report.seconds(5.0, 8.0, 15.0)
PATIENCE_SECONDS = 60.0


async def back(fleet: Site, began: float) -> dict[int, float]:
    """Wait until everybody who lost the connection has another; seconds until then, by outpost."""
    ended: set[int] = set()
    found: dict[int, float] = {}
    while time.monotonic() - began < PATIENCE_SECONDS:
        linked = sum(answer["linked"] for answer in await fleet.everyone("count"))
        for number, notes in (await fleet.notes()).items():
            later = [moment for moment in notes["connected"] if moment > began]
            if notes["ended"]:
                ended.add(number)
            if later:
                found[number] = later[-1] - began
        if linked == COUNT and ended and ended <= set(found):
            return {number: found[number] for number in ended}
        await asyncio.sleep(0.05)
    raise BenchError(f"{len(ended - set(found))} of {len(ended)} outposts were not back in time")


def accepted(log: Path, since_ms: int) -> list[int]:
    """When a replica took streams, Unix milliseconds."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if '"sync.connected"' in line)
    return sorted(line["admitted_ms"] for line in lines if line["admitted_ms"] >= since_ms)


def most_in_a_second(moments: list[int]) -> int:
    """The most of these moments within any second."""
    recent: deque[int] = deque()
    most = 0
    for moment in moments:
        recent.append(moment)
        while recent[0] <= moment - 1000:
            recent.popleft()
        most = max(most, len(recent))
    return most


async def one_killed(fleet: Site, result: dict[str, Any]) -> None:
    since_ms = time.time_ns() // 1_000_000
    await fleet.notes()
    began = time.monotonic()
    fleet.replicas[0].kill()
    times = list((await back(fleet, began)).values())
    most = max(most_in_a_second(accepted(log, since_ms)) for log in fleet.logs()[1:])
    p50, p99, last = meters.spread(times)
    report.table(
        ("one of three killed", "lost it", "back p50 s", "p99 s", "all s", "most taken in 1 s", "limit"),
        [("", len(times), *(meters.rounded(each, 2) for each in (p50, p99, last)), most, RATE)],
    )
    result.update(
        lost=len(times),
        back_p50_s=meters.rounded(p50, 2),
        back_p99_s=meters.rounded(p99, 2),
        all_back_s=meters.rounded(last, 2),
        most_accepted_in_1_s=most,
    )


async def all_killed(fleet: Site) -> dict[str, Any]:
    await fleet.restart(reconnect_cap_seconds=CAP_SECONDS)
    await fleet.connect(per_second=RATE)
    await fleet.notes()
    for each in fleet.replicas[1:]:
        each.kill()
    await asyncio.sleep(AWAY_SECONDS)
    shares = await at_the_cap(fleet)
    since_ms = time.time_ns() // 1_000_000
    began = time.monotonic()
    await fleet.serve_again()
    await fleet.until("linked", COUNT, PATIENCE_SECONDS)
    seconds = time.monotonic() - began
    most = max(most_in_a_second(accepted(log, since_ms)) for log in fleet.logs())
    tenths = [sum(k / 10 <= share < (k + 1) / 10 for share in shares) / len(shares) for k in range(10)]
    report.table(
        ("all killed, then back", "waits at the cap", "rarest tenth %", "most frequent %", "all s", "most in 1 s"),
        [("", len(shares), f"{min(tenths) * 100:.1f}", f"{max(tenths) * 100:.1f}", f"{seconds:.1f}", most)],
    )
    return {
        "waits_at_the_cap": len(shares),
        "rarest_tenth": round(min(tenths), 3),
        "most_frequent_tenth": round(max(tenths), 3),
        "all_back_s": meters.rounded(seconds, 2),
        "most_accepted_in_1_s": most,
    }


async def at_the_cap(fleet: Site) -> list[float]:
    """Waits that agents chose when their bound had reached the cap, as shares of it."""
    doublings = 0
    while RECONNECT_BASE_SECONDS * 2**doublings < CAP_SECONDS:
        doublings += 1
    waits = [wait for notes in (await fleet.notes()).values() for wait in notes["waits"][doublings:]]
    return [wait / CAP_SECONDS for wait in waits]


async def bench(result: dict[str, Any]) -> None:
    async with site(COUNT, replicas=REPLICAS, connect_rate=RATE) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        result.update(outposts=COUNT, replicas=REPLICAS, connect_rate=RATE, database=DATABASE)
        await fleet.load()
        await fleet.connect(per_second=RATE)
        await one_killed(fleet, result)
        result["all_killed"] = await all_killed(fleet)
        await fleet.stop_agents()


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
