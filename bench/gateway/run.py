"""`make bench-gateway`: what an outpost costs beside a proxy that looks at nothing.

A mock provider and the load share one core, the gateway under measurement has the other. Every body is new. Rounds are
interleaved (round 1: A B C, round 2: A B C) and medians are taken over rounds. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import load, peers
from bench.gateway.outpost_side import Outpost, median_ms, versions
from bench.gateway.peers import KEY, Target
from bench.gateway.processes import LOAD_CORE, Yard, free_port
from outpost.cli.stack import Stack, stack

JSON_CELLS = (("1k", 1), ("1k", 32), ("1k", 128), ("64k", 32))
ALONE = ("1k", 1)  # one request at a time: what one request waits for, without a queue
STREAM_CELLS = (("paced", 1), ("burst", 32))
# Who stands in a cell, beyond the outpost: only what a key of the result needs, so that a quick run is quick.
OPPONENTS = {
    ("1k", 1): ("direct",),
    ("1k", 32): ("nginx", "aiohttp", "litellm_filter", "portkey"),
    ("1k", 128): ("nginx",),
    ("64k", 32): ("nginx",),
    ("paced", 1): ("direct",),
    ("burst", 32): ("nginx",),
}
PEERS = {
    "nginx": peers.nginx,
    "aiohttp": peers.aiohttp,
    "litellm_filter": peers.litellm_filter,
    "portkey": peers.portkey,
}
READY_SECONDS = 90.0  # LiteLLM imports for long


@dataclass
class Bench:
    """Settings of a run and everything it has seen."""

    folder: Path
    seconds: float
    rounds: int
    samples: dict[tuple[tuple[str, int], str], list[load.Sample]] = field(default_factory=lambda: defaultdict(list))
    single: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def cell(self, cell: tuple[str, int], target: Target) -> None:
        """Measure once."""
        if cell in JSON_CELLS:
            sample = load.requests(target, self.folder, cell, self.seconds)
        else:
            sample = load.streams(target, cell, self.seconds)
        self.samples[cell, target.name].append(sample)

    def median(self, cell: tuple[str, int], name: str, what: str) -> float | None:
        """Median over rounds of one number."""
        seen = [getattr(s, what) for s in self.samples.get((cell, name), [])]
        numbers = [n for n in seen if n is not None]
        return statistics.median(numbers) if numbers else None

    def ratio(self, cell: tuple[str, int], ours: str, theirs: str) -> float | None:
        """Our CPU over theirs."""
        mine, other = self.median(cell, ours, "cpu_us"), self.median(cell, theirs, "cpu_us")
        return round(mine / other, 3) if mine and other else None

    def difference(self, cell: tuple[str, int]) -> float | None:
        """Milliseconds that the outpost adds to a direct call."""
        mine, other = self.median(cell, "outpost", "p50_ms"), self.median(cell, "direct", "p50_ms")
        return round(mine - other, 3) if mine is not None and other is not None else None

    def errors(self) -> int:
        """Everything that went wrong anywhere on the outpost."""
        return sum(s.errors for (_, name), seen in self.samples.items() if name.startswith("outpost") for s in seen)


def start_mock(yard: Yard) -> Target:
    """Compile and start the provider: first byte at once, 5 ms between chunks, 50 chunks."""
    program = yard.folder / "mock"
    compiler = shutil.which("cc") or sys.exit("cc is missing: make bench-setup")
    subprocess.run([compiler, "-O2", "-o", program, peers.HERE / "mock.c"], check=True)
    port = free_port()
    yard.start("mock", [program, str(port), "0", "5", "50"], LOAD_CORE)
    return Target("direct", port, KEY)


def start_peers(bench: Bench, yard: Yard, mock: Target) -> dict[str, Target]:
    """Every gateway that is installed and answers; why another is missing is noted."""
    load.wait_ready(mock, bench.folder, 10)
    ready = {"direct": mock}
    started = [(name, start(yard, free_port(), mock.port)) for name, start in PEERS.items()]
    for name, target in started:
        try:
            if target is None:
                raise TimeoutError(f"{name} is not installed: PEERS=1 make bench-setup")
            load.wait_ready(target, bench.folder, READY_SECONDS)
            ready[name] = target
        except TimeoutError as error:
            bench.missing[name] = str(error)
    return ready


def measure(bench: Bench, outpost: Outpost, targets: dict[str, Target]) -> None:
    """All cells with one worker, then the cell that compares two workers with one."""
    target, bench.single["cold_start_s"] = outpost.start(1)
    everyone = {**targets, "outpost": target}
    load.wait_ready(target, bench.folder, 10)
    for each in everyone.values():  # warm up
        load.requests(each, bench.folder, ("1k", 8), 1)
    commits = outpost.commits()
    for cell in (*JSON_CELLS, *STREAM_CELLS):
        for _ in range(bench.rounds):
            for name in (*OPPONENTS[cell], "outpost"):
                if name in everyone:
                    bench.cell(cell, everyone[name])
        if cell == ALONE:
            bench.single["commit_p50_ms"] = median_ms(commits, outpost.commits())
    bench.single["pss_mb_worker"] = outpost.worker_pss_mb(target)
    outpost.stop(target)
    two, _ = outpost.start(2)
    load.requests(two, bench.folder, ("1k", 8), 1)
    for _ in range(bench.rounds):
        bench.cell(("1k", 32), two)
    outpost.stop(two)


def result(bench: Bench) -> dict[str, object]:
    """The keys that the last line promises."""
    middle = ("1k", 32)
    values: dict[str, object] = {
        "cpu_vs_nginx_1k_c32": bench.ratio(middle, "outpost", "nginx"),
        "cpu_vs_nginx_1k_c128": bench.ratio(("1k", 128), "outpost", "nginx"),
        "cpu_vs_nginx_64k": bench.ratio(("64k", 32), "outpost", "nginx"),
        "cpu_vs_aiohttp_1k": bench.ratio(middle, "outpost", "aiohttp"),
        "x_capacity_litellm_filter": bench.ratio(middle, "litellm_filter", "outpost"),
        "x_capacity_portkey": bench.ratio(middle, "portkey", "outpost"),
        "added_p50_ms": bench.difference(("1k", 1)),
        "commit_p50_ms": _rounded(bench.single.get("commit_p50_ms")),
        "added_ttfc_ms": bench.difference(("paced", 1)),
        "cpu_event_vs_nginx": bench.ratio(("burst", 32), "outpost", "nginx"),
        "pss_mb_worker": _rounded(bench.single.get("pss_mb_worker"), 1),
        "cold_start_s": _rounded(bench.single.get("cold_start_s")),
        "cpu_2_workers_vs_1": bench.ratio(middle, "outpost_2_workers", "outpost"),
        "errors": bench.errors(),
    }
    why = {}
    for key in (key for key, value in values.items() if value is None):
        named = [reason for name, reason in bench.missing.items() if key.endswith(name)]
        why[key] = named[0] if named else "not measured"
    return {**values, "why": why} if why else values


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def print_table(bench: Bench) -> None:
    """For people."""
    print(f"gateway bench, {bench.rounds} round(s) of {bench.seconds:g} s, medians  {versions()}")
    print(f"{'cell':<10}{'target':<20}{'per second':>12}{'p50 ms':>10}{'CPU us each':>13}{'errors':>8}")
    for (cell, name), seen in bench.samples.items():
        rate = statistics.median(s.requests for s in seen) / max(1, round(bench.seconds))
        p50, cpu = bench.median(cell, name, "p50_ms"), bench.median(cell, name, "cpu_us")
        shown = [f"{value:.2f}" if value is not None else "-" for value in (p50, cpu)]
        errors = sum(s.errors for s in seen)
        print(f"{cell[0]}:{cell[1]:<7}{name:<20}{rate:>12.0f}{shown[0]:>10}{shown[1]:>13}{errors:>8}")
        for sentence in {s.first_error for s in seen} - {""}:
            print(f"          first error: {sentence}")


async def main() -> None:
    """Run everything and leave nothing running."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: under 50 s")
    quick = parser.parse_args().quick
    for tool in ("wrk", "nginx", "taskset"):
        if not shutil.which(tool, path="/usr/sbin:/usr/bin:/bin:/usr/local/bin"):
            sys.exit(f"{tool} is missing: make bench-setup")
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name:
        bench = Bench(Path(name), 1.0 if quick else 3.0, 1 if quick else 3)
        yard = Yard(bench.folder)
        async with stack(bench.folder / "stack") as installation:
            try:
                await everything(bench, yard, installation)
            finally:
                yard.end_all()
    print_table(bench)
    print(json.dumps(result(bench)))


async def everything(bench: Bench, yard: Yard, installation: Stack) -> None:
    """Start all sides and measure."""
    mock = start_mock(yard)
    targets = start_peers(bench, yard, mock)
    outpost = await Outpost.enrolled(installation, yard, mock.port)
    measure(bench, outpost, targets)


if __name__ == "__main__":
    asyncio.run(main())
