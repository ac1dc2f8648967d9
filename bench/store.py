"""What the control plane's store does in a second, on SQLite and on a durable PostgreSQL of its own.

Prints a table and, as its last line, one JSON object. QUICK=1 takes fewer rounds. Everything runs on this machine's
cores, the database server beside its clients.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat
from controlplane.store.store import DatabaseStore
from tests.contract.stores import ORG, Place, an_outpost
from tests.fakes.postgres_server import Server, binaries, running_server

ROUNDS = 3 if os.environ.get("QUICK") else 7
TRANSACTIONS = 200 if os.environ.get("QUICK") else 1000
MANY = 1000
ORGS = [f"org-{number}" for number in range(100)]
PARALLEL = 8
UNITS = {
    "read": "one outpost read in a transaction, one after the other, 1/s",
    "read_parallel": f"the same, {PARALLEL} at a time, 1/s",
    "write": "one outpost saved, with its change, 1/s",
    "write_unnoted": "one heartbeat kept, no change, 1/s",
    "write_two_processes": f"one outpost saved, {PARALLEL} writers of two stores, 1/s",
    "write_orgs": f"one outpost saved in one of 100 orgs, {PARALLEL} at a time, 1/s",
    "keep_deliveries_ms": f"{MANY} words of outposts in one transaction, ms",
    "keep_statuses_ms": f"{MANY} heartbeats in one transaction, ms",
    "heads_ms": "newest change of 100 orgs, ms",
    "since_ms": "what changed since the change before, ms",
    "all_ms": f"{MANY} outposts read, ms",
    "some_ms": "one of them, as the change feed names it, ms",
}


async def rate(work: Callable[[int], Awaitable[Any]], parallel: int = 1) -> float:
    """Calls in a second."""
    numbers = iter(range(TRANSACTIONS))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(parallel)))
    return TRANSACTIONS / (time.perf_counter() - started)


async def took_ms(work: Callable[[int], Awaitable[Any]]) -> float:
    """Milliseconds of a call, the median of some."""
    times = []
    for number in range(5):
        started = time.perf_counter()
        await work(number)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


class Acts:
    """What is measured."""

    def __init__(self, store: DatabaseStore, other: DatabaseStore) -> None:
        self.store, self.other = store, other
        self.outposts = [an_outpost(number) for number in range(1, MANY + 1)]

    async def prepare(self) -> None:
        for org in (ORG, *ORGS):
            await self.store.add_org(org, 1)
            async with self.store.for_org(org).write() as t:
                for outpost in self.outposts if org == ORG else self.outposts[:1]:
                    await t.outposts.add(outpost)

    async def read(self, number: int) -> None:
        async with self.store.for_org(ORG).read() as t:
            await t.outposts.get(self.outposts[number % MANY].id)

    async def write(self, number: int) -> None:
        async with self.store.for_org(ORG).write() as t:
            await t.outposts.save(self.outposts[number % MANY])

    async def write_of_two(self, number: int) -> None:
        async with (self.store if number % 2 else self.other).for_org(ORG).write() as t:
            await t.outposts.save(self.outposts[number % MANY])

    async def write_orgs(self, number: int) -> None:
        async with self.store.for_org(ORGS[number % len(ORGS)]).write() as t:
            await t.outposts.save(self.outposts[0])

    async def write_unnoted(self, number: int) -> None:
        async with self.store.for_org(ORG).write("presence") as t:
            await t.outposts.keep_statuses([Heartbeat(self.outposts[number % MANY].id, {"state": "ACTIVE"}, number)])

    async def keep_deliveries(self, number: int) -> None:
        words = [Delivery(each.id, number, "1.1", DeliveryState.ACTIVE, number) for each in self.outposts]
        async with self.store.for_org(ORG).write("deliveries") as t:
            await t.releases.keep_deliveries(words)

    async def keep_statuses(self, number: int) -> None:
        beats = [Heartbeat(each.id, {"state": "ACTIVE", "number": number}, 10_000 + number) for each in self.outposts]
        async with self.store.for_org(ORG).write("presence") as t:
            await t.outposts.keep_statuses(beats)

    async def heads(self, _: int) -> None:
        await self.store.heads(ORGS)

    async def since(self, _: int) -> None:
        async with self.store.for_org(ORG).write() as t:
            t.changes.note(Change(ChangeKind.RELEASE))
            before = await t.changes.newest()
        async with self.store.for_org(ORG).read() as t:
            await t.changes.since(before)

    async def all(self, _: int) -> None:
        async with self.store.for_org(ORG).read() as t:
            assert len(await t.outposts.all()) == MANY

    async def some(self, _: int) -> None:
        async with self.store.for_org(ORG).read() as t:
            await t.outposts.some([self.outposts[5].id])


async def measured(acts: Acts) -> dict[str, float]:
    """One round."""
    return {
        "read": await rate(acts.read),
        "read_parallel": await rate(acts.read, PARALLEL),
        "write": await rate(acts.write),
        "write_unnoted": await rate(acts.write_unnoted),
        "write_two_processes": await rate(acts.write_of_two, PARALLEL),
        "write_orgs": await rate(acts.write_orgs, PARALLEL),
        "keep_deliveries_ms": await took_ms(acts.keep_deliveries),
        "keep_statuses_ms": await took_ms(acts.keep_statuses),
        "heads_ms": await took_ms(acts.heads),
        "since_ms": await took_ms(acts.since),
        "all_ms": await took_ms(acts.all),
        "some_ms": await took_ms(acts.some),
    }


async def engine(folder: Path, server: Server | None) -> dict[str, float]:
    """Medians of all rounds on one engine."""
    place = Place(folder, server)
    async with place.opened() as store, place.opened() as other:
        acts = Acts(store, other)
        await acts.prepare()
        rounds = [await measured(acts) for _ in range(ROUNDS)]
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in UNITS}


def main() -> None:
    """Measure both, and print."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, dict[str, float] | None] = {
            "sqlite": asyncio.run(engine(Path(folder), None)),
            "postgres": None,
        }
    if binaries() is not None:
        with running_server(durable=True) as server, tempfile.TemporaryDirectory() as folder:
            found["postgres"] = asyncio.run(engine(Path(folder), server))
    print(f"{'':<22}{'SQLite':>10}{'PostgreSQL':>12}")
    for name, unit in UNITS.items():
        cells = [
            f"{(found[each] or {}).get(name, float('nan')):>{width}.1f}"
            for each, width in (("sqlite", 10), ("postgres", 12))
        ]
        print(f"{name:<22}{''.join(cells)}   {unit}")
    why = {} if found["postgres"] else {"why": "PostgreSQL is not installed: apt-get install postgresql-15"}
    print(json.dumps({**found, "rounds": ROUNDS, "transactions": TRANSACTIONS, **why}))


if __name__ == "__main__":
    main()
