"""Roll-outs on the store: stages, halts, the end, and who may begin one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain import rollout
from controlplane.domain.plans import (
    NothingToRollBackError,
    PlanAuthorError,
    PlanKind,
    PlanState,
    PlanStateError,
    RollingError,
)
from controlplane.domain.records import DeliveryState
from controlplane.domain.releases import Draft
from controlplane.domain.rollout import Step
from controlplane.services.administer import Terms
from controlplane.services.plans import BY_HAND, Wish
from controlplane.services.rollouts import Rollouts, RolloutWatch
from outpost.core.bundle.rollout import EVERYBODY, choose
from tests.unit.controlplane.fleet_bed import ALICE, BOB, ORG, STAGED, FleetBed, fleet_bed

BODY = 900_000
AT_ONCE = Wish(ALICE, at_once=True)


async def test_a_release_goes_from_stage_to_stage_and_becomes_the_stable_one(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        published = await fleet.terms(BODY)
        assert (published.plan, published.stage) == ("plan-1", 5)
        seen = []
        for _ in range(3):
            members = await fleet.members()
            seen.append(len(members))
            assert await fleet.pass_stage() in (Step.ADVANCE, Step.COMPLETE)
            assert set(members) <= set(await fleet.members()) or seen == [1, 5, 20]
        assert seen == [1, 5, 20]
        content = await fleet.content()
        assert (content.rollout.stable, content.rollout.candidate) == (2, None)
        assert content.stable.release.max_body_bytes == BODY
        shown = await fleet.planner.shown(ORG, 1)
        assert [(each.state.value, each.stage) for each in shown.history] == [
            *(("linted", 0), ("approved", 0), ("signed", 0)),
            *(("rolling", 5), ("rolling", 25), ("rolling", 100), ("complete", 100)),
        ]
        assert await fleet.look(1000) is None


async def test_nobody_waits_for_who_is_away_but_one_at_least_must_have_it(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        fleet.plane.clock.ms += 100_000  # nobody was heard of for longer than counts as connected
        assert await fleet.look(10_000) is Step.WAIT
        await fleet.say(await fleet.members())
        assert await fleet.look() is Step.SETTLE


async def refused(fleet: FleetBed, name: str) -> None:
    await fleet.say([name], DeliveryState.REFUSED, code="bundle.self_test", message="self-test 0")


async def sealed(fleet: FleetBed, name: str) -> None:
    await fleet.say([name])
    await fleet.beat([name], state="SEALED", health={"ledger": "ledger.full"}, release=2)


async def uninspected(fleet: FleetBed, name: str) -> None:
    await fleet.say([name])
    await fleet.beat([name], health={"inspection": "canary.failed"}, release=2)


async def failing(fleet: FleetBed, name: str) -> None:
    await fleet.say([name])
    await fleet.beat([name], release=2, requests=100, failed=3)


async def silent(fleet: FleetBed, name: str) -> None:
    fleet.plane.clock.ms += 121_000
    await fleet.beat(fleet.names)


async def fallen_back(fleet: FleetBed, name: str) -> None:
    await fleet.say([name], release=1)


HALTS: dict[str, tuple[Callable[[FleetBed, str], Awaitable[None]], str]] = {
    "a member refuses the set": (refused, "bundle.self_test"),
    "a member is sealed with it": (sealed, rollout.MEMBER_SEALED),
    "inspection of a member fails its test": (uninspected, "canary.failed"),
    "too many of its requests fail": (failing, rollout.FAILURES),
    "a connected member does not answer": (silent, rollout.NO_ANSWER),
    "a member went back by itself": (fallen_back, rollout.FELL_BACK),
}


@pytest.mark.parametrize("case", HALTS)
async def test_a_bad_release_is_taken_back_with_one_signature(tmp_path: Path, case: str) -> None:
    spoil, code = HALTS[case]
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        (member,) = await fleet.members()
        before = await fleet.number()
        await spoil(fleet, member)
        assert await fleet.look() is Step.HALT
        plan, content = await fleet.plan(), await fleet.content()
        assert (plan.state, plan.code, plan.culprit) == (PlanState.HALTED, code, member)
        assert plan.reason
        assert (content.rollout.stable, content.rollout.candidate, content.rollout.threshold) == (1, None, 0)
        assert set(content.releases) == {1}
        assert await fleet.number() == before + 1
        for _ in range(600):  # ten minutes: nothing of it comes again
            assert await fleet.look(1) is None
        assert await fleet.number() == before + 1


async def test_a_bad_release_is_taken_back_at_any_stage(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        await fleet.pass_stage()
        await fleet.pass_stage()
        assert len(await fleet.members()) == len(fleet.names)
        await refused(fleet, fleet.names[7])
        assert await fleet.look() is Step.HALT
        assert (await fleet.content()).rollout.stable == 1


async def test_two_replicas_that_see_one_refusal_halt_once(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        await refused(fleet, (await fleet.members())[0])
        before = await fleet.number()
        others = [Rollouts(fleet.plane.store, fleet.plane.clock) for _ in range(3)]
        steps = await asyncio.gather(*(each.look(ORG) for each in others))
        assert steps.count(Step.HALT) == 1
        assert await fleet.number() == before + 1


async def test_another_replica_goes_on_where_one_died(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        await fleet.say(fleet.names)
        assert await fleet.look() is Step.SETTLE
        fleet.rollouts = Rollouts(fleet.plane.store, fleet.plane.clock, 90_000)  # remembers nothing
        await fleet.beat(fleet.names)
        assert await fleet.look(61) is Step.ADVANCE
        assert len(await fleet.members()) == 5


async def test_the_version_of_a_release_that_was_taken_back_is_never_used_again(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        await refused(fleet, (await fleet.members())[0])
        await fleet.look()
        await fleet.terms(BODY)
        rollout = (await fleet.content()).rollout
        assert (rollout.stable, rollout.candidate) == (1, 3)


async def test_without_outposts_a_release_is_everywhere_at_once(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path, 0) as fleet:
        await fleet.terms(BODY)
        await fleet.terms(BODY + 1)
        assert (await fleet.content()).rollout.stable == 3
        assert (await fleet.plan(2)).state is PlanState.COMPLETE


async def test_one_outpost_is_one_stage_and_is_configured_step_by_step(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path, 1) as fleet:
        await fleet.terms(BODY)
        await fleet.terms(BODY + 1)
        rollout = (await fleet.content()).rollout
        assert (rollout.stable, rollout.candidate, rollout.threshold) == (1, 3, EVERYBODY)
        assert (await fleet.plan(1)).state is PlanState.SUPERSEDED
        assert await fleet.pass_stage() is Step.COMPLETE
        assert (await fleet.content()).rollout.stable == 3


async def test_a_release_on_its_way_is_replaced_only_by_who_says_so(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        for wish in (STAGED, AT_ONCE):
            with pytest.raises(RollingError):
                await fleet.terms(BODY + 1, wish)
        await fleet.terms(BODY + 1, replace(STAGED, supersede=True))
        assert (await fleet.plan(1)).state is PlanState.SUPERSEDED
        rollout = (await fleet.content()).rollout
        assert (rollout.stable, rollout.candidate, rollout.stage) == (1, 3, 5)


async def test_at_once_is_everybody_and_still_falls_back(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY, AT_ONCE)
        assert await fleet.members() == fleet.names
        await refused(fleet, "n3")
        assert await fleet.look() is Step.HALT
        assert (await fleet.content()).rollout.stable == 1


async def test_who_registers_while_a_stage_runs_is_spared(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        await fleet.terms(BODY)
        before = (await fleet.content()).rollout
        named = 0
        for number in range(200):
            name = f"new-{number}"
            named += choose(before, name) == before.candidate
            await fleet.plane.administration.register(ORG, name, Terms(), fleet.plane.door)
        assert named > 2, "no newcomer would have joined the stage"
        after = (await fleet.content()).rollout
        assert [n for n in range(200) if choose(after, f"new-{n}") != after.stable] == []
        assert len(after.spared) >= named


async def test_an_operators_rollback_is_the_old_content_under_a_new_version(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path, 1) as fleet:
        old = (await fleet.content()).stable.release
        await fleet.terms(BODY)
        await fleet.pass_stage()
        with pytest.raises(NothingToRollBackError):
            await fleet.planner.rollback(ORG, 2, STAGED)  # in force
        with pytest.raises(NothingToRollBackError):
            await fleet.planner.rollback(ORG, 9, STAGED)
        plan = await fleet.planner.rollback(ORG, 1, STAGED)
        assert (plan.kind, plan.state) == (PlanKind.ROLLBACK, PlanState.LINTED)
        await fleet.planner.publish(ORG, plan.number, AT_ONCE)
        content = await fleet.content()
        new = content.releases[3].release
        assert (content.rollout.stable, content.rollout.candidate) == (2, 3)
        assert replace(new, version=1, fallback=old.fallback) == old


async def test_a_draft_waits_until_it_is_wanted_and_two_persons_are_two(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        plan = await fleet.planner.draft(ORG, PlanKind.TERMS, Draft(terms={"max_body_bytes": BODY}), STAGED)
        before = await fleet.number()
        assert (plan.state, before) == (PlanState.LINTED, await fleet.number())
        with pytest.raises(PlanAuthorError):
            await fleet.planner.publish(ORG, plan.number, Wish(ALICE, ALICE))
        published = await fleet.planner.publish(ORG, plan.number, Wish(ALICE, BOB))
        assert (published.stage, (await fleet.plan()).approver) == (5, BOB)
        with pytest.raises(PlanStateError):
            await fleet.planner.publish(ORG, plan.number, STAGED)


async def test_what_is_ended_by_hand(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        plan = await fleet.planner.draft(ORG, PlanKind.TERMS, Draft(terms={"max_body_bytes": BODY}), STAGED)
        with pytest.raises(PlanStateError):
            await fleet.planner.halt(ORG, plan.number, "no", "bob")
        assert (await fleet.planner.withdraw(ORG, plan.number, "no", "bob")).state is PlanState.WITHDRAWN
        await fleet.terms(BODY)
        with pytest.raises(PlanStateError):
            await fleet.planner.withdraw(ORG, 2, "no", "bob")
        halted = await fleet.planner.halt(ORG, 2, "customers complain", "bob")
        assert (halted.state, halted.code, halted.reason) == (PlanState.HALTED, BY_HAND, "customers complain")
        assert (await fleet.content()).rollout.candidate is None


async def test_an_org_may_have_other_stages(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        wish = replace(STAGED, terms={"percents": [50, 100], "soak_seconds": 1})
        await fleet.terms(BODY, wish)
        assert len(await fleet.members()) == 10


async def test_the_watch_finds_what_rolls_and_looks_at_once_when_poked(tmp_path: Path) -> None:
    async with fleet_bed(tmp_path) as fleet:
        watch = RolloutWatch(fleet.plane.store, fleet.rollouts, fleet.plane.clock)
        await fleet.terms(BODY)
        running: Any = asyncio.create_task(watch.run())
        heard = asyncio.create_task(fleet.plane.store.listen(watch.poke))
        await fleet.say((await fleet.members()), DeliveryState.REFUSED, code="bundle.self_test")
        watch.poke(ORG)
        async with asyncio.timeout(5):
            while (await fleet.plan()).state is PlanState.ROLLING:
                await asyncio.sleep(0.01)
        assert (await fleet.plan()).state is PlanState.HALTED
        for task in (running, heard):
            task.cancel()
        await asyncio.gather(running, heard, return_exceptions=True)
