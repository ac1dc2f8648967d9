"""From the commit of a release to the moment when every outpost has it active and has said so.

    make bench-propagation      # 1,000 outposts, then 5,000; QUICK=1: 150

Every outpost fetches, verifies, tries, stores and activates for itself; one compiled program is shared by those of one
process. The release is signed and stored by the bench's own process, as by a command on the state directory: that is
told by itself, and neither in the times nor in the control plane's CPU. Then two releases come one right behind the
other. Then every agent starts anew (nothing changed: no bytes of files may move), and one client key is made.
"""

import statistics
import sys
import time
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from controlplane.services.defaults import default_policy
from outpost.core.bundle.access import ClientKey

KEYS = (
    "outposts",
    "p50_ms",
    "p99_ms",
    "server_cpu_ms_each",
    "bytes_unchanged",
    "bytes_one_key",
    "large",
    "database",
    "stored_ms",
    "in_succession_ms",
    "publish_ms",
    "publish_cpu_ms",
)
COUNT, LARGE = report.outposts(150, 1000), 0 if report.QUICK else 5000
ROUNDS = 2 if report.QUICK else 3
PATIENCE_SECONDS = 60.0
TIME_FOR_LARGE_SECONDS = 240.0  # the first part may have taken so long when the second one is begun
KEY = ClientKey("", "", "one", "", (), "", "api", "internal", (), 0, 86_400, revoked=False)


async def published(fleet: Site, number: int) -> tuple[str, float, tuple[float, float]]:
    """Publish another policy; its revision, the moment of the commit, seconds and CPU seconds of signing it."""
    text = default_policy(ORG).replace(b"found.", b"found, %d." % number)
    began, cpu = time.monotonic(), time.process_time()
    release = await fleet.plane.publisher.publish_policy(ORG, text)
    return release.revision, fleet.committed, (time.monotonic() - began, time.process_time() - cpu)


async def measured(fleet: Site, number: int) -> dict[str, Any]:
    """One release to everybody."""
    await fleet.notes()
    before = fleet.reading()
    revision, began, publishing = await published(fleet, number)
    await fleet.until("active", len(fleet.outposts), PATIENCE_SECONDS, revision=revision)
    stored = await fleet.until_stored(revision, PATIENCE_SECONDS) - began
    spent = meters.spent(before, fleet.reading())
    acked: list[float] = []
    moved = 0
    while len(acked) < len(fleet.outposts):  # the last ones see a little later that their words were taken
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise BenchError(f"{len(acked)} acknowledgements of {len(fleet.outposts)} outposts")
        for each in (await fleet.notes()).values():
            acked += [moment - began for name, moment in each["acked"] if name == revision]
            moved += each["offer_bytes"]
    return {"acked": acked, "stored": stored, "spent": spent, "bytes": moved / len(acked), "publishing": publishing}


async def in_succession(fleet: Site, number: int) -> float:
    """Two releases, the second while the first is worked on: seconds until everybody runs the second one."""
    await published(fleet, number)
    revision, began, _ = await published(fleet, number + 1)
    await fleet.until("active", len(fleet.outposts), PATIENCE_SECONDS, revision=revision)
    return time.monotonic() - began


async def unchanged(fleet: Site) -> int:
    """Start every agent anew; bytes of files that moved, over all of them."""
    await fleet.restart()
    await fleet.notes()
    await fleet.connect()
    return sum(each["bundle_bytes"] for each in (await fleet.notes()).values())


async def one_key(fleet: Site) -> float:
    """Make a client key; bytes of the offer on the wire, for each outpost."""
    await fleet.notes()
    _, _, release = await fleet.plane.publisher.create_key(ORG, KEY)
    await fleet.until("active", len(fleet.outposts), PATIENCE_SECONDS, revision=release.revision)
    return _mean(await fleet.notes(), "offer_bytes")


def _mean(notes: dict[int, dict[str, Any]], name: str) -> float:
    return sum(each[name] for each in notes.values()) / len(notes)


async def campaign(count: int) -> dict[str, Any]:
    """All of it with so many outposts."""
    async with site(count, connect_rate=1000) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        await fleet.load()
        connected = await fleet.connect()
        await fleet.until("active", count, PATIENCE_SECONDS, revision="1.1")
        rounds = [await measured(fleet, number) for number in range(ROUNDS)]
        hasty = await in_succession(fleet, ROUNDS)
        quiet = await unchanged(fleet)
        key = await one_key(fleet)
        await fleet.stop_agents()
    show(count, rounds)
    report.remark(f"all connected, verified and active from nothing after {connected:.1f} s")
    report.remark(f"two releases, one right behind the other: all run the second one {hasty:.2f} s after its commit")
    report.remark(f"reconnect, nothing changed: {quiet} bytes of files; one client key: {key:.0f} bytes each")
    spreads = [meters.spread(each["acked"]) for each in rounds]
    return {
        "outposts": count,
        "p50_ms": meters.rounded(statistics.median(each[0] for each in spreads) * 1000),
        "p99_ms": meters.rounded(statistics.median(each[1] for each in spreads) * 1000),
        "server_cpu_ms_each": meters.rounded(
            statistics.median(each["spent"]["control plane"] for each in rounds) / count * 1000, 2
        ),
        "bytes_unchanged": quiet,
        "bytes_one_key": round(key),
        "stored_ms": meters.rounded(statistics.median(each["stored"] for each in rounds) * 1000),
        "in_succession_ms": meters.rounded(hasty * 1000),
        "publish_ms": meters.rounded(statistics.median(each["publishing"][0] for each in rounds) * 1000),
        "publish_cpu_ms": meters.rounded(statistics.median(each["publishing"][1] for each in rounds) * 1000),
    }


def show(count: int, rounds: list[dict[str, Any]]) -> None:
    """A line for each round."""
    rows = []
    for number, each in enumerate(rounds, start=1):
        cpu = [f"{each['spent'][name] / count * 1000:.2f}" for name in ("control plane", "simulators")]
        times = report.ms((*meters.spread(each["acked"]), each["stored"]))
        rows.append((f"{count} outposts, release {number}", *times, *cpu, f"{each['bytes']:.0f}"))
    head = ("", "acked p50", "p99", "max", "all stored ms", "CPU each: control plane", "outpost ms", "offer bytes")
    report.table(head, rows)


async def bench(result: dict[str, Any]) -> None:
    began = time.monotonic()
    result.update(await campaign(COUNT), database=DATABASE)
    seconds = time.monotonic() - began
    if not LARGE:
        result["large"] = {"why": "not with QUICK or OUTPOSTS"}
    elif seconds >= TIME_FOR_LARGE_SECONDS:
        result["large"] = {"why": f"no time is left: the first part took {seconds:.0f} s"}
    else:
        result["large"] = await campaign(LARGE)


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
