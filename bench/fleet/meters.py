"""What the benches read of processes and of the machine: CPU, memory, load of others, percentiles."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def memory_kib(pid: int, what: str = "Rss") -> int:
    """Rss or Pss of a process, KiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1])
    raise LookupError(what)


def machine_seconds() -> float:
    """CPU seconds that this machine's cores spent on anything, since its start."""
    fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICKS_PER_SECOND


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which a share of the values lies; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def spread(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Median, 99th percentile and the greatest."""
    return percentile(values, 0.5), percentile(values, 0.99), max(values, default=None)


def milliseconds(values: Sequence[float], share: float) -> float | None:
    """A percentile of seconds, in milliseconds."""
    found = percentile(values, share)
    return None if found is None else round(found * 1000, 1)


def rounded(value: float | None, digits: int = 1) -> float | None:
    """A number for people."""
    return None if value is None else round(value, digits)


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds at one moment: of each named group of processes, and of the machine."""

    at: float
    groups: dict[str, float]
    machine: float


def reading(groups: dict[str, list[int]]) -> Reading:
    """Read the clocks of groups of processes; one that is gone counts nothing."""
    found: dict[str, float] = {}
    for name, pids in groups.items():
        found[name] = 0.0
        for pid in pids:
            try:
                found[name] += cpu_seconds(pid)
            except OSError:
                continue
    return Reading(time.monotonic(), found, machine_seconds())


def spent(before: Reading, after: Reading) -> dict[str, float]:
    """CPU seconds between two readings by group, and of all others under ``others``."""
    own = {name: after.groups[name] - before.groups[name] for name in before.groups}
    return {**own, "others": max(0.0, after.machine - before.machine - sum(own.values()))}
