"""The root CA is replaced under a fleet, in seven simulated days, while some outposts are away.

make bench-ca-rotation      # 1,000 connected and 50 away; QUICK=1: 60 and 10

The wall clock of every process leaps by some hours at a time. Outposts renew as their certificates age. The root is
prepared, activated, the old one tainted and retired, each step as soon as the control plane takes it without force; its
server is killed and started again after each. Those who were away come back after all of it: their certificates expired
long ago, and the root that they believe is believed by nobody else.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import Any

from bench.fleet import report
from bench.fleet.postgres import free_port
from bench.fleet.site import DATABASE, ORG, BenchError, Site, site
from bench.fleet.warp import Warp, forget, warped
from controlplane.domain.authorities import AuthorityBusyError, AuthorityKind
from controlplane.domain.outposts import OutpostState

KEYS = ("connected", "away", "simulated_days", "trust_failures", "manual_steps", "renewals", "recovered", "adopted")
KEYS += ("back_s", "late", "locked", "kills", "steps", "database")
COUNT = report.outposts(60, 1000)
AWAY = 4 if report.TINY else 10 if report.QUICK else 50
HOURS = 7 * 24
LEAP_HOURS = 6 if report.QUICK else 3
LEAVE_HOUR, FIRST_STEP_HOUR, GAP_HOURS = 6, 24, 12
LEAP_SECONDS = report.seconds(0.3, 0.4, 1.5)  # real ones, at least
CHECK_SECONDS = report.seconds(1.0, 2.0, 20.0)  # between two looks of an agent at its certificate
PATIENCE_SECONDS = 60.0  # real ones, until everybody has caught up with a leap
HEARTBEAT_SECONDS = report.seconds(0.5, 1.0, 5.0)  # in them outposts say which roots they believe
UPTAKE_SECONDS = 3 * HEARTBEAT_SECONDS + 5.0
CONNECT_RATE = 1000  # in a second: hours pass in one, so waiting for one's turn would take days
NETWORK = ("controlplane.unreachable", "controlplane.closed", "controlplane.connecting", "sync.replaced", "throttled")
LEAPS = ("clock.skew", "certificate.late")  # a message that a leap overtook; a leap over the hours of the renewal
EXPECTED = ("certificate.expired", "chain.untrusted")  # of whoever was away, until he has adopted and recovered
"""What a killed server, a herd that comes back and leaps explain; everything else that is told counts as a failure."""


class Rotation:
    """The steps, each as soon as it is taken."""

    def __init__(self, fleet: Site) -> None:
        self._fleet = fleet
        self._cas = fleet.plane.authorities
        self.done: list[tuple[str, int]] = []
        self.refused = 0
        self.kills = 0

    async def advance(self, hour: int) -> None:
        """Make the next step, when there is one and it is time."""
        if len(self.done) == len(STEPS) or hour < (self.done[-1][1] + GAP_HOURS if self.done else FIRST_STEP_HOUR):
            return
        name = STEPS[len(self.done)]
        try:
            await self._step(name)
        except AuthorityBusyError:  # outposts in contact are not that far
            self.refused += 1
            return
        self.done.append((name, hour))
        self._fleet.replicas[0].kill()
        self.kills += 1
        await self._fleet.serve_again()

    async def _step(self, name: str) -> None:
        if name == "prepare":
            await self._cas.prepare(AuthorityKind.ROOT, None)
        elif name == "activate":
            await self._cas.activate(AuthorityKind.ROOT)
        elif name == "taint":
            await self._cas.taint(AuthorityKind.ROOT)
        else:
            await self._cas.retire(AuthorityKind.ROOT)


STEPS = ("prepare", "activate", "taint", "retire")


async def state(fleet: Site) -> dict[str, Any]:
    """Of all agents that run."""
    answers = await fleet.everyone("certificates")
    if any(answer["failed"] for answer in answers):
        raise BenchError(f"an agent failed: {[answer['failed'][:1] for answer in answers]}")
    return {
        **{name: sum(answer[name] for answer in answers) for name in ("settled", "running", "late")},
        **{name: sum((Counter(answer[name]) for answer in answers), Counter()) for name in ("told", "events")},
    }


async def caught_up(fleet: Site) -> dict[str, Any]:
    """Wait until every agent that runs is linked with its newest certificate, which is not late."""
    began = time.monotonic()
    while True:
        found = await state(fleet)
        if found["settled"] == found["running"] and not found["late"]:
            return found
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise BenchError(f"not caught up after {PATIENCE_SECONDS:.0f} s: {found}")
        await asyncio.sleep(0.1)


def failures(told: Counter[str]) -> Counter[str]:
    """What was told that neither a killed server nor a herd explains."""
    return Counter({what: count for what, count in told.items() if what.split()[1] not in (*NETWORK, *LEAPS)})


async def seven_days(fleet: Site, clock: Warp, rotation: Rotation) -> tuple[Counter[str], Counter[str]]:
    """Live; what was told that is a failure, and what was recorded, by those who stay connected."""
    gone = list(range(COUNT, COUNT + AWAY))
    for hour in range(0, HOURS, LEAP_HOURS):
        began = time.monotonic()
        if hour - LEAP_HOURS < LEAVE_HOUR <= hour:
            await fleet.everyone("stop_some", numbers=gone)
        await rotation.advance(hour)
        clock.leap(LEAP_HOURS * 3600)
        await fleet.everyone("look")
        await fleet.plane.publisher.refresh(ORG)  # as the server does each minute; the offers tell the time, too
        await asyncio.sleep(max(0.0, LEAP_SECONDS - (time.monotonic() - began)))
        found = await caught_up(fleet)
    if len(rotation.done) != len(STEPS):
        raise BenchError(f"the rotation stands after {rotation.done}; {rotation.refused} attempts were refused")
    return failures(found["told"]), found["events"]


async def bench(result: dict[str, Any]) -> None:
    clock = CLOCK
    result |= {"connected": COUNT, "away": AWAY, "database": DATABASE}
    async with site(COUNT + AWAY, enroll_port=free_port(), status_write_seconds=1, connect_rate=CONNECT_RATE) as fleet:
        report.remark(f"{report.load()}; {DATABASE}; outposts on {report.where(fleet.outposts[0].folder)}")
        await fleet.load(check_seconds=CHECK_SECONDS, reconnect_cap_seconds=3.0, heartbeat_seconds=HEARTBEAT_SECONDS)
        await fleet.connect(per_second=120)
        rotation = Rotation(fleet)
        troubles, events = await seven_days(fleet, clock, rotation)
        began = time.monotonic()
        await fleet.everyone("start")
        back = await caught_up(fleet)
        back_s = time.monotonic() - began
        behind = await unbelieving(fleet)
        late_troubles = failures(back["told"]) - troubles
        recorded = back["events"] - events
        known = await _stored(fleet)
        await fleet.stop_agents()
    locked = sum(state is not OutpostState.ACTIVE or bool(alert) for state, alert in known)
    failed = troubles + Counter({what: n for what, n in late_troubles.items() if what.split()[1] not in EXPECTED})
    result |= {
        "simulated_days": clock.seconds / 86_400,
        "trust_failures": failed.total() + events["trust.adopted"] + behind,
        "manual_steps": behind + locked,
        "renewals": events["certificate.renewed"],
        "recovered": recorded["certificate.recovered"],
        "adopted": recorded["trust.adopted"],
        "back_s": round(back_s, 1),
        "late": back["late"],
        "locked": locked,
        "kills": rotation.kills,
        "steps": {name: round(hour / 24, 2) for name, hour in rotation.done},
    }
    report.table(("step of the rotation", "on day"), [(name, f"{hour / 24:.2f}") for name, hour in rotation.done])
    report.remark(f"connected outposts: {events['certificate.renewed']} renewals; steps refused: {rotation.refused}")
    report.remark(f"failures that they told: {dict(failed) or 'none'}")
    report.remark(
        f"away for {HOURS - LEAVE_HOUR} h: {recorded['trust.adopted']} adopted the root and "
        f"{recorded['certificate.recovered']} recovered, all linked after {back_s:.1f} s"
    )


async def unbelieving(fleet: Site) -> int:
    """How many do not say, after a while, that they believe the new root and no other."""
    began = time.monotonic()
    while True:
        uptake = await fleet.plane.authorities.uptake()
        if uptake.current == COUNT + AWAY or time.monotonic() - began > UPTAKE_SECONDS:
            return COUNT + AWAY - uptake.current
        await asyncio.sleep(0.2)


async def _stored(fleet: Site) -> list[tuple[OutpostState, str]]:
    async with fleet.plane.store.for_org(ORG).read() as transaction:
        return [(each.state, each.alert) for each in await transaction.outposts.all()]


if __name__ == "__main__":
    CLOCK = warped("bench.fleet.ca_rotation")
    status = report.run(bench, KEYS)
    forget()
    sys.exit(status)
