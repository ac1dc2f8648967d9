"""The outpost under measurement: enrolled with a control plane of its own, default policy, everything on."""

import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

from bench.gateway.peers import Target
from bench.gateway.processes import GATEWAY_CORE, Yard, free_port, pss_mb, tree
from outpost.cli.stack import Stack

ORG = "bench"
READY_SECONDS = 30.0
COMMIT_METRIC = "outpost_audit_commit_seconds_bucket"


class Outpost:
    """One enrolled state folder that can be started with any number of workers."""

    def __init__(self, yard: Yard, state: Path, key: str) -> None:
        self._yard, self._state, self._key = yard, state, key
        self._metrics_port = 0

    @classmethod
    async def enrolled(cls, stack: Stack, yard: Yard, mock: int) -> "Outpost":
        """Control plane, org with the default policy, provider = the mock, a client key, an enrolled outpost."""
        await stack.start_controlplane()
        await stack.controlplane(
            "org", "create", ORG, "--single-person", "--provider-url", f"http://127.0.0.1:{mock}/v1"
        )
        key = await stack.create_key(ORG)
        await stack.enroll(ORG)
        secrets = stack.outpost_state() / "secrets"
        secrets.mkdir(mode=0o700, exist_ok=True)
        (secrets / "provider").write_text("up")
        return cls(yard, stack.outpost_state(), key)

    def start(self, workers: int) -> tuple[Target, float]:
        """Start; returns it with the seconds until it was ready to serve."""
        port, self._metrics_port = free_port(), free_port()
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "outpost",
            "run",
            "--state",
            self._state,
            "--host",
            "127.0.0.1",
        ]
        command += ["--port", str(port), "--metrics-port", str(self._metrics_port), "--workers", str(workers)]
        begun = time.perf_counter()
        pid = self._yard.start(f"outpost-{workers}", command, GATEWAY_CORE)
        self._wait_ready(port)
        return Target("outpost" if workers == 1 else f"outpost_{workers}_workers", port, self._key, pid), (
            time.perf_counter() - begun
        )

    def stop(self, target: Target) -> None:
        """Drain and end."""
        assert target.pid is not None
        self._yard.end(target.pid)

    def _wait_ready(self, port: int) -> None:
        last = "no answer"
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    return
            except OSError as error:
                last = str(error)
            time.sleep(0.01)
        raise TimeoutError(f"the outpost is not ready: {last}; its log is outpost-*.log")

    def commits(self) -> dict[float, float]:
        """The outpost's own histogram of group commits: upper bounds in seconds to cumulative counts."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        totals: dict[float, float] = {}
        for bound, count in re.findall(rf'^{COMMIT_METRIC}{{.*?le="([^"]+)".*?}} ([0-9.e+]+)$', text, re.MULTILINE):
            totals[float(bound)] = totals.get(float(bound), 0.0) + float(count)
        return totals

    def worker_pss_mb(self, target: Target) -> float:
        """Memory of the largest gateway worker."""
        assert target.pid is not None
        workers = [pid for pid in tree(target.pid) if _is_worker(pid)]
        return max(pss_mb(pid) for pid in workers or [target.pid])


def _is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"_child" in words and b"worker" in words


def median_ms(before: dict[float, float], after: dict[float, float]) -> float | None:
    """Median of what came between two readings, linear inside a bucket as Prometheus' histogram_quantile is."""
    cumulative = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    if not cumulative or not (half := max(cumulative.values()) / 2):
        return None
    low, below = 0.0, 0.0
    for bound, count in sorted(cumulative.items()):
        if count >= half:
            if bound == float("inf"):
                return low * 1e3
            return (low + (bound - low) * (half - below) / (count - below)) * 1e3
        low, below = bound, count
    return None


def versions() -> str:
    """One line for the head of the table."""
    return json.dumps({"python": sys.version.split()[0], "cores": os.cpu_count()})
