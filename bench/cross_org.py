"""Ten thousand attempts to get something of another org: over the wire, over HTTPS and by the command line.

    make bench-cross-org        # QUICK=1: 600; DATABASE=sqlite: without PostgreSQL

A real control plane serves three orgs that hold something of everything. Outposts, tokens and commands of each are at
the things of the others; every answer is searched for those, and must be the one for what does not exist. Then the
same once more on a server whose statements have lost every ``org = $1``: PostgreSQL's row level security alone must
hold. At the end that is taken away too; the same attempts must find rows then, or they would prove nothing.
"""

import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet import postgres, report
from bench.fleet.site import DATABASE, BenchError, Process
from bench.orgs import world
from bench.orgs.api import OPERATIONS, Api
from bench.orgs.tally import Tally
from bench.orgs.wire import Wires

KEYS: tuple[str, ...] = ("attempts", "rows", "mutated", "self_check_rows", "database")
KEYS += ("unlike_missing", "changed_rows", "cli_processes", "operations", "seconds")
SEED = 20261126
ATTEMPTS = int(os.environ.get("ATTEMPTS", "0")) or (600 if report.QUICK else 10_000)
PROCESSES = max(2, ATTEMPTS // 100)  # of the attempts by the command line
ALL_REACHED = 5_000  # so many reach every operation
SELF_CHECK = min(300, ATTEMPTS)
WORKERS = {"rpc": 6, "rest": 5, "cli": 4, "process": 2}
HONEST, MUTANT = "controlplane", "bench.orgs.mutant"


@dataclass
class Place:
    """Where the control plane is."""

    folder: Path
    state: Path
    database: postgres.Postgres | None
    orgs: dict[str, world.Org]


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """A control plane with three full orgs, which does not run."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="orgs-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        database = stack.enter_context(postgres.running_server()) if DATABASE == "postgres" else None
        state = await world.initialised(folder, database)
        made = Place(folder, state, database, {})
        async with served(made, HONEST):
            made.orgs |= await world.filled(state)
        yield made


@asynccontextmanager
async def served(made: Place, module: str) -> AsyncIterator[dict[str, Any]]:
    """Run the control plane, as it is or mutated; what its ready line says."""
    command = (sys.executable, "-m", module, "serve", "--state", str(made.state))
    process = await Process.start(made.folder / "server.log", *command, env={"PYTHONPATH": os.getcwd()})
    try:
        yield process.ready
    finally:
        await process.stop()


async def attack(made: Place, ready: dict[str, Any], shares: dict[str, int], label: str) -> Tally:
    """So many attempts by surface, some at a time."""
    tally, chance = Tally(made.orgs), random.Random(SEED)
    api = Api(made.orgs, made.state, str(ready["api"]), chance)
    wires = Wires(made.orgs, str(ready["enroll"]), chance)
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "rpc": lambda: wires.attempt(tally),
        "rest": lambda: api.attempt(tally, "rest"),
        "cli": lambda: api.attempt(tally, "cli"),
        "process": lambda: api.command(tally),
    }
    left = Counter(shares)

    async def work(surface: str) -> None:
        while left[surface] > 0:
            left[surface] -= 1
            await ways[surface]()

    try:
        await api.open(made.folder / f"tokens-{label}")
        await wires.open()
        async with asyncio.TaskGroup() as group:
            for surface, count in WORKERS.items():
                for _ in range(count):
                    group.create_task(work(surface))
    finally:
        await wires.close()
        await api.close()
    return tally


def shares() -> dict[str, int]:
    """A third of the attempts for each surface."""
    third = ATTEMPTS // 3
    return {"rpc": ATTEMPTS - 2 * third, "rest": third, "cli": third - PROCESSES, "process": PROCESSES}


async def self_check(made: Place, ready: dict[str, Any]) -> int:
    """Rows that the same attempts find once nothing holds any more; whatever else breaks then does not count."""
    if made.database is None:
        return 0
    await world.unlock(made.database)
    third = SELF_CHECK // 3
    found = await attack(made, ready, {"rest": 2 * third, "rpc": third}, "unlocked")
    for fault in found.faults[:3]:
        report.remark(f"self-check: {fault[:160]}")
    return found.rows


async def bench(result: dict[str, Any]) -> None:
    """Both runs and the self-check."""
    began = time.monotonic()
    result |= {"database": DATABASE}
    async with place() as made:
        report.remark(f"{report.load()}; {DATABASE}; {ATTEMPTS} attempts of {len(made.orgs)} orgs, twice")
        before = await world.marked_rows(made.database, made.orgs) if made.database else {}
        async with served(made, HONEST) as ready:
            plain = await attack(made, ready, shares(), "plain")
        show("with WHERE", plain)
        result |= {"attempts": dict(plain.attempts), "rows": plain.rows}
        result |= {"cli_processes": plain.processes, "operations": len(plain.operations)}
        async with served(made, MUTANT) as ready:
            mutated = await attack(made, ready, shares(), "mutated")
            show("without WHERE", mutated)
            result["mutated"] = {"attempts": dict(mutated.attempts), "rows": mutated.rows}
            result["unlike_missing"] = plain.different + mutated.different
            after = await world.marked_rows(made.database, made.orgs) if made.database else {}
            changed = sorted(key for key in before if before[key] != after[key])
            result["changed_rows"] = len(changed)
            result["self_check_rows"] = await self_check(made, ready)
    result["seconds"] = round(time.monotonic() - began, 1)
    judge(result, [*plain.faults, *mutated.faults, *(f"changed: {each}" for each in changed)])


def show(label: str, tally: Tally) -> None:
    """For people."""
    rows = [(surface, kind, status, count) for (surface, kind, status), count in sorted(tally.answers.items())]
    report.table((label, "attempt", "answer", "count"), rows)
    report.remark(f"{label}: {tally.rows} rows of another org, {tally.different} answers unlike the missing one's")
    report.remark(f"{label}: told to try again, and did: {dict(tally.again) or 'never'}")


def judge(result: dict[str, Any], faults: list[str]) -> None:
    """Raises BenchError: an org got something of another, or the attempts prove nothing."""
    for fault in faults:
        report.remark(fault)
    if faults:
        raise BenchError("an org got something of another, or could tell it from none")
    if ATTEMPTS >= ALL_REACHED and result["operations"] != len(OPERATIONS):
        raise BenchError("an operation of the API was never asked for")
    if DATABASE == "postgres" and not result["self_check_rows"]:
        raise BenchError("without any lock the attempts found nothing, so they prove nothing")


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
