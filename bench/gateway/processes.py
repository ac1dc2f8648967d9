"""Processes under measurement: started on one core, weighed, and always ended."""

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, GATEWAY_CORE = str(CORES[0]), str(CORES[-1])
END_SECONDS = 10  # an outpost drains for up to 5 s


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Yard:
    """Starts processes below one folder and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: list[str | Path], core: str, env: dict[str, str] | None = None) -> int:
        """Start in a session of its own, pinned to a core; output goes to a log. Returns the pid."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", core, *map(str, command)],
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process.pid

    def end(self, pid: int) -> None:
        """End one process and its children, and wait."""
        process = next(p for p in self._running if p.pid == pid)
        self._running.remove(process)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        process.wait()

    def end_all(self) -> None:
        """End everything, newest first."""
        for process in reversed(list(self._running)):
            self.end(process.pid)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a tree; children that ended and were waited for count too."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return total / TICKS_PER_SECOND


def pss_mb(pid: int) -> float:
    """Memory of one process, shared pages divided among their users."""
    match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0
