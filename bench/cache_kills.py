"""SIGKILL of a process that installs signed sets one after the other, at random moments; after each kill a start.

    make bench-cache-kills      # 1,000 kills; QUICK=1 for 50, KILLS=9 for so many, SEED=1 to repeat the moments

A set counts as acknowledged once the installer has returned: then the control plane has been told. The start is the
one of a worker and of the agent (`Programs`, `load_verified`), over whatever the killed process left. It must serve the
newest acknowledged set or a newer one, never an older one, and never nothing. At the end `outpost run` is started over
the same folder, with no control plane in reach. Prints a table and, as its last line, one JSON object.
"""

import asyncio
import json
import logging
import mmap
import os
import random
import resource
import signal
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench.surfaces import access
from outpost.bootstrap.programs import Programs, load_verified, open_cache, open_verifier
from outpost.bootstrap.world import SystemChance, SystemClock
from outpost.cache.seal import Seal
from outpost.cache.slots import INLINE_BYTES, SlotCache
from outpost.cli.stack import stack, wait_ready
from outpost.core.bundle.release import SignedSet, VerifiedSet
from outpost.core.errors import OutpostError
from outpost.paths import StatePaths
from outpost.sync.install import Installer
from tests.unit.core.bundle.samples import ORG, repository
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import OUTPOST, Enrolled, offer

KILLS, QUICK_KILLS = 1000, 50
LIVE_SECONDS = (0.0, 0.06)  # of a writer, drawn anew each time; one installation takes a few milliseconds
COLD_STARTS = 3
COLD_START_BOUND_SECONDS = 3.0
AHEAD = 40  # sets that are signed before a writer starts: more than one can install while it lives
LARGE_EVERY = 6  # sets; one in so many brings another large vendor file
CLIENT_KEYS = 20
HASH_DIGITS = 64
STEP_BYTES = 128  # a hash as a file's name, and a word
PLACES = {"slot-a": "slot", "slot-b": "slot", "active": "pointer", "high-water.json": "high water"}
_ACKNOWLEDGED = struct.Struct("<Q")


@dataclass
class Result:
    """What the starts found."""

    acknowledged: int = 0
    failed_starts: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    newer: int = 0  # starts that served a set whose writer died before it could say so
    died_at: Counter[str] = field(default_factory=Counter)
    start_ms: list[float] = field(default_factory=list)


class NoWorkers:
    """``Activator`` of nobody: what workers do is no write."""

    async def prepare(self, org: str, slot: str) -> None:
        """Nothing."""

    async def commit(self, org: str) -> None:
        """Nothing."""


class Site:
    """A state folder, and those who write and start over it."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.made = Enrolled(self.clock.now_ms())
        self.paths = self.made.fill(folder / "state", records=1)
        self.wrap_key = self.paths.wrap_key.read_bytes()
        self.repository = repository(self.made.keys)
        self.scanner = shared_database().clone()
        self.signed: list[SignedSet] = []  # what follows the set in force, in order
        self.step = mmap.mmap(-1, STEP_BYTES)  # where the writer stands, seen by who kills it

    def newest(self) -> VerifiedSet:
        """What a start believes. Raises OutpostError, or AssertionError when it believes nothing."""
        programs = Programs(self.paths, self.wrap_key, self.scanner, (self.clock, SystemChance()))
        told = programs.state_of(ORG)
        assert told.state.serves, f"{told.state}: {told.code}"
        cache = open_cache(self.paths, ORG, self.wrap_key, SystemChance())
        verified = load_verified(open_verifier(self.paths, ORG), cache, self.clock.now_ms())
        assert verified is not None
        program = programs.program(ORG)
        assert program is not None
        assert program.revision == verified.revision
        return verified

    def prepare(self, active: VerifiedSet) -> None:
        """Sign what the next writer installs; what the last one has installed is left behind."""
        while self.signed and timestamp_of(self.signed[0]) <= active.versions["timestamp"]:
            self.signed.pop(0)
        while len(self.signed) < AHEAD:
            self.signed.append(self._following(self.signed[-1] if self.signed else active.signed))

    def _following(self, signed: SignedSet) -> SignedSet:
        now_ms, version = self.clock.now_ms(), timestamp_of(signed) + 1
        changes: dict[str, bytes | None] = dict(access(CLIENT_KEYS + version % 7))
        if version % LARGE_EVERY == 0:
            changes["vendor/model.bin"] = os.urandom(INLINE_BYTES + version)
        return self.repository.publish(signed, changes, now_ms)

    def write(self, active: VerifiedSet, acknowledge: int) -> None:
        """Install one set after the other, until killed."""
        cache = SlotCache(self.paths.org(ORG).folder, Seal(OUTPOST, ORG, lambda: self.wrap_key, os.urandom), self._at)
        verifier = open_verifier(self.paths, ORG)
        verifier.reverify(active.signed, cache.read_high_water())
        installer = Installer(ORG, cache, NoWorkers(), verifier.verify, lambda verified: None, self.clock)
        asyncio.run(self._install(installer, active, acknowledge))

    async def _install(self, installer: Installer, active: VerifiedSet, acknowledge: int) -> None:
        async def nothing(sha256: bytes, size: int) -> bytes:
            raise AssertionError("every byte is in the offer")

        offers = [offer(signed) for signed in self.signed]
        os.write(acknowledge, _ACKNOWLEDGED.pack(active.versions["timestamp"]))  # from now on it may be killed
        for each in offers:
            self._at("verification")
            active = await installer.install(each, active, nothing)
            os.write(acknowledge, _ACKNOWLEDGED.pack(active.versions["timestamp"]))

    def _at(self, step: str) -> None:
        self.step[: len(self.step)] = step.encode().ljust(len(self.step), b"\0")

    def stood_at(self) -> str:
        """The last step that the writer began."""
        return self.step[:].rstrip(b"\0").decode()


def timestamp_of(signed: SignedSet) -> int:
    """Version of the timestamp of a set that we signed."""
    return int(json.loads(signed.metadata["timestamp.json"])["signed"]["version"])


def campaign(folder: Path, kills: int, seed: int) -> Result:
    """Kill a writer again and again, and start after each."""
    chance, result, site = random.Random(seed), Result(), Site(folder)
    active = site.newest()
    for number in range(kills):
        acknowledged = kill_one(site, active, chance.uniform(*LIVE_SECONDS), result)
        wanted = max([active.versions["timestamp"], *acknowledged])
        result.acknowledged += len(acknowledged)
        began = time.monotonic()
        try:
            active = site.newest()
        except (OutpostError, AssertionError) as error:
            result.failed_starts.append(f"kill {number} at {site.stood_at()}: {error}")
            break  # what comes after would say nothing
        result.start_ms.append((time.monotonic() - began) * 1000)
        found = active.versions["timestamp"]
        result.newer += found > wanted
        if found < wanted:
            result.older.append(f"kill {number} at {site.stood_at()}: {found} instead of {wanted}")
    return result


def kill_one(site: Site, active: VerifiedSet, seconds: float, result: Result) -> list[int]:
    """Let a writer live for a while; returns the versions that it acknowledged."""
    site.prepare(active)
    reader, writer = os.pipe()
    site.step[: len(site.step)] = bytes(len(site.step))
    child = os.fork()
    if child == 0:
        try:
            site.write(active, writer)
        finally:
            os._exit(1)  # whatever happened: no second process may go on here
    os.close(writer)
    data = os.read(reader, _ACKNOWLEDGED.size)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    while part := os.read(reader, 65536):
        data += part
    os.close(reader)
    result.died_at[place(site.stood_at())] += 1
    return [version for (version,) in _ACKNOWLEDGED.iter_unpack(data)][1:]


def place(step: str) -> str:
    """The file that a step belongs to, for people."""
    name, _, last = step.partition(":")
    named = PLACES.get(name, "stored file" if len(name) == HASH_DIGITS else name or "start")
    return f"after {named}" if last == "done" else named


async def cold_starts(folder: Path, count: int) -> tuple[list[float], float]:
    """Seconds from `outpost run` to ready, with nobody where the control plane should be; and CPU seconds each."""
    found, cpu = [], 0.0
    state = StatePaths(folder / "state").state
    async with stack(folder) as running:
        for _ in range(count + 1):
            began, spent = time.monotonic(), cpu_of_children()
            arguments = ("run", "--state", str(state), "--port", "0", "--metrics-port", "0", "--workers", "1")
            program = await running.start("outpost", "outpost", *arguments)
            await wait_ready(program.ready["url"])
            found.append(time.monotonic() - began)
            await program.stop()
            cpu = cpu_of_children() - spent
    return found[1:], cpu  # the first start compiled the detectors, as any first start does


def cpu_of_children() -> float:
    """CPU seconds of all processes that ended and were waited for, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    quick = bool(os.environ.get("QUICK"))
    kills = int(os.environ.get("KILLS", QUICK_KILLS if quick else KILLS))
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="outpost-cache-kills-") as name:
        result = campaign(Path(name), kills, seed)
        cold, cpu = asyncio.run(cold_starts(Path(name), 1 if quick else COLD_STARTS))
    print(f"seed {seed}")
    print(f"killed in the middle of: {', '.join(f'{what} {n}' for what, n in result.died_at.most_common())}")
    print(f"sets acknowledged {result.acknowledged}; failed starts {len(result.failed_starts)}, ", end="")
    print(f"older sets served {len(result.older)}, newer than acknowledged {result.newer}")
    for what in [*result.failed_starts, *result.older]:
        print(f"    {what}")
    print(f"a start takes {statistics.median(result.start_ms):.1f} ms (median), {max(result.start_ms):.1f} ms at worst")
    usual = statistics.median(cold)
    print(f"outpost run without a control plane: ready after {usual:.2f} s (median of {len(cold)}), ", end="")
    print(f"{max(cold):.2f} s at worst, {cpu:.2f} s of CPU time each with the end")
    line = {
        "kills": result.died_at.total(),
        "acknowledged": result.acknowledged,
        "failed_starts": len(result.failed_starts),
        "older_served": len(result.older),
        "newer_served": result.newer,
        "start_median_ms": round(statistics.median(result.start_ms), 1),
        "start_worst_ms": round(max(result.start_ms), 1),
        "cold_start_median_s": round(usual, 3),
        "cold_start_worst_s": round(max(cold), 3),
        "cold_start_cpu_s": round(cpu, 3),
        "seed": seed,
    }
    print(json.dumps(line))
    return 0 if not result.failed_starts and not result.older and usual <= COLD_START_BOUND_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
