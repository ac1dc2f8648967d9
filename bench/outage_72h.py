"""The control plane is away for three days, and the certificate ends in them: every request is inspected all the same.

    make bench-outage-72h       # 3 outages of 72 simulated hours; QUICK=1: one, with fewer requests

A whole installation of real processes, whose wall clock leaps from hour to hour. In each hour clients ask, and every
second request holds a card. The outpost is started again once its certificate has expired. Then the control plane is
started, and nobody touches anything: the outpost recovers its certificate and is ACTIVE again.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench import outage
from bench.fleet.warp import Warp, forget, warped
from outpost.cli.stack import Stack, stack, wait_ready
from outpost.cli.status import ask
from outpost.ledger.frames import Frame, scan
from outpost.paths import StatePaths

HOURS = 72
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 3
LEAP_HOURS = 6 if QUICK else 2
REQUESTS = 10 if QUICK else 20  # in each leap
RESTART_HOUR = 48  # the certificate is over by then
PATIENCE_SECONDS = 120.0
ACTIVE_BOUND_SECONDS = 60.0
REPORT_SECONDS = 1.2  # in them the outpost's processes tell each other how they do
RECOVERED = "certificate.recovered"


@dataclass
class Outage:
    """What one of them was like."""

    told: outage.Told = field(default_factory=outage.Told)
    states: Counter[str] = field(default_factory=Counter)
    expired_after_h: int = 0
    restart_s: float = 0.0
    active_s: float = 0.0


async def status(running: Stack) -> dict[str, Any]:
    """What the outpost says of the org."""
    told: dict[str, Any] = (await asyncio.to_thread(ask, running.outpost_state()))["orgs"][outage.ORG]
    return told


async def ask_some(running: Stack, key: str, told: outage.Told) -> None:
    """Requests of an hour."""
    found = await outage.ask_all(str(running.programs["outpost"].ready["url"]), key, REQUESTS)
    told.allowed += found.allowed
    told.blocked += found.blocked
    told.others += found.others


async def away(running: Stack, clock: Warp, key: str) -> Outage:
    """Three days without a control plane, and the minutes after them."""
    found = Outage()
    expires_ms = int((await status(running))["certificate_expires_ms"])
    await running.programs["controlplane"].kill()
    for hour in range(LEAP_HOURS, HOURS + 1, LEAP_HOURS):
        clock.leap(LEAP_HOURS * 3600)
        if not found.expired_after_h and time.time() * 1000 > expires_ms:
            found.expired_after_h = hour
        if hour == RESTART_HOUR:
            found.restart_s = await restarted(running)
        await asyncio.sleep(REPORT_SECONDS)
        await ask_some(running, key, found.told)
        found.states[str((await status(running))["state"])] += 1
    began = time.monotonic()
    await running.start_controlplane()
    began = min(began, time.monotonic())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await status(running))["state"] != "ACTIVE":
            await asyncio.sleep(0.1)
    found.active_s = time.monotonic() - began
    return found


async def restarted(running: Stack) -> float:
    """Start the outpost again; seconds to ready."""
    await running.programs["outpost"].stop()
    began = time.monotonic()
    program = await running.start_outpost("outpost", *outage.WORKERS)
    await wait_ready(program.ready["url"])
    return time.monotonic() - began


async def forwarded(provider: str) -> list[str]:
    """Bodies that the provider saw."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{provider.removesuffix('/v1')}/_sim/requests") as reply,
    ):
        return [json.dumps(each) for each in (await reply.json())["requests"]]


def recorded(running: Stack) -> Counter[str]:
    """Events of the org's log on the outpost."""
    segments = sorted((StatePaths(running.outpost_state()).org(outage.ORG).audit / "segments").glob("*.segment"))
    frames = [item.payload for path in segments for item in scan(path.read_bytes()) if isinstance(item, Frame)]
    return Counter(str(json.loads(frame)["event"]) for frame in frames)


async def campaign(folder: Path, clock: Warp) -> dict[str, Any]:
    """All outages, one after the other, and what both sides hold at the end."""
    async with stack(folder) as running:
        key = await outage.install(running)
        began = time.monotonic()
        while (await status(running))["state"] != "ACTIVE":
            await asyncio.sleep(0.1)
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise TimeoutError("the outpost was never ACTIVE")
        outages = [await away(running, clock, key) for _ in range(ROUNDS)]
        seen = await forwarded(str(running.programs["provider"].ready["url"]))
        return {"outages": outages, "seen": seen, **await outage.caught_up(running), "events": recorded(running)}


def line(found: dict[str, Any]) -> dict[str, Any]:
    """The last line."""
    outages: list[Outage] = found["outages"]
    uploaded: list[bytes] = found["uploaded"]
    allowed = [name for each in outages for name in each.told.allowed]
    blocked = [name for each in outages for name in each.told.blocked]
    passed = set(outage.decided(uploaded, "ALLOW"))
    told = {
        "simulated_h": HOURS * len(outages),
        "outages": len(outages),
        "requests": len(allowed) + len(blocked) + sum(len(each.told.others) for each in outages),
        "blocked": len(blocked),
        "otherwise": sum(len(each.told.others) for each in outages),
        "uninspected": len(set(allowed) - passed) + abs(sum("hello" in body for body in found["seen"]) - len(allowed)),
        "cards_forwarded": sum(outage.CARD in body for body in found["seen"]),
        "expired_after_h": max(each.expired_after_h for each in outages),
        "states": dict(sum((each.states for each in outages), Counter[str]())),
        "restart_ready_s": round(max(each.restart_s for each in outages), 2),
        "active_s": round(max(each.active_s for each in outages), 1),
        "recovered": found["events"][RECOVERED],
        "gaps": outage.gaps(uploaded),
        "log_fault": found["log"]["fault"] or "",
    }
    fine = (
        not (told["otherwise"] or told["uninspected"] or told["cards_forwarded"] or told["gaps"] or told["log_fault"])
        and all(each.expired_after_h for each in outages)
        and told["recovered"] == len(outages)
        and told["active_s"] <= ACTIVE_BOUND_SECONDS
        and told["blocked"] * 2 == told["requests"]
    )
    return {**told, "ok": bool(fine)}


def main() -> int:
    """Measure, print, judge."""
    clock = warped("bench.outage_72h")
    try:
        with tempfile.TemporaryDirectory(prefix="outpost-outage-") as name:
            found = asyncio.run(campaign(Path(name), clock))
    finally:
        forget()
    for number, each in enumerate(found["outages"], 1):
        print(f"outage {number}: {HOURS} h, certificate over after {each.expired_after_h} h, {dict(each.states)}")
        answers = len(each.told.allowed), len(each.told.blocked), len(each.told.others)
        print(f"  answered / blocked / otherwise            {' / '.join(map(str, answers))}")
        print(f"  started anew without it, ready after      {each.restart_s:.2f} s")
        print(f"  control plane started, ACTIVE again after {each.active_s:.1f} s")
    told = line(found)
    print(json.dumps(told))
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
