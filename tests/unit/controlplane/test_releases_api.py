"""Releases through the dispatcher: what a person does from a draft to the end of its roll-out, and how it is seen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.outposts import OutpostState
from controlplane.domain.rbac import Role
from controlplane.domain.records import Delivery, DeliveryState, Heartbeat, LogHead
from controlplane.domain.rollout import Step
from controlplane.services.rollouts import Rollouts
from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.record import Actor, RecordHead, RequestDecided
from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from tests.contract.stores import an_outpost
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed
from tests.unit.controlplane.test_acting import ACME, changed_policy

MAIL = "write to ada@example.com today"
LOCAL: dict[str, Any] = {"local": "root"}


async def fleet(bed: AdminBed, count: int = 20) -> None:
    """Enrolled outposts n0, n1 ..."""
    async with bed.store.for_org("acme").write() as transaction:
        for number in range(count):
            made = replace(an_outpost(number, f"n{number}"), id=f"op-{number:016x}", state=OutpostState.ACTIVE)
            await transaction.outposts.add(replace(made, serial=f"{number:x}", last_seen_ms=bed.clock.ms))


async def blocking_mail(bed: AdminBed) -> str:
    """The policy in force, with mail addresses blocked."""
    shown = (await bed.ok("policy.show", ACME, **LOCAL))["policy"]
    rules = shown["packs"][0]["rules"]
    rules.append({**rules[0], "id": "mail", "sequence": 5, "conditions": {"entity_types": ["email"]}})
    return json.dumps(shown)


def decided(entities: tuple[EntityCount, ...], action: Action, release: int = 1) -> bytes:
    """A record of a decision."""
    features = Features(Direction.INPUT, entities=entities, model="m", provider="default")
    return RequestDecided(
        RecordHead(1, "acme", "op"), "r", Actor("key-1"), "/v1/chat/completions", "m", "default", False,
        Decision(action, ("email",) if action is Action.REDACT else ()), features, (1,), f"{release}.1", 1, 1,
    ).to_bytes()  # fmt: skip


async def records(bed: AdminBed, *bodies: bytes) -> None:
    """Records in the log of n0."""
    entries = [with_sequence(body, at) for at, body in enumerate(bodies)]
    async with bed.store.for_org("acme").write() as transaction:
        await transaction.audit.append("op-" + "0" * 16, 0, entries, [b"l" * 32] * len(entries))
        await transaction.audit.save_head(LogHead("op-" + "0" * 16, "origin", len(entries), (b"f" * 32,)))


async def test_from_a_draft_to_everybody(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice, bob = await bed.person("acme", "alice"), await bed.person("acme", "bob", Role.SECURITY_ADMIN)
        await fleet(bed)
        wanted = {"title": "no mail", "policy": await blocking_mail(bed), "rollout": {"soak_seconds": 1}}
        plan = await bed.ok("releases.draft", ACME, wanted, token=alice.token)
        assert (plan["id"], plan["state"], plan["author"], plan["release"]) == ("plan-1", "linted", "alice", 0)
        where = {**ACME, "plan": "plan-1"}
        waiting = await bed.call("releases.publish", where, token=alice.token)
        assert waiting.status == 202
        shown = await bed.ok("releases.show", where, token=bob.token)
        assert shown["approval"]["digest"] == waiting.document["digest"]
        agreed = {"digest": waiting.document["digest"]}
        done = await bed.ok("approvals.approve", {**ACME, "approval": waiting.document["id"]}, agreed, token=bob.token)
        assert (done["result"]["plan"], done["result"]["stage"]) == ("plan-1", 5)
        shown = await bed.ok("releases.show", where, **LOCAL)
        assert (shown["state"], shown["stage"], shown["author"], shown["approver"]) == ("rolling", 5, "alice", "bob")
        assert (shown["progress"]["members"], shown["progress"]["active"], shown["progress"]["fleet"]) == (1, 0, 20)
        rows = (await bed.ok("releases.outposts", {**where, "limit": 200}, **LOCAL))["outposts"]
        assert [row["member"] for row in rows].count(True) == 1
        listed = (await bed.ok("releases.list", ACME, **LOCAL))["releases"]
        assert [each["id"] for each in listed] == ["plan-1"]


async def test_an_outposts_reason_is_seen_and_it_is_halted(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await fleet(bed)
        await bed.ok("policy.publish", ACME, await changed_policy(bed, "one"), **LOCAL)
        where = {**ACME, "plan": "plan-1"}
        rows = (await bed.ok("releases.outposts", {**where, "limit": 200}, **LOCAL))["outposts"]
        (member,) = [row for row in rows if row["member"]]
        async with bed.store.for_org("acme").write() as transaction:
            newest = await transaction.releases.newest()
            assert newest is not None
            told = ("bundle.self_test", "self-test 0 failed", "policy/release-2.json")
            word = Delivery(
                member["id"], newest.number, "2.2", DeliveryState.REFUSED, 5, *told, release=2, downloaded_ms=7
            )
            await transaction.releases.keep_deliveries([word])
        assert await Rollouts(bed.store, bed.clock).look("acme") is Step.HALT
        rows = (await bed.ok("releases.outposts", {**where, "limit": 200}, **LOCAL))["outposts"]
        (row,) = [row for row in rows if row["code"]]
        assert (row["name"], row["code"], row["message"], row["resource"]) == (member["name"], *told)
        assert (row["downloaded_ms"], row["activated_ms"]) == (7, 0)
        shown = await bed.ok("releases.show", where, **LOCAL)
        assert (shown["state"], shown["code"], shown["culprit"]) == ("halted", "bundle.self_test", member["name"])
        assert [each["state"] for each in shown["history"]][-2:] == ["rolling", "halted"]


async def test_halt_and_rollback_by_hand(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await fleet(bed)
        await bed.ok("policy.publish", ACME, await changed_policy(bed, "one"), **LOCAL)
        where = {**ACME, "plan": "plan-1"}
        second = await changed_policy(bed, "two")
        assert await bed.refused("policy.publish", ACME, second, **LOCAL) == (409, "release.rolling")
        halted = await bed.ok("releases.halt", where, {"reason": "complaints"}, **LOCAL)
        assert (halted["state"], halted["code"], halted["reason"]) == ("halted", "rollout.by_hand", "complaints")
        assert await bed.refused("releases.halt", where, {}, **LOCAL) == (409, "release.state")
        again = await bed.ok("releases.rollback", {**ACME, "at_once": True}, {"release": 2}, **LOCAL)
        assert (again["plan"], again["stage"]) == ("plan-2", 100)
        rules = (await bed.ok("policy.show", ACME, **LOCAL))["policy"]["packs"][0]["rules"]
        assert rules[0]["message"] == "one"
        assert await bed.refused("releases.rollback", ACME, {"release": 77}, **LOCAL) == (422, "release.rollback")


DRAFTS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "release.empty"),
    "a policy that is none": ({"policy": "no"}, ""),
    "stages without an end": ({"terms": {"on_revoked": "seal"}, "rollout": {"percents": [5]}}, "rollout.terms"),
    "falling stages": ({"terms": {"on_revoked": "seal"}, "rollout": {"percents": [50, 5, 100]}}, "rollout.terms"),
}  # fmt: skip


@pytest.mark.parametrize("case", DRAFTS)
async def test_a_draft_that_nobody_could_publish_is_refused(tmp_path: Path, case: str) -> None:
    body, code = DRAFTS[case]
    async with admin_bed(tmp_path, "acme") as bed:
        status, found = await bed.refused("releases.draft", ACME, body, **LOCAL)
        assert status in (400, 422)
        assert found == code or not code
        assert (await bed.ok("releases.list", ACME, **LOCAL))["releases"] == []


async def test_a_draft_is_withdrawn_and_then_it_is_over(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await bed.ok("releases.draft", ACME, {"terms": {"on_revoked": "seal"}}, **LOCAL)
        where = {**ACME, "plan": "plan-1"}
        ended = await bed.ok("releases.withdraw", where, {"reason": "no"}, **LOCAL)
        assert (ended["state"], ended["reason"]) == ("withdrawn", "no")
        assert await bed.refused("releases.publish", where, **LOCAL) == (409, "release.state")
        assert await bed.refused("releases.show", {**ACME, "plan": "plan-x"}, **LOCAL) == (404, "release.unknown")


async def test_a_draft_is_tried_on_prompts_and_on_recorded_decisions(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await fleet(bed, 1)
        mail = (EntityCount("email", 1, 100),)
        bodies = [decided((), Action.ALLOW)] * 3 + [decided(mail, Action.REDACT)] * 2
        await records(bed, *bodies, decided((), Action.ALLOW, release=77), b'{"event":"other"}')
        await bed.ok("releases.draft", ACME, {"policy": await blocking_mail(bed)}, **LOCAL)
        tried = {"samples": [{"prompt": MAIL}, {"prompt": "good morning"}], "decisions": 100}
        found = await bed.ok("releases.simulate", {**ACME, "plan": "plan-1"}, tried, **LOCAL)
        first, second = found["samples"]
        assert (first["before"], first["after"], first["rule"], first["found"]) == (
            *("REDACT", "BLOCK", "baseline/mail"),
            {"email": 1},
        )
        assert (second["before"], second["after"], second["found"]) == ("ALLOW", "ALLOW", {})
        assert found["decisions"]["compared"] == 5
        assert found["decisions"]["changes"] == [
            {"direction": "input", "before": "REDACT", "after": "BLOCK", "count": 2}
        ]
        assert found["unknown"] == 1
        assert "ada@example.com" not in json.dumps(found)


async def test_totals_of_the_shadow_are_added_up_over_outposts(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await fleet(bed)
        await bed.ok("policy.publish", ACME, await changed_policy(bed, "one"), **LOCAL)
        change = {"direction": "input", "before": "ALLOW", "after": "BLOCK", "count": 2}
        report = {"release": 2, "compared": 10, "changes": [change]}
        old = {"release": 1, "compared": 99, "changes": []}
        beats = [
            Heartbeat(f"op-{at:016x}", {"state": "ACTIVE", "health": {}, "shadow": shadow}, bed.clock.ms)
            for at, shadow in enumerate((report, report, old))
        ]
        async with bed.store.for_org("acme").write() as transaction:
            await transaction.outposts.keep_statuses(beats)
        shown = await bed.ok("releases.show", {**ACME, "plan": "plan-1"}, **LOCAL)
        assert shown["shadow"] == {"release": 2, "compared": 20, "changes": [{**change, "count": 4}]}


async def test_terms_of_roll_outs_are_the_orgs(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        assert (await bed.ok("releases.rules", ACME, **LOCAL))["percents"] == [5, 25, 100]
        changed = await bed.ok("releases.set_rules", ACME, {"percents": [50, 100], "soak_seconds": 5}, **LOCAL)
        assert (changed["percents"], changed["soak_seconds"], changed["answer_seconds"]) == ([50, 100], 5, 120)
        assert await bed.refused("releases.set_rules", ACME, {"percents": [50]}, **LOCAL) == (422, "rollout.terms")
        await fleet(bed, 4)
        await bed.ok("policy.publish", ACME, await changed_policy(bed, "one"), **LOCAL)
        assert (await bed.ok("releases.show", {**ACME, "plan": "plan-1"}, **LOCAL))["stage"] == 50
