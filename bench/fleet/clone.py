"""Honest outposts that lose answers and lines are never taken for clones; clones are.

make bench-clone            # 1,000 events on 100 outposts over two replicas, then 24 clones; QUICK=1: 150, 12
"""

import asyncio
import itertools
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.fleet import report
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from bench.fleet.troubles import KINDS
from controlplane.domain.outposts import Outpost, OutpostState

KEYS = ("events", "lost_answers", "cut_lines", "restarts", "false_locks", "clones", "locked")
KEYS += ("lock_p50_s", "lock_max_s", "named_both", "told_both", "by_trace", "outposts", "database")
COUNT = report.outposts(30, 100)
CLONES = 6 if report.TINY else 12 if report.QUICK else 24
EVENTS = (3 if report.TINY else 5 if report.QUICK else 10) * COUNT
REPLICAS = 2 if DATABASE == "postgres" else 1
PATIENCE_SECONDS = 40.0
LOCKED = "identity.locked"
COPIES = 1000  # number of the copy of outpost 0
HERE, THERE = "127.0.0.1", "127.0.0.2"  # where originals and copies are
TRACES = {
    "copied while it runs": "copied",
    "copied while it was stopped": "both started",
    "copied, and renews": "renews",
}


async def stored(fleet: Site) -> dict[str, Outpost]:
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        return {each.id: each for each in await transaction.outposts.all()}


async def honest(fleet: Site, result: dict[str, Any]) -> None:
    """Events on all outposts but those that will be cloned."""
    shares = [
        [n for n in range(CLONES, CLONES + COUNT) if n % len(fleet.simulators) == k]
        for k in range(len(fleet.simulators))
    ]
    began = time.monotonic()
    answers = await asyncio.gather(
        *(
            each.order("suffer", numbers=share, events=EVENTS // COUNT)
            for each, share in zip(fleet.simulators, shares, strict=True)
        )
    )
    seconds = time.monotonic() - began
    if any(answer["failed"] for answer in answers):
        raise BenchError(f"{[answer['failed'][:2] for answer in answers]}")
    happened: Counter[str] = Counter()
    for answer in answers:
        happened.update(answer["happened"])
    known = await stored(fleet)
    locked = [each for each in known.values() if each.state is not OutpostState.ACTIVE or each.alert]
    result |= {
        "events": sum(happened.values()),
        "lost_answers": sum(answer["lost"] for answer in answers),
        "cut_lines": sum(answer["cut"] for answer in answers),
        "restarts": sum(count for kind, count in happened.items() if "restart" in kind or "killed" in kind),
        "false_locks": len(locked),
    }
    report.table(("what befell honest outposts", "times"), [(kind, happened[kind]) for kind in KINDS])
    report.remark(f"{len(known)} outposts, {seconds:.0f} s; locked or with an alert: {len(locked)}")


async def clone(fleet: Site, number: int, kind: str, where: Path) -> float:
    """Copy a machine and let both live; seconds until the identity is locked."""
    home = fleet.simulators[number % len(fleet.simulators)]
    other = fleet.simulators[(number + 1) % len(fleet.simulators)]
    original = fleet.outposts[number]
    if kind == "both started":
        await home.order("halt", number=number)
    folder = where / str(number)
    await asyncio.to_thread(shutil.copytree, original.folder, folder)
    copy = COPIES + number
    await other.order("load", org=ORG, folders={str(copy): str(folder)}, check_seconds=0.05)
    await other.order("wire", numbers=[copy], source=THERE)
    began = time.monotonic()
    if kind == "renews":
        await other.order("renew", number=copy)
        began = time.monotonic()
        await home.order("rotate", number=number)
    else:
        await asyncio.gather(*(each.order("start", only=[n]) for each, n in ((other, copy), (home, number))))
    while time.monotonic() - began < PATIENCE_SECONDS:
        if (await stored(fleet))[original.id].state is OutpostState.LOCKED:
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    raise BenchError(f"a clone was not found: {kind}")


async def clones(fleet: Site, result: dict[str, Any]) -> None:
    """Clones of some outposts, all at the same time."""
    kinds = dict(zip(range(CLONES), itertools.cycle(TRACES.values()), strict=False))
    where = fleet.folder / "clones"
    found = await asyncio.gather(*(clone(fleet, number, kind, where) for number, kind in kinds.items()))
    known = await stored(fleet)
    rows = [known[fleet.outposts[number].id] for number in kinds]
    told = await until_told(fleet, kinds)
    seconds = sorted(found)
    result |= {
        "clones": CLONES,
        "locked": sum(row.state is OutpostState.LOCKED for row in rows),
        "lock_p50_s": round(seconds[len(seconds) // 2], 2),
        "lock_max_s": round(seconds[-1], 2),
        "named_both": sum(set(row.alert_sources) == {HERE, THERE} for row in rows),
        "told_both": told,
        "by_trace": dict(Counter(row.alert for row in rows)),
        "false_locks": result["false_locks"]
        + sum(row.state is OutpostState.LOCKED for row in known.values())
        - len(rows),
    }
    table = []
    for words, kind in TRACES.items():
        times = [each for each, of in zip(found, kinds.values(), strict=True) if of == kind]
        traces = Counter(row.alert for row, of in zip(rows, kinds.values(), strict=True) if of == kind)
        table.append((words, len(times), f"{max(times):.2f}", ", ".join(sorted(traces))))
    report.table(("clones", "locked", "at most s", "by which trace"), table)


async def until_told(fleet: Site, kinds: dict[int, str]) -> int:
    """How many originals, and copies that run, were told that the identity is locked."""
    wanted = {str(n) for n in kinds} | {str(COPIES + n) for n, kind in kinds.items() if kind != "renews"}
    began = time.monotonic()
    while True:
        answers = await fleet.everyone("withdrawn")
        told = {number for answer in answers for number, code in answer["withdrawn"].items() if code == LOCKED}
        if wanted <= told or time.monotonic() - began > PATIENCE_SECONDS:
            return len(wanted & told)
        await asyncio.sleep(0.1)


async def bench(result: dict[str, Any]) -> None:
    result |= {"outposts": COUNT, "database": DATABASE}
    async with site(COUNT + CLONES, replicas=REPLICAS) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; {REPLICAS} replicas")
        await fleet.load(check_seconds=0.05, reconnect_cap_seconds=2.0)
        await fleet.everyone("wire", source=HERE)
        await fleet.connect(per_second=100)
        await honest(fleet, result)
        await clones(fleet, result)
        await fleet.stop_agents()


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
