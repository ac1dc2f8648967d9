"""The control plane dies, and the outpost goes on enforcing; when it is back, the audit log arrives once and in order.

    make bench-outage           # 1,000 requests; QUICK=1 for 100

While the control plane is dead: requests, every second of which must be blocked; the outpost is started again, and
must be ready in 3 s. Then the control plane comes back, and both sides must hold the same records, byte for byte.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.bootstrap.plane import opened
from outpost.cli.stack import Stack, stack, wait_ready
from outpost.core.audit.merkle import TILE_WIDTH
from outpost.ledger.frames import Frame, scan
from outpost.paths import StatePaths

ORG = "outage"
CARD = "4111" + " 1111" * 3
CLIENTS = 8
READY_BOUND_SECONDS = 3.0
CAUGHT_UP_SECONDS = 120.0
WORKERS = ("--workers", "2")


@dataclass
class Told:
    """What the clients were told."""

    allowed: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


async def ask(session: aiohttp.ClientSession, url: str, number: int, told: Told) -> None:
    """One request; odd ones hold a card."""
    text = f"my card is {CARD}" if number % 2 else f"hello {number}"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
        answer = await reply.json()
        request_id = reply.headers.get("X-Request-Id", "")
        if reply.status == 200 and not number % 2:
            told.allowed.append(request_id)
        elif reply.status == 403 and number % 2 and answer["error"]["code"] == "policy.blocked":
            told.blocked.append(request_id)
        else:
            told.others.append(reply.status)


async def ask_all(url: str, key: str, count: int) -> Told:
    """Several clients share the numbers."""
    told, numbers = Told(), iter(range(count))
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:

        async def client() -> None:
            for number in numbers:
                await ask(session, url, number, told)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return told


async def install(running: Stack) -> str:
    """Everything up; a client key."""
    provider = await running.start_provider()
    await running.start_controlplane()
    await running.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
    key = await running.create_key(ORG)
    await running.enroll(ORG)
    secrets = running.outpost_state() / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "provider").write_text("sk-simulated")
    program = await running.start_outpost("outpost", *WORKERS)
    await wait_ready(program.ready["url"])
    return key


def local_records(running: Stack) -> list[bytes]:
    """Every record on the outpost's disk, in order of place."""
    segments = sorted((StatePaths(running.outpost_state()).org(ORG).audit / "segments").glob("*.segment"))
    return [item.payload for path in segments for item in scan(path.read_bytes()) if isinstance(item, Frame)]


async def uploaded_records(running: Stack) -> list[bytes]:
    """Every record that the control plane stores, as received."""
    found: list[bytes] = []
    async with opened(running.controlplane_state) as plane, plane.store.for_org(ORG).read() as transaction:
        (outpost,) = await transaction.outposts.all()
        head = await transaction.audit.head(outpost.id)
        size = head.size if head is not None else 0
        for first in range(0, size, TILE_WIDTH):
            found += await transaction.audit.entries(outpost.id, first, min(TILE_WIDTH, size - first))
    return found


async def caught_up(running: Stack) -> dict[str, Any]:
    """Wait until both sides count the same records; both copies, and the control plane's own verdict."""
    began = time.monotonic()
    async with asyncio.timeout(CAUGHT_UP_SECONDS):
        while True:
            local, uploaded = local_records(running), await uploaded_records(running)
            if len(local) == len(uploaded):
                seconds = time.monotonic() - began
                out = await running.controlplane("audit", "verify", "--org", ORG, "--output", "json")
                (log,) = json.loads(out)["logs"]
                if log["size"] == len(local) == len(local_records(running)):  # nothing was recorded meanwhile
                    return {"local": local, "uploaded": uploaded, "log": log, "caught_up_seconds": seconds}
            await asyncio.sleep(0.1)


async def campaign(folder: Path, count: int) -> dict[str, Any]:
    """Kill, ask, start again, bring back, compare."""
    async with stack(folder) as running:
        key = await install(running)
        await running.programs["controlplane"].kill()
        began = time.monotonic()
        told = await ask_all(running.programs["outpost"].ready["url"], key, count)
        asked_seconds = time.monotonic() - began
        await running.programs["outpost"].stop()
        began = time.monotonic()
        program = await running.start_outpost("outpost", *WORKERS)
        await wait_ready(program.ready["url"])
        ready_seconds = time.monotonic() - began
        again = await ask_all(program.ready["url"], key, 2 * CLIENTS)
        await running.start_controlplane()
        seconds = {"asked_seconds": asked_seconds, "ready_seconds": ready_seconds}
        return {"told": told, "again": again, **seconds, **await caught_up(running)}


def gaps(records: list[bytes]) -> int:
    """Places that do not hold the sequence number of their own."""
    return sum(json.loads(record)["_seq"] != place for place, record in enumerate(records))


def decided(records: list[bytes], action: str) -> list[str]:
    """Request ids of the decisions with that action, in order of place."""
    events = [json.loads(record) for record in records]
    chosen = [event for event in events if event["event"] == "request.decided"]
    return [str(event["request_id"]) for event in chosen if event["decision"]["action"] == action]


def faults(found: dict[str, Any], count: int) -> list[str]:
    """Sentences about what is not as it must be."""
    told, again, uploaded = found["told"], found["again"], found["uploaded"]
    log = found["log"]
    allowed, blocked = told.allowed + again.allowed, told.blocked + again.blocked
    checks = {
        "a request was answered otherwise than policy says": not told.others and not again.others,
        "not half of the requests was blocked": len(told.blocked) == count // 2,
        "the outpost was not ready in time": found["ready_seconds"] <= READY_BOUND_SECONDS,
        "a record is missing or out of order": not gaps(uploaded),
        "the two sides hold different records": uploaded == found["local"],
        "a blocked request is not recorded once": sorted(decided(uploaded, "BLOCK")) == sorted(blocked),
        "an allowed request is not recorded once": sorted(decided(uploaded, "ALLOW")) == sorted(allowed),
        "the control plane's log does not verify": not log["fault"],
    }
    return [sentence for sentence, fine in checks.items() if not fine]


def main() -> int:
    count = 100 if os.environ.get("QUICK") else int(os.environ.get("REQUESTS", "1000"))
    with tempfile.TemporaryDirectory(prefix="outpost-outage-") as name:
        found = asyncio.run(campaign(Path(name), count))
    wrong = faults(found, count)
    told = found["told"]
    rows = (
        ("requests while the control plane was dead", count),
        ("  answered / blocked / otherwise", f"{len(told.allowed)} / {len(told.blocked)} / {len(told.others)}"),
        ("  in", f"{found['asked_seconds']:.1f} s"),
        ("outpost started without it, ready after", f"{found['ready_seconds']:.2f} s"),
        ("control plane back, log complete after", f"{found['caught_up_seconds']:.1f} s"),
        ("records here / there", f"{len(found['local'])} / {len(found['uploaded'])}"),
    )
    for label, value in rows:
        print(f"{label:<44}{value}")
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    line = {
        "requests": count,
        "blocked": len(told.blocked),
        "restart_ready_s": round(found["ready_seconds"], 3),
        "audit_local": len(found["local"]),
        "audit_controlplane": len(found["uploaded"]),
        "gaps": gaps(found["uploaded"]),
        "ok": not wrong,
    }
    print(json.dumps(line))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
