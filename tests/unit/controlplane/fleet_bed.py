"""An org with a fleet whose outposts say what a test lets them say; nobody listens, and time stands still."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.domain.outposts import OutpostState
from controlplane.domain.plans import Author, Plan
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat
from controlplane.domain.rollout import Step
from controlplane.services.configuration import Published
from controlplane.services.plans import Planner, Wish
from controlplane.services.rollouts import Rollouts
from outpost.core.bundle.content import SetContent
from outpost.core.bundle.rollout import choose
from tests.contract.stores import an_outpost
from tests.unit.controlplane.bed import Bed, bed

ORG = "acme"
ALICE, BOB = Author("user-1", "alice"), Author("user-2", "bob")
STAGED = Wish(ALICE)


@dataclass
class FleetBed:
    plane: Bed
    planner: Planner
    rollouts: Rollouts
    names: tuple[str, ...]

    async def content(self) -> SetContent:
        """What is in force."""
        return await self.plane.publisher.content(ORG)

    async def number(self) -> int:
        """Of the newest set."""
        async with self.plane.store.for_org(ORG).read() as transaction:
            newest = await transaction.releases.newest()
        assert newest is not None
        return newest.number

    async def terms(self, body_bytes: int, wish: Wish = STAGED) -> Published:
        """One more release."""
        return await self.plane.publisher.publish_terms(ORG, {"max_body_bytes": body_bytes}, None, wish)

    async def plan(self, number: int = 1) -> Plan:
        """As stored."""
        return (await self.planner.shown(ORG, number)).plan

    async def members(self) -> tuple[str, ...]:
        """Outposts on which the candidate runs."""
        rollout = (await self.content()).rollout
        return tuple(name for name in self.names if choose(rollout, name) == rollout.candidate)

    async def say(self, names: Iterable[str], state: DeliveryState = DeliveryState.ACTIVE, **more: object) -> None:
        """Answers to the newest set, and a heartbeat."""
        number, rollout = await self.number(), (await self.content()).rollout
        words = [
            Delivery(
                f"op-{name}", number, f"{rollout.newest}.{number}", state, self.plane.clock.ms,
                **{"release": choose(rollout, name), **more},  # type: ignore[arg-type]
            )
            for name in names
        ]  # fmt: skip
        async with self.plane.store.for_org(ORG).write("words") as transaction:
            await transaction.releases.keep_deliveries(words)
        await self.beat(names)

    async def beat(self, names: Iterable[str], **more: object) -> None:
        """Heartbeats."""
        status = {"state": "ACTIVE", "health": {"inspection": "ok"}, **more}
        beats = [Heartbeat(f"op-{name}", status, self.plane.clock.ms) for name in names]
        async with self.plane.store.for_org(ORG).write("words") as transaction:
            await transaction.outposts.keep_statuses(beats)

    async def look(self, seconds: float = 0) -> Step | None:
        """Time passes, everybody is heard of, and a replica looks."""
        self.plane.clock.ms += int(seconds * 1000)
        return await self.rollouts.look(ORG)

    async def pass_stage(self) -> Step | None:
        """Everybody takes the newest set and does well with it for the soak time."""
        await self.say(self.names)
        assert await self.look() is Step.SETTLE
        assert await self.look(30) is Step.WAIT
        await self.beat(self.names)
        return await self.look(31)


@asynccontextmanager
async def fleet_bed(folder: Path, count: int = 20) -> AsyncIterator[FleetBed]:
    """A fleet of enrolled outposts, all connected."""
    async with bed(folder) as plane:
        names = tuple(f"n{number}" for number in range(count))
        async with plane.store.for_org(ORG).write() as transaction:
            for number, name in enumerate(names):
                outpost = replace(an_outpost(number, name), id=f"op-{name}", state=OutpostState.ACTIVE)
                await transaction.outposts.add(replace(outpost, serial=f"{number:x}", last_seen_ms=plane.clock.ms))
        yield FleetBed(plane, Planner(plane.store, plane.clock), Rollouts(plane.store, plane.clock, 90_000), names)
