"""Roll-outs that go on by themselves: every replica looks, whoever sees first acts, and nobody remembers anything.

Theory. All that a verdict rests on is in the store: the plan, the newest signed set, what outposts answered, their
newest heartbeats, and the times at which each was heard. ``look`` reads that and judges (``domain.rollout``). When
something is to be done it reads and judges again, in a transaction that excludes every other one of the org, and does
it there. So two replicas that see one refusal halt once, a replica that dies leaves nothing undone, and the time is an
argument.

A refusal is in the store, and told to every replica, before the outpost's next message is read (``words``); so the
replica that heard it halts at once. All else is looked for once a second, or more seldom where a look takes long.
"""

import asyncio
from dataclasses import dataclass, replace

from certs.errors import TrustError
from controlplane import telemetry
from controlplane.domain import plans, releases
from controlplane.domain.condition import SILENT_MS
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.plans import Moved, Plan, PlanState
from controlplane.domain.rollout import Participant, Running, Step, Verdict, judge, standing_of
from controlplane.domain.shadows import shadow_text
from controlplane.domain.stages import ALL
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services import staging
from controlplane.services.plans import halt, keep
from controlplane.services.staging import Scene
from outpost.core.bundle.rollout import RolloutDocument
from outpost.core.errors import OutpostError

LOOK_SECONDS = 1.0  # between two looks at an org in which something rolls
LOOK_SHARE = 20  # looks take one part in so many of a core, unless they would become too seldom for that
MAX_LOOK_SECONDS = 4.0  # a sick outpost tells it within a second or two, and is back within ten
ORGS_SECONDS = 5.0  # between two looks for orgs that are new


@dataclass(frozen=True, slots=True)
class Sight:
    """A roll-out as it stands.

    Attributes:
        plan: that rolls.
        scene: of the newest set.
        members: outposts of the cohort; ``others`` are the rest.
    """

    plan: Plan
    scene: Scene
    members: tuple[Participant, ...]
    others: tuple[Participant, ...]
    verdict: Verdict


class Rollouts:
    """The use case.

    Args:
        connected_ms: an outpost that was heard no longer ago is connected.
    """

    def __init__(self, store: Store, clock: Clock, connected_ms: int = SILENT_MS) -> None:
        self._store = store
        self._clock = clock
        self._connected_ms = connected_ms

    async def see(self, org: str) -> Sight | None:
        """Judge the roll-out of an org, and do nothing; None when nothing rolls."""
        async with self._store.for_org(org).read() as transaction:
            return await sight(transaction, self._clock.now_ms(), self._connected_ms)

    async def look(self, org: str) -> Step | None:
        """Judge the roll-out of an org, and do what is to be done.

        Returns:
            What was done; None when nothing rolls.
        """
        seen = await self.see(org)
        if seen is None or seen.verdict.step is Step.WAIT:
            return seen.verdict.step if seen else None
        async with self._store.for_org(org).write() as transaction:
            now_ms = self._clock.now_ms()
            seen = await sight(transaction, now_ms, self._connected_ms)
            if seen is None or seen.verdict.step is Step.WAIT:
                return Step.WAIT  # another replica was faster
            plan = await _act(transaction, seen, now_ms)
        _log(org, plan, seen.verdict)
        return seen.verdict.step


class RolloutWatch:
    """Looks at every org in which something rolls, until cancelled."""

    def __init__(self, store: Store, rollouts: Rollouts, clock: Clock) -> None:
        self._store = store
        self._rollouts = rollouts
        self._clock = clock
        self._heads: dict[str, int] = {}
        self._rolling: set[str] = set()
        self._due: set[str] = set()
        self._poked = asyncio.Event()

    def poke(self, org: str = "") -> None:
        """Look at once: an org changed, or anything may have."""
        if org:
            self._due.add(org)
        else:
            self._heads.clear()
        self._poked.set()

    async def run(self) -> None:
        """Look for ever."""
        looked_for_orgs = float("-inf")
        while True:
            began = self._clock.monotonic()
            self._poked.clear()
            if not self._heads or began - looked_for_orgs >= ORGS_SECONDS:
                await self._find()
                looked_for_orgs = began
            due, self._due = self._due | self._rolling, set()
            for org in sorted(due):
                await self.look(org)
            spent = self._clock.monotonic() - began
            pause = min(MAX_LOOK_SECONDS, max(LOOK_SECONDS, LOOK_SHARE * spent))
            try:
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def look(self, org: str) -> None:
        """Look at one org; its trouble is not another's."""
        try:
            step = await self._rollouts.look(org)
        except (ControlPlaneError, OutpostError, TrustError) as error:
            telemetry.log(telemetry.Event.ROLLOUT_FAILED, level=40, org=org, code=error.code)
            return
        if step in (None, Step.COMPLETE, Step.HALT):
            self._rolling.discard(org)
        else:
            self._rolling.add(org)

    async def _find(self) -> None:
        """Orgs that changed since they were looked at last; what rolls was written there."""
        try:
            listed = [org.id for org in await self._store.orgs() if org.ready]
            heads = dict(await self._store.heads(listed))
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.ROLLOUT_FAILED, level=40, code=error.code)
            return
        self._due |= {org for org, head in heads.items() if self._heads.get(org) != head}
        self._heads = heads


async def sight(transaction: OrgTransaction, now_ms: int, connected_ms: int) -> Sight | None:
    """What the store says of a roll-out, and the judge of that."""
    plan = await transaction.plans.rolling()
    if plan is None:
        return None
    newest, scene = await staging.scene(transaction)
    if scene.document.candidate != plan.release:
        return None  # an interrupted restore, or a ceremony of keys: what rolls is not this plan's
    everyone = await _participants(transaction, scene)
    members = tuple(each for each in everyone if each.site in scene.members)
    others = tuple(each for each in everyone if each.site not in scene.members)
    paths = await staging.own_files(transaction, newest, scene.document)
    return Sight(plan, scene, members, others, judge(_running(plan, paths, connected_ms), members, others, now_ms))


def _running(plan: Plan, paths: frozenset[str], connected_ms: int) -> Running:
    return Running(
        release=plan.release,
        paths=paths,
        first_set=plan.first_set,
        stage_set=plan.stage_set,
        began_ms=plan.began_ms,
        settled_ms=plan.settled_ms,
        is_last=plan.stage == ALL,
        terms=plan.terms,
        connected_ms=connected_ms,
    )


async def _participants(transaction: OrgTransaction, scene: Scene) -> list[Participant]:
    words = {word.outpost_id: word for word in await transaction.releases.deliveries()}
    statuses = await transaction.outposts.statuses()
    return [
        Participant(
            id=each.id,
            name=each.name,
            site=each.site,
            seen_ms=each.last_seen_ms,
            word=words.get(each.id),
            standing=standing_of(statuses.get(each.id, {}), each.last_seen_ms),
        )
        for each in scene.outposts
    ]


async def _act(transaction: OrgTransaction, seen: Sight, now_ms: int) -> Plan:
    """Do what the verdict says; everything in the caller's transaction."""
    plan, verdict = seen.plan, seen.verdict
    if verdict.step is Step.SETTLE:
        settled = plans.settled(plan, now_ms)
        await transaction.plans.save(settled)
        return settled
    if verdict.step is Step.ADVANCE:
        return await _advance(transaction, seen, now_ms)
    shadow = shadow_text(await transaction.outposts.statuses(), plan.release)
    if verdict.step is Step.HALT:
        cause = Moved(now_ms, PlanState.HALTED, plan.stage, verdict.code, verdict.reason)
        return await halt(transaction, replace(plan, shadow=shadow), cause, verdict.culprit)
    document = RolloutDocument(transaction.org, plan.release)
    await staging.publish(transaction, releases.rolled_out(document), now_ms)
    ended = plans.completed(replace(plan, shadow=shadow), now_ms)
    await keep(transaction, ended, now_ms)
    return ended


async def _advance(transaction: OrgTransaction, seen: Sight, now_ms: int) -> Plan:
    stage = staging.following_stage(seen.plan, seen.scene.fleet, seen.scene.members)
    document = staging.staged(seen.scene, seen.plan.release, stage, seen.scene.members)
    number, _ = await staging.publish(transaction, releases.rolled_out(document), now_ms)
    further = plans.rolling(seen.plan, stage.percent, number, now_ms)
    await keep(transaction, further, now_ms)
    return further


def _log(org: str, plan: Plan, verdict: Verdict) -> None:
    level = 40 if verdict.step is Step.HALT else 20
    telemetry.log(
        telemetry.Event.ROLLOUT_MOVED,
        level=level,
        org=org,
        number=plan.number,
        release=plan.release,
        kind=verdict.step.value,
        code=verdict.code,
        message=verdict.reason,
    )
