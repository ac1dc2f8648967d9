"""A bad release: how many outposts it touches, and how soon the last good one is back.

    make bench-bad-release       # 1,000 outposts over 2 replicas; QUICK=1: 150

Two kinds. One that outposts cannot activate: a self-test of it fails, so each outpost of the first stage refuses the
set and says why. And one that is found out only in use: it activates, and then inspection fails its own test, which a
heartbeat tells. In both cases nobody does anything: a replica halts the roll-out by itself.

Touched is who refused the candidate, or ran it. Back is the time from there to the moment when that outpost had
acknowledged the set in which the stable release runs everywhere. The reason is visible when whoever asks the control
plane for the roll-out reads it. Then ten minutes pass: the judge is asked for each second of them, and every agent
starts anew several times; what was refused must not be offered again.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from bench.fleet import meters, report
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from controlplane.domain.plans import PlanState
from controlplane.domain.records import DeliveryState
from controlplane.services.plans import Planner, Wish
from controlplane.services.rollouts import Rollouts
from outpost.core.bundle.release_document import SelfTest

KEYS = (
    *("outposts", "touched_pct", "back_p99_ms", "reason_ms", "resent_in_10_min"),
    *("touched", "back_p50_ms", "halted_ms", "reconnects", "replicas", "database"),
)
COUNT, REPLICAS = report.outposts(150, 1000), 2 if DATABASE == "postgres" else 1
PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.02
SIMULATED_SECONDS = 600
RECONNECTS = 1 if report.QUICK else 5
SICK_BYTES = 777_777
REFUSED: dict[str, object] = {"self_tests": (SelfTest("good morning", "credit_card"),)}
SICK: dict[str, object] = {"max_body_bytes": SICK_BYTES}


@dataclass
class Case:
    """What was seen of one bad release; times are monotonic seconds."""

    name: str
    began: float
    release: int
    visible: float = 0.0  # the reason could be read
    halted: float = 0.0  # the plan says so
    refused_revisions: set[str] = field(default_factory=set)
    touched: dict[int, float] = field(default_factory=dict)  # outpost to when it refused or ran it first
    back: dict[int, float] = field(default_factory=dict)


class SteppedClock:
    """Time that is moved on by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def monotonic(self) -> float:
        return time.monotonic()


async def watched(fleet: Site, case: Case, number: int) -> None:
    """Read what anybody may read until the reason is there and the roll-out is halted."""
    planner = Planner(fleet.plane.store, fleet.plane.clock)
    while not case.halted:
        if time.monotonic() - case.began > PATIENCE_SECONDS:
            raise BenchError(f"{case.name}: not halted after {PATIENCE_SECONDS:.0f} s")
        plan = (await planner.shown(ORG, number)).plan
        async with fleet.plane.store.for_org(ORG).read() as transaction:
            words = await transaction.releases.deliveries()
            statuses = await transaction.outposts.statuses()
        told = any(word.state is DeliveryState.REFUSED and word.code for word in words)
        told |= any("canary.failed" in str(status.get("health")) for status in statuses.values())
        now = time.monotonic()
        if told and not case.visible:
            case.visible = now
        if plan.state is PlanState.HALTED:
            case.visible = case.visible or now
            case.halted = now
        await asyncio.sleep(LOOK_SECONDS)


async def gathered(fleet: Site, case: Case, wanted: str) -> None:
    """Wait until every touched outpost has acknowledged the set that is in force now."""
    pending = True
    while pending:
        if time.monotonic() - case.began > PATIENCE_SECONDS:
            raise BenchError(f"{case.name}: {len(case.back)} of {len(case.touched)} are back")
        for number, notes in (await fleet.notes()).items():
            ran = [moment for release, moment in notes["ran"] if release == case.release]
            moments = [moment for _, moment in notes["nacked"]] + ran
            if moments:
                case.touched[number] = min([case.touched.get(number, min(moments)), *moments])
            if notes["nacked"]:
                case.refused_revisions |= {revision for revision, files in notes["offered"] if files} - {wanted}
            for revision, moment in notes["acked"]:
                if revision == wanted:
                    case.back[number] = moment
        pending = not case.touched.keys() <= case.back.keys() or not case.touched
        await asyncio.sleep(LOOK_SECONDS)


async def bad(fleet: Site, name: str, terms: dict[str, object], number: int) -> Case:
    """Publish a bad release to the first stage, and see what comes of it."""
    await fleet.notes()
    published = await fleet.plane.publisher.publish_terms(ORG, terms, None, Wish(title=name))
    case = Case(name, fleet.committed, int(published.revision.partition(".")[0]))
    await watched(fleet, case, number)
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        newest = await transaction.releases.newest()
    assert newest is not None
    await gathered(fleet, case, newest.revision)
    return case


async def resent(fleet: Site, cases: list[Case]) -> int:
    """Offers of what was refused, and sets that hold a candidate again, while ten minutes pass."""
    clock, found = SteppedClock(), 0
    rollouts = Rollouts(fleet.plane.store, clock)
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        before = await transaction.releases.newest()
    for _ in range(SIMULATED_SECONDS):
        clock.ahead_ms += 1000
        found += await rollouts.look(ORG) is not None
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        found += await transaction.releases.newest() != before
    gone = set().union(*(case.refused_revisions for case in cases))
    for _ in range(RECONNECTS):
        await fleet.restart(sick_body_bytes=SICK_BYTES)
        await fleet.notes()
        await fleet.connect()
        for notes in (await fleet.notes()).values():
            found += sum(bool(files) and revision in gone for revision, files in notes["offered"])
            found += len(notes["nacked"])
    return found


async def bench(result: dict[str, Any]) -> None:
    async with site(COUNT, replicas=REPLICAS, connect_rate=1000) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        await fleet.load(sick_body_bytes=SICK_BYTES)
        await fleet.connect()
        await fleet.until("active", COUNT, 60, revision="1.1")
        result.update(outposts=COUNT, replicas=len(fleet.replicas), database=DATABASE)
        cases = [
            await bad(fleet, "refused at activation", REFUSED, 1),
            await bad(fleet, "found out in use", SICK, 2),
        ]
        show(cases)
        again = await resent(fleet, cases)
        await fleet.stop_agents()
    backs = [case.back[number] - moment for case in cases for number, moment in case.touched.items()]
    result["touched"] = [len(case.touched) for case in cases]
    result["touched_pct"] = round(max(len(case.touched) for case in cases) * 100 / COUNT, 2)
    result["back_p50_ms"] = meters.milliseconds(backs, 0.5)
    result["back_p99_ms"] = meters.milliseconds(backs, 0.99)
    result["reason_ms"] = meters.rounded(max(reason_seconds(case) for case in cases) * 1000)
    result["halted_ms"] = [meters.rounded((case.halted - case.began) * 1000) for case in cases]
    result["resent_in_10_min"] = again
    result["reconnects"] = RECONNECTS * COUNT
    report.remark(f"ten simulated minutes and {RECONNECTS} starts of every agent: {again} times offered again")


def reason_seconds(case: Case) -> float:
    """From the first refusal, where there was one, to the moment when its reason could be read.

    A sick outpost says so in its next heartbeat, which is not a delay of the control plane; there the reason counts
    from the halt, which is what the heartbeat led to.
    """
    since = min(case.touched.values()) if case.refused_revisions else case.halted
    return max(0.0, case.visible - since)


def show(cases: list[Case]) -> None:
    """A line for each bad release."""
    rows = []
    for case in cases:
        backs = [case.back[number] - moment for number, moment in case.touched.items()]
        times = report.ms((*meters.spread(backs), case.halted - case.began, reason_seconds(case)))
        rows.append((case.name, len(case.touched), *times))
    report.table(("release", "touched", "back p50", "p99", "max ms", "halted after", "reason readable after ms"), rows)


if __name__ == "__main__":
    sys.exit(report.run(bench, KEYS))
