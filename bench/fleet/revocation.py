"""From a revocation to the stream's end and the refusal of the next call, at the same replica and at the other.

    make bench-revocation       # 1,000 streams over 2 replicas on PostgreSQL; QUICK=1: 150

Some are revoked by the operation that `outpost revoke` is: with its act on record, and a signed set for all the others.
Their time begins when it is called. Of some of these the other replicas are asked too, again and again, until they
refuse. Others are revoked many in one transaction, their rows alone; their time begins just before the commit. A time
ends when the stream was closed and one more call, made at once on the connection that is still open, was refused. Some
outposts are left: whoever is not revoked must not lose a stream.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from controlplane.bootstrap.local import LocalApi, local_principal
from controlplane.bootstrap.workbench import workbench
from controlplane.domain import outposts

KEYS = (
    *("streams", "replicas", "p50_ms", "p99_ms", "database", "closed_p99_ms", "operation_p99_ms", "elsewhere_p99_ms"),
    *("rounds", "others", "others_ended"),
)
COUNT, REPLICAS = report.outposts(150, 1000), 2
SINGLES = 5 if report.QUICK else 20
ELSEWHERE = 2 if report.QUICK else 10  # of them, whose other replicas are asked too
OPERATIONS = min(10, COUNT // 8) if report.QUICK else 50  # one operation after the other, without a pause
ROWS = (min(20, COUNT // 4),) if report.QUICK else (50, 200)  # in one transaction
LEFT = max(1, COUNT // 20)  # are never revoked
PATIENCE_SECONDS = 20.0
REFUSED = "outpost.revoked"
TORN = "controlplane.unreachable"  # what a stream ends with on which an answer was just being written


@dataclass
class Round:
    """Times of outposts that were revoked together, seconds."""

    how: str
    closed: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)


async def by_operation(fleet: Site, api: LocalApi, numbers: list[int]) -> dict[int, float]:
    """Revoke outposts by the product's own operation, one after the other; when each was called."""
    began = {}
    for number in numbers:
        began[number] = time.monotonic()
        params = {"org": ORG, "outpost": fleet.outposts[number].id}
        answer = await api.call("outposts.revoke", params, {"reason": "bench"})
        if answer.status != 200:
            raise BenchError(f"the operation answered {answer.status}")
    return began


async def by_rows(fleet: Site, numbers: list[int]) -> dict[int, float]:
    """Revoke outposts in one transaction; the moment just before it is committed."""
    now_ms = fleet.plane.clock.now_ms()
    async with fleet.plane.store.for_org(ORG).write() as transaction:
        for number in numbers:
            outpost = await transaction.outposts.get(fleet.outposts[number].id)
            await transaction.outposts.save(outposts.revoked(outpost, "bench", now_ms))
        return dict.fromkeys(numbers, time.monotonic())


def strays(notes: Mapping[int, Mapping[str, Any]], revoked: set[int]) -> list[int]:
    """Outposts that lost a stream, and were not revoked."""
    return sorted(number for number, each in notes.items() if each["ended"] and number not in revoked)


class Revocation:
    """One run."""

    def __init__(self, fleet: Site, api: LocalApi) -> None:
        self._fleet = fleet
        self._api = api
        self._left = list(range(COUNT))
        random.Random(1).shuffle(self._left)
        self._revoked: set[int] = set()
        self.rounds: list[Round] = []

    async def run(self) -> int:
        """All rounds; how many outposts are left."""
        for single in range(SINGLES):
            await self._measured("1, operation", 1, elsewhere=single < ELSEWHERE)
        await self._measured(f"{OPERATIONS}, operations", OPERATIONS)
        for size in (*ROWS, len(self._left) - sum(ROWS) - LEFT):
            await self._measured(f"{size}, rows in one transaction", size)
        await self._require_only_revoked(await self._fleet.notes())
        linked = sum(answer["linked"] for answer in await self._fleet.everyone("count"))
        if linked != len(self._left):
            raise BenchError(f"{len(self._left)} outposts were not revoked, and {linked} are connected")
        return linked

    async def _require_only_revoked(self, notes: Mapping[int, Mapping[str, Any]]) -> None:
        if lost := strays(notes, self._revoked):
            raise BenchError(f"{len(lost)} outposts lost their stream that were not revoked: {lost[:5]}")

    async def _measured(self, how: str, size: int, *, elsewhere: bool = False) -> None:
        fleet, numbers = self._fleet, [self._left.pop() for _ in range(size)]
        await self._settled(len(numbers))
        await self._require_only_revoked(await fleet.notes())
        self._revoked |= set(numbers)
        if elsewhere:
            await fleet.everyone("probe", numbers=numbers)
        operation = "operation" in how
        began = await (by_operation(fleet, self._api, numbers) if operation else by_rows(fleet, numbers))
        closed, refused = await self._until_refused(began)
        found = Round(how, list(closed.values()), list(refused.values()))
        if elsewhere:
            for answer in await fleet.everyone("probed"):
                found.elsewhere += [moment - began[numbers[0]] for moment in answer["moments"]]
            if len(found.elsewhere) != REPLICAS:
                raise BenchError(f"{len(found.elsewhere)} of {REPLICAS} replicas refused a revoked outpost in time")
        self.rounds.append(found)

    async def _settled(self, chosen: int) -> None:
        """Wait until nobody is busy with the set of the round before: what is measured is this one."""
        async with self._fleet.plane.store.for_org(ORG).read() as transaction:
            newest = await transaction.releases.newest()
        revision = newest.revision if newest is not None else ""
        await self._fleet.until("active", len(self._left) + chosen, 60, revision=revision)

    async def _until_refused(self, began: Mapping[int, float]) -> tuple[dict[int, float], dict[int, float]]:
        """Seconds to the end of each stream, and to the refusal after it."""
        closed: dict[int, float] = {}
        refused: dict[int, float] = {}
        codes: dict[str, Counter[str]] = {"ended": Counter(), "refused": Counter()}
        while missing := set(began) - set(refused):
            if time.monotonic() - max(began.values()) > PATIENCE_SECONDS:
                raise BenchError(f"{len(missing)} of {len(began)} revoked outposts were not refused")
            for number, notes in (await self._fleet.notes(only=sorted(began))).items():
                for name, found in (("ended", closed), ("refused", refused)):
                    for code, moment in notes[name]:
                        codes[name][code] += 1
                        found.setdefault(number, moment - began[number])
            await asyncio.sleep(0.01)
        if set(codes["refused"]) != {REFUSED} or set(codes["ended"]) - {REFUSED, TORN}:
            raise BenchError(f"a revoked outpost was told {codes}")
        return closed, refused


async def bench(result: dict[str, Any]) -> None:
    async with site(COUNT, replicas=REPLICAS) as fleet, workbench(fleet.plane) as admin:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        await fleet.load(probing=True)
        await fleet.connect()
        await fleet.until("active", COUNT, 60, revision="1.1")  # nobody is busy with an offer any more
        run = Revocation(fleet, LocalApi(fleet.plane, admin, local_principal()))
        others = await run.run()
        await fleet.stop_agents()
        result.update(streams=COUNT, replicas=len(fleet.replicas), database=DATABASE, others=others, others_ended=0)
    show(run.rounds)
    refused = [each for found in run.rounds for each in found.refused]
    result["p50_ms"] = meters.milliseconds(refused, 0.5)
    result["p99_ms"] = meters.milliseconds(refused, 0.99)
    result["closed_p99_ms"] = meters.milliseconds([each for found in run.rounds for each in found.closed], 0.99)
    operations = [each for found in run.rounds if "operation" in found.how for each in found.refused]
    result["operation_p99_ms"] = meters.milliseconds(operations, 0.99)
    result["elsewhere_p99_ms"] = meters.milliseconds([each for found in run.rounds for each in found.elsewhere], 0.99)
    result["rounds"] = [
        {"revoked": len(found.refused), "how": found.how, "p99_ms": meters.milliseconds(found.refused, 0.99)}
        for found in run.rounds
        if len(found.refused) > 1
    ]


def show(rounds: list[Round]) -> None:
    """Singles in one line, every bulk in one of its own."""
    first, *rest = rounds[SINGLES - 1 :]
    for each in rounds[: SINGLES - 1]:
        first.closed += each.closed
        first.refused += each.refused
        first.elsewhere += each.elsewhere
    head = ("revoked", "closed p50", "p99", "max ms", "next call refused p50", "p99", "max ms", "other replicas max ms")
    lines = []
    for each in (first, *rest):
        times = (number for values in (each.closed, each.refused) for number in report.ms(meters.spread(values)))
        lines.append((each.how, *times, report.ms([max(each.elsewhere, default=None)])[0]))
    report.table(head, lines)


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
