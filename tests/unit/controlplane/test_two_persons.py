"""Acts that take two persons: they wait, and another person has exactly them done, once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.approvals import LIFE_MS as APPROVAL_LIFE_MS
from controlplane.domain.approvals import ApprovalState
from controlplane.domain.errors import ConflictError, StateError
from controlplane.domain.pace import PaceError
from controlplane.domain.rbac import Principal, PrincipalKind, Role
from controlplane.web.api.operations.approvals import failing
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed
from tests.unit.controlplane.test_acting import ACME, changed_policy


async def two_person_org(bed: AdminBed) -> tuple[Any, Any]:
    await bed.org("acme", two_person=True)
    return await bed.person("acme", "alice"), await bed.person("acme", "bob", Role.SECURITY_ADMIN)


async def proposed(bed: AdminBed, token: str, message: str = "one") -> Any:
    answer = await bed.call("policy.publish", ACME, await changed_policy(bed, message), token=token)
    assert answer.status == 202, answer
    return answer.document


async def both(bed: AdminBed, author: Any, name: str, params: dict[str, object], body: dict[str, object]) -> Any:
    """An act of somebody that whoever has the files approves."""
    waiting = await bed.call(name, {**ACME, **params}, body, token=author.token)
    assert waiting.status == 202, waiting
    agreed = {"digest": waiting.document["digest"]}
    return await bed.ok("approvals.approve", {**ACME, "approval": waiting.document["id"]}, agreed, local="root")


async def approved(bed: AdminBed, author: Any, approver: Any, name: str, body: dict[str, object]) -> Any:
    """The result of an act of two."""
    waiting = await bed.call(name, ACME, body, token=author.token)
    assert waiting.status == 202, waiting
    params, agreed = {**ACME, "approval": waiting.document["id"]}, {"digest": waiting.document["digest"]}
    return (await bed.ok("approvals.approve", params, agreed, token=approver.token))["result"]


REFUSALS: dict[str, tuple[str, str, int, str]] = {
    "the author himself": ("alice", "", 403, "approval.same_person"),
    "another content than was seen": ("bob", "0" * 64, 409, "approval.content"),
    "somebody whose role does not decide": ("olga", "", 403, "access.role"),
}


SWITCHES = {"on": (True, 200), "off": (False, 202)}


GRANTS = {
    "a reader is made by one": ("read_only", 201),
    "an auditor is made by one": ("auditor", 201),
    "one who decides takes two, since there is another": ("security_admin", 202),
    "an owner takes two": ("owner", 202),
}


async def test_it_waits_and_is_done_by_another_exactly_once(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        waiting = await proposed(bed, alice.token)
        assert waiting["state"] == "pending"
        before = (await bed.ok("policy.show", ACME, local="root"))["policy"]
        assert before["packs"][0]["rules"][0]["message"] != "one"
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        done = await bed.ok("approvals.approve", params, agreed, token=bob.token)
        assert (done["approval"]["state"], done["result"]["changed"]) == ("executed", True)
        assert await bed.refused("approvals.approve", params, agreed, token=bob.token) == (409, "approval.over")
        outcomes = [(each["operation"], each["outcome"]) for each in await bed.acts("acme")][-4:]
        assert outcomes == [
            ("policy.publish", "pending"),
            ("policy.publish", "done"),
            ("approvals.approve", "done"),
            ("approvals.approve", "failed"),
        ]
        record = (await bed.acts("acme"))[-3]
        assert record["approval"]["author"] == alice.id
        assert record["approval"]["approver"] == bob.id
        assert record["principal"]["id"] == alice.id


async def test_two_approvers_at_once_do_it_once(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        carol = await bed.person("acme", "carol", Role.OWNER)
        waiting = await proposed(bed, alice.token)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        answers = await asyncio.gather(
            *(bed.call("approvals.approve", params, agreed, token=who.token) for who in (bob, carol) * 5)
        )
        assert sorted(each.status for each in answers) == [200] + [409] * 9


@pytest.mark.parametrize("case", REFUSALS)
async def test_it_is_not_done_by(case: str, tmp_path: Path) -> None:
    who, digest, status, code = REFUSALS[case]
    async with admin_bed(tmp_path) as bed:
        people = dict(zip(("alice", "bob"), await two_person_org(bed), strict=True))
        people["olga"] = await bed.person("acme", "olga", Role.OPERATOR)
        waiting = await proposed(bed, people["alice"].token)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": digest or waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=people[who].token)
        assert refused == (status, code)
        shown = await bed.ok("approvals.show", params, token=people["bob"].token)
        assert shown["state"] == "pending"


async def test_a_program_is_no_second_person_and_its_maker_none_for_it(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        made = await bed.ok("clients.create", ACME, {"name": "ci", "role": "security_admin"}, token=alice.token)
        token = await bed.machine_token(made["id"], made["secret"])
        waiting = await proposed(bed, alice.token)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=token)
        assert refused == (403, "approval.not_a_person")
        waiting = await proposed(bed, token, "two")
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=alice.token)
        assert refused == (403, "approval.same_person")
        assert await bed.ok("approvals.approve", params, agreed, token=bob.token)


async def test_it_expires_after_a_week(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        waiting = await proposed(bed, alice.token)
        bed.clock.ms += APPROVAL_LIFE_MS
        await bed.sign_in(bob)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=bob.token)
        assert refused == (409, "approval.over")
        assert (await bed.ok("approvals.list", ACME, token=bob.token))["approvals"][0]["state"] == "expired"


async def test_a_newer_act_on_the_same_thing_withdraws_it(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        older = await proposed(bed, alice.token)
        newer = await proposed(bed, alice.token, "two")
        shown = await bed.ok("approvals.show", {**ACME, "approval": older["id"]}, token=bob.token)
        assert (shown["state"], shown["reason"]) == ("withdrawn", f"replaced by {newer['id']}")
        params, agreed = {**ACME, "approval": older["id"]}, {"digest": older["digest"]}
        assert await bed.refused("approvals.approve", params, agreed, token=bob.token) == (409, "approval.over")


async def test_an_author_who_lost_his_right_takes_it_along(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        waiting = await proposed(bed, bob.token)
        await both(bed, alice, "users.set_role", {"user": "bob"}, {"role": "auditor"})
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=alice.token)
        assert refused == (403, "access.role")
        await bed.ok("users.disable", {**ACME, "user": "bob"}, token=alice.token)
        refused = await bed.refused("approvals.approve", params, agreed, token=alice.token)
        assert refused == (403, "approval.author")


async def test_one_that_cannot_be_done_any_more_ends_as_failed(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        carol = await bed.person("acme", "carol")
        body = {"role": "owner"}
        waiting = (await bed.call("users.set_role", {**ACME, "user": "bob"}, body, token=alice.token)).document
        invited = (await bed.call("users.create", ACME, {"name": "dora", "role": "owner"}, token=alice.token)).document
        await bed.ok("users.create", ACME, {"name": "dora", "role": "auditor"}, token=alice.token)
        params, agreed = {**ACME, "approval": invited["id"]}, {"digest": invited["digest"]}
        assert await bed.refused("approvals.approve", params, agreed, token=carol.token) == (409, "user.exists")
        shown = await bed.ok("approvals.show", params, token=bob.token)
        assert (shown["state"], shown["reason"]) == ("failed", "user.exists")
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        # who cannot grant an owner's rights does not end the approval by trying
        assert await bed.refused("approvals.approve", params, agreed, token=bob.token) == (403, "access.role")
        assert (await bed.ok("approvals.show", params, token=bob.token))["state"] == "pending"
        assert await bed.ok("approvals.approve", params, agreed, token=carol.token)


LATER: dict[str, tuple[Exception, str]] = {
    "the act failed": (ConflictError("x"), "failed"),
    "the store did not answer": (StateError("x"), "pending"),
    "the caller was too fast": (PaceError(1.0), "pending"),
}


@pytest.mark.parametrize("case", LATER)
async def test_a_failed_try_ends_only_what_waits(case: str, tmp_path: Path) -> None:
    error, state = LATER[case]
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        waiting = await proposed(bed, alice.token)
        who = Principal(PrincipalKind.PERSON, bob.id, bob.name, "acme", Role.OWNER)
        async with bed.store.for_org("acme").write() as transaction:
            approval = await transaction.approvals.get(waiting["id"])
            remedy = failing(approval, who, bed.clock.ms)
            await remedy(transaction, error)
            assert (await transaction.approvals.get(waiting["id"])).state == state
            executed = replace(approval, state=ApprovalState.EXECUTED)
            await transaction.approvals.save(executed)  # another replica's approver was faster
            await remedy(transaction, error)
            assert await transaction.approvals.get(waiting["id"]) == executed


async def test_rejecting_is_withdrawing_for_its_author(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        for who, state in ((alice, "withdrawn"), (bob, "rejected")):
            waiting = await proposed(bed, alice.token, state)
            params = {**ACME, "approval": waiting["id"]}
            ended = await bed.ok("approvals.reject", params, {"reason": "no"}, token=who.token)
            assert (ended["state"], ended["reason"]) == (state, "no")
            refused = await bed.refused("approvals.reject", params, {}, token=who.token)
            assert refused == (409, "approval.over")


async def test_whoever_has_the_files_needs_a_second_person_too(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        answer = await bed.call("policy.publish", ACME, await changed_policy(bed, "x"), local="root")
        params, agreed = {**ACME, "approval": answer.document["id"]}, {"digest": answer.document["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, local="root")
        assert refused == (403, "approval.same_person")
        assert await bed.ok("approvals.approve", params, agreed, local="bob")


@pytest.mark.parametrize("switch", SWITCHES)
async def test_switching_the_rule(switch: str, tmp_path: Path) -> None:
    on, status = SWITCHES[switch]
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        answer = await bed.call("orgs.set_two_person", ACME, {"on": on}, token=alice.token)
        assert answer.status == status


@pytest.mark.parametrize("case", GRANTS)
async def test_granting(case: str, tmp_path: Path) -> None:
    role, status = GRANTS[case]
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        answer = await bed.call("users.create", ACME, {"name": "new", "role": role}, token=alice.token)
        assert answer.status == status


async def test_the_first_who_decides_beside_an_owner_is_made_by_one(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice = await bed.person("acme", "alice")
        body = {"name": "bob", "role": "security_admin"}
        assert (await bed.call("users.create", ACME, body, token=alice.token)).status == 201
        owner = await bed.call("users.create", ACME, {"name": "eve", "role": "owner"}, token=alice.token)
        assert owner.status == 202


async def test_a_sign_in_code_for_one_who_decides_takes_two(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        alone = await bed.call("users.reset_password", {**ACME, "user": "bob"}, token=alice.token)
        assert alone.status == 202, "she would be both of those who decide"
        dora, erik = await bed.person("acme", "dora"), await bed.person("acme", "erik")
        answer = await bed.call("users.reset_password", {**ACME, "user": "dora"}, token=alice.token)
        assert answer.status == 202
        approved = {"digest": answer.document["digest"]}
        params = {**ACME, "approval": answer.document["id"]}
        assert await bed.refused("approvals.approve", params, approved, token=alice.token) == (
            403,
            "approval.same_person",
        )
        done = await bed.ok("approvals.approve", params, approved, token=erik.token)
        assert done["result"]["code"]
        assert await bed.refused("orgs.show", ACME, token=dora.token) == (401, "access.unauthenticated")


async def test_a_single_person_org_does_it_at_once(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        answer = await bed.call("policy.publish", ACME, await changed_policy(bed, "x"), local="root")
        assert answer.status == 200


HOPELESS: dict[str, tuple[str, dict[str, object], dict[str, object], str]] = {
    "a policy that is none": ("policy.publish", {}, {"document": "{}"}, "policy."),
    "a provider that is none": ("routes.set", {"provider": "x"}, {"base_url": "ftp://x"}, "bundle."),
    "providers that are none": ("routes.publish", {}, {"providers": [{"name": "x", "base_url": "x"}]}, "bundle."),
    "a user who is there": ("users.create", {}, {"name": "bob", "role": "owner"}, "user.exists"),
    "a name that is none": ("users.create", {}, {"name": "Bob!", "role": "owner"}, "user.name"),
    "a program of a name that is none": ("clients.create", {}, {"name": "Ci!", "role": "owner"}, "client.name"),
    "a program that is there": ("clients.create", {}, {"name": "ci", "role": "owner"}, "client.exists"),
    "a scope that is none": ("clients.create", {}, {"name": "x", "role": "owner", "scopes": ["x"]}, "client.scope"),
    "the last owner's end": ("users.disable", {"user": "alice"}, {}, "user.last_owner"),
    "the last owner's other role": ("users.set_role", {"user": "alice"}, {"role": "auditor"}, "user.last_owner"),
    "a user who is not there": ("users.set_role", {"user": "nobody"}, {"role": "owner"}, "user.unknown"),
}


@pytest.mark.parametrize("case", HOPELESS)
async def test_what_would_be_refused_afterwards_does_not_wait(case: str, tmp_path: Path) -> None:
    name, params, body, code = HOPELESS[case]
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        await bed.machine("acme", "ci", Role.READ_ONLY)
        status, found = await bed.refused(name, {**ACME, **params}, body, token=alice.token)
        assert (status in (404, 409, 422), found.startswith(code)) == (True, True), found
        assert (await bed.ok("approvals.list", ACME, token=alice.token))["approvals"] == []
