"""Policy documents are judged beside the event loop, before any transaction, and not too many of one caller's."""

import asyncio
import json
from pathlib import Path

import pytest

from controlplane.domain.rbac import Role
from controlplane.services.configuration import judge_policy
from controlplane.services.judging import BURST
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed
from tests.unit.controlplane.test_acting import ACME, changed_policy


@pytest.fixture(autouse=True)
def nothing_judged() -> None:
    judge_policy.cache_clear()


def long_document() -> dict[str, str]:
    rules = [
        {"id": f"r{at}", "sequence": at, "applies_to": "both", "action": "ALLOW", "conditions": {"agents": [f"a{at}"]}}
        for at in range(300)
    ]
    pack = {"id": "p", "name": "P", "kind": "custom", "rules": rules}
    default = {"input": "BLOCK", "output": "BLOCK"}
    document = {"schema": "outpost.policy/1", "org": "acme", "default": default, "packs": [pack]}
    return {"document": json.dumps({**document, "combining": "first_applicable", "org_chain": ["p"]})}


async def test_others_are_answered_while_a_reader_has_a_policy_linted(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        # a local caller is nobody whom a store has to confirm: nothing else is waited for
        linting = asyncio.create_task(bed.call("policy.lint", ACME, long_document(), local="root"))
        turns = 0
        while not linting.done():
            await asyncio.sleep(0)
            turns += 1
        assert linting.result().status == 200
        assert turns > 20, "the event loop stood still"


async def once_before(bed: AdminBed, name: str, params: dict[str, object], body: dict[str, object]) -> None:
    judge_policy.cache_clear()
    await bed.ok(name, {**ACME, **params}, body, local="root")
    told = judge_policy.cache_info()
    assert (told.misses, told.hits > 0) == (1, True), "judged before the transaction, found within"


async def test_nothing_is_judged_within_a_transaction(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        document = await changed_policy(bed, "one")
        await once_before(bed, "releases.draft", {}, {"policy": document["document"]})
        await once_before(bed, "policy.publish", {}, dict(document))
        await bed.ok("orgs.set_two_person", ACME, {"on": True}, local="root")
        waiting = await bed.call("policy.publish", ACME, await changed_policy(bed, "two"), local="bob")
        await once_before(
            bed, "approvals.approve", {"approval": waiting.document["id"]}, {"digest": waiting.document["digest"]}
        )


async def test_a_caller_has_a_rate_of_his_own(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice", Role.READ_ONLY)
        bob = await bed.person("acme", "bob", Role.READ_ONLY)
        document = await changed_policy(bed, "one")
        for _ in range(BURST):
            await bed.ok("policy.lint", ACME, document, token=bob.token)
        assert await bed.refused("policy.lint", ACME, document, token=bob.token) == (429, "api.throttled")
        assert await bed.ok("policy.lint", ACME, document, token=alice.token)
