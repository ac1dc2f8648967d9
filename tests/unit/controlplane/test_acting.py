"""Acts: one transaction with their record, once for each idempotency key, by two persons where it takes two."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.domain.acts import Act, Outcome
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.replies import LIFE_MS
from controlplane.services.acts import ActLog
from controlplane.services.configuration import Publisher
from controlplane.store.acts import ActTable
from controlplane.store.errors import DatabaseError
from controlplane.web.api.joined import ForeignSpaceError, Unit
from tests.unit.controlplane.admin_bed import PASSWORD, AdminBed, admin_bed
from tests.unit.controlplane.bed import Chance

ACME = {"org": "acme"}


async def keys_of(bed: AdminBed) -> list[str]:
    return [each["name"] for each in (await bed.ok("keys.list", ACME, local="root"))["keys"]]


async def test_an_act_says_who_from_where_what_and_how_it_ended(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        await bed.call("keys.create", ACME, {"name": "k"}, token=alice.token, source="198.51.100.7")
        record = (await bed.acts("acme"))[-1]
        assert record["principal"] == {"id": alice.id, "kind": "person", "name": "alice", "role": "owner"}
        assert record["source"] == "198.51.100.7"
        assert (record["operation"], record["verb"]) == ("keys.create", "keys.create")
        assert (record["target"], record["outcome"], record["code"]) == ("key/k", "done", "")
        assert len(record["parameters_sha256"]) == 64
        assert (record["event"], record["org"], record["outpost"]) == ("admin.act", "acme", "")


async def test_a_reading_leaves_no_record(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        before = len(await bed.acts("acme"))
        for name in ("keys.list", "orgs.show", "policy.show", "users.list"):
            await bed.ok(name, ACME, local="root")
        assert len(await bed.acts("acme")) == before


async def test_no_act_happens_without_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with admin_bed(tmp_path, "acme") as bed:

        async def full(*_: object) -> None:
            raise DatabaseError("the disk is full")

        monkeypatch.setattr(ActTable, "append", full)
        assert await bed.refused("keys.create", ACME, {"name": "k"}, local="root") == (503, "store.database")
        monkeypatch.undo()
        assert await keys_of(bed) == []
        assert (await bed.ok("acts.verify", ACME, local="root"))["fault"] == ""


async def test_a_record_is_not_written_without_its_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        before = len(await bed.acts("acme"))
        keep = ActLog.append

        async def then_die(self: ActLog, *arguments: Any) -> int:
            await keep(self, *arguments)
            raise RuntimeError

        monkeypatch.setattr(ActLog, "append", then_die)
        assert await bed.refused("keys.create", ACME, {"name": "k"}, local="root") == (500, "internal")
        monkeypatch.undo()
        assert (len(await bed.acts("acme")), await keys_of(bed)) == (before, [])


async def test_a_failed_act_is_on_record_with_its_code(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        assert await bed.refused("keys.revoke", {**ACME, "key": "none"}, local="root") == (404, "key.unknown")
        record = (await bed.acts("acme"))[-1]
        assert (record["outcome"], record["code"]) == ("failed", "key.unknown")


ONE_LINE: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "a reason": ("outposts.revoke", {"outpost": "prod"}, {"reason": "x\nap-1 executed"}),
    "a reason that a terminal obeys": ("outposts.revoke", {"outpost": "prod"}, {"reason": "\x1b[2K"}),
    "a reason against an act": ("approvals.reject", {"approval": "ap-0"}, {"reason": "\u202e"}),
    "a title": ("releases.draft", {}, {"title": "a\rb", "terms": {"on_revoked": "seal"}}),
    "a name": ("users.create", {}, {"name": "a\nb", "role": "auditor"}),
}


@pytest.mark.parametrize("case", ONE_LINE)
async def test_what_people_are_shown_is_one_line(case: str, tmp_path: Path) -> None:
    name, params, body = ONE_LINE[case]
    async with admin_bed(tmp_path, "acme") as bed:
        refused = await bed.refused(name, {**ACME, **params}, body, local="root")
        assert refused == (422, "request.invalid")


async def test_a_new_org_is_on_record_before_and_after_and_in_its_own_log(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        assert [each["outcome"] for each in await bed.acts(OPERATOR)] == ["intended", "done"]
        own = await bed.acts("acme")
        assert [(each["operation"], each["outcome"]) for each in own] == [("orgs.create", "done")]
        assert await bed.refused("orgs.create", None, {"org": "acme"}, local="root") == (409, "org.exists")
        assert [each["outcome"] for each in await bed.acts(OPERATOR)][2:] == ["intended", "failed"]


async def test_an_effect_whose_end_is_not_recorded_is_not_called_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with admin_bed(tmp_path) as bed:
        keep = ActLog.append

        async def full(self: ActLog, transaction: Any, act: Act) -> int:
            if (act.org, act.outcome) == (OPERATOR, Outcome.DONE):
                raise DatabaseError("the disk is full")
            return await keep(self, transaction, act)

        monkeypatch.setattr(ActLog, "append", full)
        body = {"org": "acme", "owners": ["alice"]}
        refused = await bed.refused("orgs.create", None, body, local="root", idempotency_key="one")
        assert refused == (503, "act.end_unknown")
        monkeypatch.undo()
        assert [each["outcome"] for each in await bed.acts(OPERATOR)] == ["intended"]
        again = await bed.refused("orgs.create", None, body, local="root", idempotency_key="one")
        assert again == (409, "idempotency.in_progress"), "its key is not free for another try"


async def test_what_a_handler_swallowed_is_not_committed(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed, bed.store.for_org("acme").write() as transaction:
        unit = Unit(bed.store, "acme", transaction)

        async def fails() -> None:
            async with unit.store.for_org("acme").write():
                raise KeyError

        with pytest.raises(KeyError):
            await fails()
        assert unit.broken
        with pytest.raises(ForeignSpaceError):
            unit.store.for_org(OPERATOR)


class TestIdempotency:
    """One key, one act."""

    async def test_a_repeated_request_gets_the_first_answer(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            first = await bed.call("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            again = await bed.call("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            assert (first.status, again.status) == (201, 201)
            assert first.document == again.document
            assert "Idempotency-Replayed" not in first.headers
            assert again.headers["Idempotency-Replayed"] == "true"
            assert await keys_of(bed) == ["k"]

    async def test_another_request_with_the_key_is_refused(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.ok("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            expected = (422, "idempotency.mismatch")
            assert (
                await bed.refused("keys.create", ACME, {"name": "l"}, local="root", idempotency_key="one") == expected
            )
            assert (
                await bed.refused("outposts.register", ACME, {"name": "k"}, local="root", idempotency_key="one")
                == expected
            )
            assert await keys_of(bed) == ["k"]

    async def test_fifty_at_once_are_one_act(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            answers = await asyncio.gather(
                *(bed.call("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one") for _ in range(50))
            )
            assert {each.status for each in answers} == {201}
            assert len({each.document["key"] for each in answers}) == 1
            assert await keys_of(bed) == ["k"]

    async def test_a_new_org_at_once_is_one_org(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path) as bed:
            body = {"org": "acme", "owners": ["alice"]}
            answers = await asyncio.gather(
                *(bed.call("orgs.create", None, body, local="root", idempotency_key="one") for _ in range(10))
            )
            made = [each for each in answers if each.status == 201]
            assert {each.status for each in answers} <= {201, 409}
            assert len({each.document["owners"][0]["code"] for each in made}) == 1
            assert {each.document["code"] for each in answers if each.status == 409} <= {"idempotency.in_progress"}
            assert [each["outcome"] for each in await bed.acts(OPERATOR)].count("done") == 1

    async def test_a_failed_act_frees_its_key(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            body = {"org": "acme"}
            refused = await bed.refused("orgs.create", None, body, local="root", idempotency_key="one")
            assert refused == (409, "org.exists")
            assert await bed.ok("orgs.create", None, {"org": "globex"}, local="root", idempotency_key="one")

    async def test_keys_of_two_callers_are_two_keys(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.ok("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            await bed.ok("keys.create", ACME, {"name": "l"}, local="bob", idempotency_key="one")
            assert await keys_of(bed) == ["k", "l"]

    async def test_after_a_day_it_is_a_new_act(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.ok("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            bed.clock.ms += LIFE_MS + 1
            refused = await bed.refused("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            assert refused == (409, "key.exists")

    async def test_the_kept_answer_is_closed(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            made = await bed.ok("keys.create", ACME, {"name": "k"}, local="root", idempotency_key="one")
            assert not any(made["key"].encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    @pytest.mark.parametrize("key", ["k" * 129, "a b", "ä", "a\n"])
    async def test_a_key_has_a_form(self, key: str, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            refused = await bed.refused("keys.create", ACME, {"name": "k"}, local="root", idempotency_key=key)
            assert refused == (422, "request.invalid")


async def changed_policy(bed: AdminBed, message: str) -> dict[str, str]:
    shown = (await bed.ok("policy.show", ACME, local="root"))["policy"]
    shown["packs"][0]["rules"][0]["message"] = message
    return {"document": json.dumps(shown)}


async def changed_meanwhile(bed: AdminBed, document: dict[str, str]) -> None:
    """A policy that was published by other means than the act that waits."""
    publisher = Publisher(bed.store, bed.clock, Chance())
    await publisher.publish_policy("acme", document["document"].encode())


class TestPreconditions:
    """If-Match."""

    async def test_a_policy_is_not_published_over_another(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            seen = (await bed.call("policy.show", ACME, local="root")).headers["ETag"]
            mine = await changed_policy(bed, "mine")
            await bed.ok("policy.publish", ACME, await changed_policy(bed, "theirs"), local="root", if_match=seen)
            refused = await bed.refused("policy.publish", ACME, mine, local="root", if_match=seen)
            assert refused == (412, "precondition.failed")
            assert await bed.ok("policy.publish", ACME, mine, local="root", if_match="*")

    async def test_what_waits_is_held_against_it_again(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            seen = (await bed.call("policy.show", ACME, local="root")).headers["ETag"]
            mine, theirs = await changed_policy(bed, "mine"), await changed_policy(bed, "theirs")
            await bed.ok("orgs.set_two_person", ACME, {"on": True}, local="root")
            waiting = await bed.call("policy.publish", ACME, mine, local="root", if_match=seen)
            params, agreed = {**ACME, "approval": waiting.document["id"]}, {"digest": waiting.document["digest"]}
            shown = await bed.ok("approvals.show", params, local="bob")
            assert shown["content"]["if_match"] == seen
            await changed_meanwhile(bed, theirs)
            assert await bed.refused("approvals.approve", params, agreed, local="bob") == (412, "precondition.failed")
            shown = await bed.ok("approvals.show", params, local="bob")
            assert (shown["state"], shown["reason"]) == ("failed", "precondition.failed")
            policy = (await bed.ok("policy.show", ACME, local="root"))["policy"]
            assert policy["packs"][0]["rules"][0]["message"] == "theirs"

    async def test_a_quota_must_say_what_it_replaces(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            shown = await bed.call("orgs.read_quota", ACME, local="root")
            body = {name: value for name, value in shown.document.items() if name not in ("schema", "org")}
            body["outposts"] = 7
            refused = await bed.refused("orgs.set_quota", ACME, body, local="root")
            assert refused == (428, "precondition.missing")
            etag = shown.headers["ETag"]
            answers = await asyncio.gather(
                *(bed.call("orgs.set_quota", ACME, body, local="root", if_match=etag) for _ in range(8))
            )
            assert sorted(each.status for each in answers) == [200] + [412] * 7
            assert (await bed.ok("orgs.quota", ACME, local="root"))["outposts"] == 7
            assert await bed.refused("orgs.set_quota", {"org": "nobody"}, body, local="root", if_match="*") == (
                404,
                "org.unknown",
            )


async def test_nothing_of_a_body_that_is_secret_reaches_the_log_or_an_answer(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        body = {"password": PASSWORD, "totp": bed.otp(alice)}
        await bed.call("users.enroll_totp", ACME, body, token=alice.token)
        await bed.call("users.enroll_totp", ACME, {**body, "unknown": PASSWORD}, token=alice.token)
        await bed.call("sessions.create", None, {"org": "acme", "user": "alice", "password": [PASSWORD], "totp": "1"})
        told = str([each.document for each in bed.answers if each.status >= 400]) + str(await bed.acts("acme"))
        assert PASSWORD not in told
        assert alice.secret not in told
        assert alice.token not in told
