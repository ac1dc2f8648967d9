"""One person does not become two: by removing who could say no, by a secret or by a sign-in code that he saw."""

from pathlib import Path

import pytest

from controlplane.domain.rbac import Role
from tests.unit.controlplane.admin_bed import admin_bed
from tests.unit.controlplane.test_acting import ACME
from tests.unit.controlplane.test_two_persons import approved, both, proposed, two_person_org

REMOVALS: dict[str, tuple[str, dict[str, object], str]] = {
    "disabled": ("users.disable", {}, "users.end_decider"),
    "reset": ("users.reset_password", {}, "users.end_decider"),
    "made an auditor": ("users.set_role", {"role": "auditor"}, "users.end_decider"),
    "made the other who decides": ("users.set_role", {"role": "security_admin"}, "users.end_decider"),
    "made an owner": ("users.set_role", {"role": "owner"}, "users.grant_owner"),
}


@pytest.mark.parametrize("case", REMOVALS)
async def test_nobody_who_decides_is_removed_by_one(case: str, tmp_path: Path) -> None:
    name, body, verb = REMOVALS[case]
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        answer = await bed.call(name, {**ACME, "user": "bob"}, body, token=alice.token)
        assert (answer.status, answer.document.get("verb")) == (202, verb), "though nobody else is there to ask"
        assert await bed.ok("orgs.show", ACME, token=bob.token)


async def test_one_person_does_not_become_two(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        await bed.person("acme", "carol")
        for name in ("bob", "carol"):
            assert (await bed.call("users.disable", {**ACME, "user": name}, token=alice.token)).status == 202
        puppet = {"name": "puppet", "role": "security_admin"}
        assert (await bed.call("users.create", ACME, puppet, token=alice.token)).status == 202


async def test_the_approver_of_a_program_approves_nothing_that_it_asks_for(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice, bob, carol = [await bed.person("acme", name) for name in ("alice", "bob", "carol")]
        made = await approved(bed, alice, bob, "clients.create", {"name": "ci", "role": "owner"})
        token = await bed.machine_token(made["id"], made["secret"])
        second = await bed.ok("clients.create", ACME, {"name": "ci2", "role": "security_admin"}, token=token)
        for asking in (token, await bed.machine_token(second["id"], second["secret"])):
            waiting = await proposed(bed, asking)
            params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
            for who in (alice, bob):
                refused = await bed.refused("approvals.approve", params, agreed, token=who.token)
                assert refused == (403, "approval.same_person")
        assert await bed.ok("approvals.approve", params, agreed, token=carol.token)


async def test_who_approved_a_user_and_the_user_are_one_person(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice, bob = await bed.person("acme", "alice"), await bed.person("acme", "bob")
        code = (await approved(bed, alice, bob, "users.create", {"name": "carol", "role": "owner"}))["code"]
        carol = await bed.first_sign_in("acme", "carol", code)
        shown = await bed.ok("users.show", {**ACME, "user": "carol"}, token=alice.token)
        assert shown["code_seen_by"] == [bob.id]
        for author, other in ((bob, carol), (carol, bob)):
            waiting = await proposed(bed, author.token, author.name)
            params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
            refused = await bed.refused("approvals.approve", params, agreed, token=other.token)
            assert refused == (403, "approval.same_person")
            assert await bed.ok("approvals.approve", params, agreed, token=alice.token)


async def test_who_made_a_user_before_he_was_promoted_is_no_other_person(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, bob = await two_person_org(bed)
        code = (await bed.ok("users.create", ACME, {"name": "puppet", "role": "auditor"}, token=alice.token))["code"]
        puppet = await bed.first_sign_in("acme", "puppet", code)
        waiting = await bed.call(
            "users.set_role", {**ACME, "user": "puppet"}, {"role": "security_admin"}, token=alice.token
        )
        agreed = {"digest": waiting.document["digest"]}
        await bed.ok("approvals.approve", {**ACME, "approval": waiting.document["id"]}, agreed, token=bob.token)
        await bed.sign_in(puppet)
        waiting = await proposed(bed, alice.token)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        refused = await bed.refused("approvals.approve", params, agreed, token=puppet.token)
        assert refused == (403, "approval.same_person")


async def test_one_whose_sign_in_was_reset_is_still_somebody_to_ask(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        alice, _ = await two_person_org(bed)
        await both(bed, alice, "users.reset_password", {"user": "bob"}, {})
        puppet = {"name": "puppet", "role": "security_admin"}
        for name, params, body in (("users.create", {}, puppet), ("users.reset_password", {"user": "bob"}, {})):
            assert (await bed.call(name, {**ACME, **params}, body, token=alice.token)).status == 202, name


async def test_whoever_has_the_files_makes_the_first_owners_alone(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        await bed.person("acme", "sam", Role.SECURITY_ADMIN)  # who decides, and cannot approve an owner
        invited = {}
        for name in ("alice", "bob"):
            body = {"name": name, "role": "owner"}
            invited[name] = (await bed.ok("users.create", ACME, body, local="root"))["code"]
        alice = await bed.first_sign_in("acme", "alice", invited["alice"])
        answer = await bed.call("users.create", ACME, {"name": "eve", "role": "owner"}, local="root")
        assert answer.status == 202, "from now on there is somebody to ask"
        bob = await bed.first_sign_in("acme", "bob", invited["bob"])
        waiting = await proposed(bed, alice.token)
        params, agreed = {**ACME, "approval": waiting["id"]}, {"digest": waiting["digest"]}
        assert await bed.ok("approvals.approve", params, agreed, token=bob.token)


async def test_the_only_one_who_decides_gets_a_new_code_from_whoever_has_the_files(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        await bed.person("acme", "alice")
        assert (await bed.ok("users.reset_password", {**ACME, "user": "alice"}, local="root"))["code"]
        await bed.person("acme", "bob")
        answer = await bed.call("users.reset_password", {**ACME, "user": "alice"}, local="root")
        assert answer.status == 202, "bob is there to be asked"


async def test_who_was_only_invited_goes_by_one(tmp_path: Path) -> None:
    async with admin_bed(tmp_path) as bed:
        await bed.org("acme", two_person=True)
        alice = await bed.person("acme", "alice")
        await bed.ok("users.create", ACME, {"name": "bob", "role": "security_admin"}, token=alice.token)
        await bed.ok("users.disable", {**ACME, "user": "bob"}, token=alice.token)
