"""From the commit of a revocation to the stream's end and the refusal of the next call on its connection.

    make bench-revocation       # 1,000 streams over 2 replicas on PostgreSQL; QUICK=1: 150

Outposts are revoked one at a time, in bulk, and all the rest in one transaction. The time of an outpost ends when its
stream was closed and one more call, made at once on the connection that is still open, was refused.
"""

import random
import sys
import time
from collections import Counter
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from controlplane.domain import outposts

KEYS = ("streams", "replicas", "p50_ms", "p99_ms", "database", "closed_p99_ms", "rounds")
COUNT, REPLICAS = report.outposts(150, 1000), 2
SINGLES = 5 if report.QUICK else 20
BULKS = (min(20, COUNT // 4),) if report.QUICK else (50, 50, 200)
PATIENCE_SECONDS = 20.0
REFUSED = "outpost.revoked"


async def revoke(fleet: Site, numbers: list[int]) -> float:
    """Revoke outposts in one transaction; the moment just before it is committed."""
    now_ms = fleet.plane.clock.now_ms()
    async with fleet.plane.store.for_org(ORG).write() as transaction:
        for number in numbers:
            outpost = await transaction.outposts.get(fleet.outposts[number].id)
            await transaction.outposts.save(outposts.revoked(outpost, "bench", now_ms))
        return time.monotonic()


async def measured(fleet: Site, numbers: list[int]) -> tuple[list[float], list[float], Counter[str]]:
    """Seconds to the end of each stream, and to the refusal after it; codes of both."""
    await fleet.notes()
    began = await revoke(fleet, numbers)
    wanted = set(numbers)
    closed: dict[int, float] = {}
    refused: dict[int, float] = {}
    codes: Counter[str] = Counter()
    while wanted - set(refused):
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise BenchError(f"{len(wanted - set(refused))} of {len(wanted)} revoked outposts were not refused")
        for number, notes in (await fleet.notes(only=sorted(wanted))).items():
            for name, found in (("ended", closed), ("refused", refused)):
                for code, moment in notes[name]:
                    codes[code] += 1
                    found.setdefault(number, moment - began)
    if set(codes) != {REFUSED}:
        raise BenchError(f"a revoked outpost was told {dict(codes)}")
    return list(closed.values()), list(refused.values()), codes


async def bench(result: dict[str, Any]) -> None:
    rows, closed_all, refused_all = [], [], []
    async with site(COUNT, replicas=REPLICAS) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        await fleet.load(probing=True)
        await fleet.connect()
        await fleet.until("active", COUNT, 60, revision="1.1")  # nobody is busy with an offer any more
        left = list(range(COUNT))
        random.Random(1).shuffle(left)
        for size in (*[1] * SINGLES, *BULKS, 0):
            chosen = [left.pop() for _ in range(size or len(left))]
            closed, refused, _ = await measured(fleet, chosen)
            rows.append((len(chosen), closed, refused))
            closed_all += closed
            refused_all += refused
        await fleet.stop_agents()
        result.update(streams=COUNT, replicas=len(fleet.replicas), database=DATABASE)
    show(rows)
    result["p50_ms"] = meters.milliseconds(refused_all, 0.5)
    result["p99_ms"] = meters.milliseconds(refused_all, 0.99)
    result["closed_p99_ms"] = meters.milliseconds(closed_all, 0.99)
    result["rounds"] = [
        {"revoked": size, "p99_ms": meters.milliseconds(refused, 0.99)} for size, _, refused in rows if size > 1
    ]


def show(rows: list[tuple[int, list[float], list[float]]]) -> None:
    """Singles in one line, every bulk in one of its own."""
    singles = [row for row in rows if row[0] == 1]
    lines = [(f"1 at a time, {len(singles)} times", [row[1][0] for row in singles], [row[2][0] for row in singles])]
    lines += [(f"{size} at once", closed, refused) for size, closed, refused in rows if size > 1]
    head = ("revoked", "closed p50", "p99", "max ms", "next call refused p50", "p99", "max ms")
    report.table(
        head,
        [
            (name, *(each for times in (closed, refused) for each in report.ms(meters.spread(times))))
            for name, closed, refused in lines
        ],
    )


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
