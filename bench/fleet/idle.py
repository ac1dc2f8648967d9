"""What a connected outpost costs while nothing happens but its heartbeat: memory and CPU of the control plane, CPU of
its database.

make bench-idle             # 2,000 outposts, a heartbeat every 10 s; QUICK=1: 300
"""

import asyncio
import sys
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, site

KEYS = (
    "outposts",
    "kib_per_outpost",
    "cpu_pct",
    "database",
    "pss_kib_per_outpost",
    "status_per_s",
    "database_cpu_pct",
    "simulators_cpu_pct",
)
COUNT = report.outposts(300, 2000)
WARM = min(
    20, COUNT
)  # outposts that come first, so that the cost of the first ones (imports, pools) is not theirs alone
PER_SECOND = 150  # connections, below the rate at which they are refused
HEARTBEAT_SECONDS = 10.0
SETTLE_SECONDS = report.seconds(0.5, 3.0, 15.0)
WATCHED_SECONDS = report.seconds(2.0, 12.0, 60.0)


async def bench(result: dict[str, Any]) -> None:
    async with site(COUNT + WARM) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        pid = fleet.replicas[0].pid
        await fleet.load(heartbeat_seconds=HEARTBEAT_SECONDS)
        await fleet.connect(first=WARM)
        await asyncio.sleep(1)
        empty = [meters.memory_kib(pid, what) for what in ("Rss", "Pss")]
        await fleet.connect(per_second=PER_SECOND)
        await asyncio.sleep(SETTLE_SECONDS)
        await fleet.notes()
        before = fleet.reading()
        await asyncio.sleep(WATCHED_SECONDS)
        after = fleet.reading()
        beats = sum(notes["beats"] for notes in (await fleet.notes()).values())
        full = [meters.memory_kib(pid, what) for what in ("Rss", "Pss")]
        linked = sum(answer["linked"] for answer in await fleet.everyone("count"))
        await fleet.stop_agents()
    spent = meters.spent(before, after)
    percent = {name: seconds / (after.at - before.at) * 100 for name, seconds in spent.items()}
    each = [(late - early) / COUNT for early, late in zip(empty, full, strict=True)]
    report.table(
        (
            "",
            "outposts",
            "KiB each (RSS)",
            "KiB each (PSS)",
            "CPU % of a core",
            "database %",
            "simulators %",
            "others %",
        ),
        [
            (
                "connected, idle",
                linked,
                *(f"{value:.1f}" for value in each),
                *(f"{percent[name]:.1f}" for name in ("control plane", "database", "simulators", "others")),
            )
        ],
    )
    report.remark(
        f"control plane with {WARM} outposts: {empty[0] / 1024:.0f} MiB, with {linked}: {full[0] / 1024:.0f} MiB"
    )
    if linked != COUNT + WARM:
        raise ValueError(f"{linked} of {COUNT + WARM} outposts were connected at the end")
    result.update(
        outposts=linked,
        kib_per_outpost=meters.rounded(each[0]),
        pss_kib_per_outpost=meters.rounded(each[1]),
        cpu_pct=meters.rounded(percent["control plane"]),
        database_cpu_pct=meters.rounded(percent["database"]),
        simulators_cpu_pct=meters.rounded(percent["simulators"]),
        status_per_s=meters.rounded(beats / (after.at - before.at)),
        database=DATABASE,
    )


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
