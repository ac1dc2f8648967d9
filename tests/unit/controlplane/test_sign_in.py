"""Persons: sign-in codes, passwords, authenticators. One answer for every failure, after the same work."""

import asyncio
from pathlib import Path
from typing import Any

import pyotp
import pytest

from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import Role
from controlplane.domain.users import CODE_LIFE_MS
from controlplane.services.tokens import PERSON_LIFE_SECONDS
from tests.unit.controlplane.admin_bed import PASSWORD, STEP_MS, AdminBed, Person, admin_bed

ACME = {"org": "acme"}
BAD = "a password that is wrong"
FAILED = (401, "access.sign_in")


def credentials(bed: AdminBed, person: Person, **changes: str) -> dict[str, str]:
    return {"org": person.org, "user": person.name, "password": PASSWORD, "totp": bed.otp(person), **changes}


FAILURES: dict[str, dict[str, str]] = {
    "an unknown org": {"org": "nobody"},
    "an org that is none": {"org": "../x"},
    "an unknown user": {"user": "nobody"},
    "a name that is none": {"user": "'; --"},
    "a wrong password": {"password": BAD},
    "an empty password": {"password": ""},
    "a wrong one-time password": {"totp": "000000"},
    "no one-time password": {"totp": ""},
    "one in other digits": {"totp": "٠٠٠٠٠٠"},
}


@pytest.mark.parametrize("case", FAILURES)
async def test_every_failure_has_one_answer_after_the_same_work(case: str, tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.clock.ms += STEP_MS
        before = len(bed.passwords.checked)
        answer = await bed.call("sessions.create", None, credentials(bed, alice, **FAILURES[case]))
        expected = await bed.call("sessions.create", None, credentials(bed, alice, password=BAD))
        same = {"instance": ""}
        assert {**answer.document, **same} == {**expected.document, **same}
        assert (answer.status, answer.document["code"]) == FAILED
        assert len(bed.passwords.checked) == before + 2, "one check of a password each"
        assert await bed.ok("sessions.create", None, credentials(bed, alice))


async def test_a_disabled_user_is_answered_like_an_unknown_one(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        await bed.person("acme", "alice")
        bob = await bed.person("acme", "bob", Role.OPERATOR)
        await bed.ok("users.disable", {**ACME, "user": "bob"}, local="root")
        bed.clock.ms += STEP_MS
        assert await bed.refused("sessions.create", None, credentials(bed, bob)) == FAILED
        assert bed.passwords.checked[-1] == bed.passwords.nobodys


async def test_a_one_time_password_works_once(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.clock.ms += STEP_MS
        body = credentials(bed, alice)
        answers = await asyncio.gather(*(bed.call("sessions.create", None, body) for _ in range(10)))
        assert sorted(each.status for each in answers) == [201] + [401] * 9
        earlier = pyotp.TOTP(alice.secret).at((bed.clock.ms - STEP_MS) // 1000)
        assert await bed.refused("sessions.create", None, {**body, "totp": earlier}) == FAILED


STEPS = {"one step late": (-1, True), "one step early": (1, True), "two late": (-2, False), "two early": (2, False)}


@pytest.mark.parametrize("case", STEPS)
async def test_a_phones_clock_may_be_a_step_off(case: str, tmp_path: Path) -> None:
    steps, accepted = STEPS[case]
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.clock.ms += 10 * STEP_MS
        totp = pyotp.TOTP(alice.secret).at((bed.clock.ms + steps * STEP_MS) // 1000)
        answer = await bed.call("sessions.create", None, credentials(bed, alice, totp=totp))
        assert (answer.status == 201) == accepted


async def test_a_sign_in_is_on_record_and_a_failure_only_counted(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        records = await bed.acts("acme")
        assert [each["operation"] for each in records][-2:] == ["sessions.confirm", "sessions.create"]
        assert records[-1]["principal"]["id"] == alice.id
        await bed.refused("sessions.create", None, credentials(bed, alice, password=BAD))
        assert len(await bed.acts("acme")) == len(records)


async def test_old_hashes_are_made_anew(tmp_path: Path) -> None:
    async with admin_bed(tmp_path, "acme") as bed:
        alice = await bed.person("acme", "alice")
        bed.passwords.outdated = True
        made = []
        keep = bed.passwords.hash

        async def hashed(password: str) -> str:
            made.append(password)
            return await keep(password)

        bed.passwords.hash = hashed  # type: ignore[method-assign]
        await bed.sign_in(alice)
        assert made.count(PASSWORD) == 2, "to compare, and to store"


class TestFirstSignIn:
    """With a one-time code."""

    async def invited(self, bed: AdminBed, **changes: str) -> dict[str, str]:
        body = {"name": "alice", "role": "owner"}
        made = await bed.ok("users.create", ACME, body, local="root")
        return {"org": "acme", "user": "alice", "code": made["code"], **changes}

    async def test_the_code_is_written_as_one_likes(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            who["code"] = who["code"].upper().replace("-", " ")
            assert (await bed.ok("sessions.activate", None, {**who, "password": PASSWORD}))["secret"]

    @pytest.mark.parametrize(
        "change", [{"code": "aaaa"}, {"code": ""}, {"user": "bob"}, {"org": "nobody"}, {"org": OPERATOR}]
    )
    async def test_a_wrong_code_has_one_answer(self, change: dict[str, str], tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed, **change)
            refused = await bed.refused("sessions.activate", None, {**who, "password": PASSWORD})
            assert refused == (403, "user.code")

    async def test_it_ends_after_a_quarter_of_an_hour(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            bed.clock.ms += CODE_LIFE_MS
            refused = await bed.refused("sessions.activate", None, {**who, "password": PASSWORD})
            assert refused == (403, "user.code")

    async def test_nothing_counts_before_the_authenticator_answered(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            shown = await bed.ok("sessions.activate", None, {**who, "password": PASSWORD})
            totp = pyotp.TOTP(shown["secret"])
            body = {"org": "acme", "user": "alice", "password": PASSWORD, "totp": totp.at(bed.clock.ms // 1000)}
            assert await bed.refused("sessions.create", None, body) == FAILED
            assert await bed.refused("sessions.confirm", None, {**who, "totp": "000000"}) == (403, "user.totp")
            await bed.ok("sessions.confirm", None, {**who, "totp": body["totp"]})
            assert await bed.refused("sessions.create", None, body) == FAILED, "its one-time password was used"
            bed.clock.ms += STEP_MS
            body["totp"] = totp.at(bed.clock.ms // 1000)
            assert await bed.ok("sessions.create", None, body)
            refused = await bed.refused("sessions.confirm", None, {**who, "totp": body["totp"]})
            assert refused == (403, "user.code"), "the code is spent"

    async def test_beginning_anew_makes_another_authenticator(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            first = await bed.ok("sessions.activate", None, {**who, "password": PASSWORD})
            second = await bed.ok("sessions.activate", None, {**who, "password": PASSWORD})
            assert first["secret"] != second["secret"]
            assert first["otpauth_uri"].startswith("otpauth://totp/outpost.internal:alice%40acme?")
            old = pyotp.TOTP(first["secret"]).at(bed.clock.ms // 1000)
            assert await bed.refused("sessions.confirm", None, {**who, "totp": old}) == (403, "user.totp")

    @pytest.mark.parametrize("password", ["short", "x" * 129, "alice" * 3])
    async def test_a_password_has_a_form(self, password: str, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            status, code = await bed.refused("sessions.activate", None, {**who, "password": password})
            assert (status, code in ("user.password", "request.invalid")) == (422, True)

    async def test_a_database_has_nothing_that_opens(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            who = await self.invited(bed)
            shown = await bed.ok("sessions.activate", None, {**who, "password": PASSWORD})
            secrets = (who["code"], who["code"].replace("-", ""), PASSWORD, shown["secret"])
            kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
            assert [each for each in secrets if any(each.encode() in text for text in kept)] == []


class TestTokens:
    """What a token is worth."""

    async def test_it_ends_after_a_quarter_of_an_hour(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            alice = await bed.person("acme", "alice")
            bed.clock.ms += PERSON_LIFE_SECONDS * 1000 - 1
            assert await bed.ok("orgs.show", ACME, token=alice.token)
            bed.clock.ms += 1
            refused = await bed.refused("orgs.show", ACME, token=alice.token)
            assert refused == (401, "access.unauthenticated")

    @pytest.mark.parametrize(
        ("act", "body"),
        [("users.disable", {}), ("users.reset_password", {}), ("users.set_role", {"role": "auditor"})],
    )
    async def test_it_ends_at_once_with(self, act: str, body: dict[str, str], tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.person("acme", "alice")
            bob = await bed.person("acme", "bob", Role.OPERATOR)
            assert await bed.ok("outposts.list", ACME, token=bob.token)
            await bed.ok(act, {**ACME, "user": "bob"}, body, local="root")
            refused = await bed.refused("outposts.list", ACME, token=bob.token)
            assert refused == (401, "access.unauthenticated")

    async def test_another_authenticator_counts_once_it_answered(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            alice = await bed.person("acme", "alice")
            bed.clock.ms += STEP_MS
            proof = {"password": PASSWORD, "totp": bed.otp(alice)}
            shown = await bed.ok("users.enroll_totp", ACME, proof, token=alice.token)
            assert await bed.refused("users.enroll_totp", ACME, proof, token=alice.token) == FAILED
            wrong = await bed.refused("users.confirm_totp", ACME, {"totp": bed.otp(alice)}, token=alice.token)
            assert wrong == (403, "user.totp")
            alice_new = Person(alice.org, alice.name, alice.id, alice.role, shown["secret"])
            await bed.ok("users.confirm_totp", ACME, {"totp": bed.otp(alice_new)}, token=alice.token)
            bed.clock.ms += STEP_MS
            assert await bed.refused("sessions.create", None, credentials(bed, alice)) == FAILED
            assert await bed.sign_in(alice_new)

    async def test_a_program_has_no_authenticator(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            _, _, token = await bed.machine("acme", "ci", Role.OPERATOR)
            proof = {"password": PASSWORD, "totp": "000000"}
            refused = await bed.refused("users.enroll_totp", ACME, proof, token=token)
            assert refused == (409, "account.no_person")


class TestOwners:
    """Rules of granting."""

    @pytest.mark.parametrize("role", ["owner"])
    async def test_nobody_grants_more_than_he_has(self, role: str, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.person("acme", "alice")
            bob = await bed.person("acme", "bob", Role.SECURITY_ADMIN)
            for act, params, body in (
                ("users.create", {}, {"name": "eve", "role": role}),
                ("users.set_role", {"user": "bob"}, {"role": role}),
                ("clients.create", {}, {"name": "eve", "role": role}),
            ):
                status, code = await bed.refused(act, {**ACME, **params}, body, token=bob.token)
                assert (status, code) == (403, "access.role"), act
            for act in ("users.disable", "users.reset_password"):
                refused = await bed.refused(act, {**ACME, "user": "alice"}, token=bob.token)
                assert refused == (403, "access.grant")

    async def test_every_role_below_may_be_given(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            bob = await bed.person("acme", "bob", Role.SECURITY_ADMIN)
            for role in (Role.SECURITY_ADMIN, Role.AUDITOR, Role.OPERATOR, Role.READ_ONLY):
                body = {"name": role.value.replace("_", "-"), "role": role.value}
                assert await bed.ok("users.create", ACME, body, token=bob.token)

    async def test_the_last_owner_stays(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            await bed.person("acme", "alice")
            await bed.ok("users.create", ACME, {"name": "invited", "role": "owner"}, local="root")
            last = (409, "user.last_owner")
            assert await bed.refused("users.disable", {**ACME, "user": "alice"}, local="root") == last
            demoted = {"role": "auditor"}
            assert await bed.refused("users.set_role", {**ACME, "user": "alice"}, demoted, local="root") == last
            await bed.person("acme", "bob")
            assert await bed.ok("users.set_role", {**ACME, "user": "alice"}, demoted, local="root")
            assert await bed.refused("users.disable", {**ACME, "user": "bob"}, local="root") == last

    async def test_of_invited_owners_one_stays(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            for name in ("alice", "bob"):
                await bed.ok("users.create", ACME, {"name": name, "role": "owner"}, local="root")
            await bed.ok("users.disable", {**ACME, "user": "bob"}, local="root")
            last = (409, "user.last_owner")
            assert await bed.refused("users.disable", {**ACME, "user": "alice"}, local="root") == last


class TestMachines:
    """Programs."""

    async def test_a_rotation_lets_both_secrets_work_until_the_grace_ends(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            client_id, old, _ = await bed.machine("acme", "ci", Role.OPERATOR)
            body = {"grace_seconds": 60}
            new = (await bed.ok("clients.rotate", {**ACME, "client": "ci"}, body, local="root"))["secret"]
            assert await bed.machine_token(client_id, old)
            assert await bed.machine_token(client_id, new)
            bed.clock.ms += 60_000
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": old}
            assert await bed.refused("oauth.token", None, form) == (401, "invalid_client")
            assert await bed.machine_token(client_id, new)

    async def test_a_secret_expires(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            client_id, secret, _ = await bed.machine("acme", "ci", Role.OPERATOR, expires_days=1)
            bed.clock.ms += 86_400_000
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            assert await bed.refused("oauth.token", None, form) == (401, "invalid_client")

    async def test_a_revocation_counts_at_once(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            client_id, secret, token = await bed.machine("acme", "ci", Role.OPERATOR)
            assert await bed.ok("outposts.list", ACME, token=token)
            await bed.ok("clients.revoke", {**ACME, "client": "ci"}, local="root")
            assert await bed.refused("outposts.list", ACME, token=token) == (401, "access.unauthenticated")
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            assert await bed.refused("oauth.token", None, form) == (401, "invalid_client")

    async def test_scopes_bound_what_a_token_may(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            client_id, secret, whole = await bed.machine("acme", "ci", Role.OPERATOR)
            narrow = await bed.machine_token(client_id, secret, scope="outposts.read")
            assert await bed.ok("outposts.register", ACME, {"name": "one"}, token=whole)
            assert await bed.ok("outposts.list", ACME, token=narrow)
            refused = await bed.refused("outposts.register", ACME, {"name": "two"}, token=narrow)
            assert refused == (403, "access.scope")
            own = await bed.machine("acme", "reader", Role.OPERATOR, scopes=["outposts.read"])
            assert await bed.refused("keys.list", ACME, token=own[2]) == (403, "access.scope")

    @pytest.mark.parametrize("scope", ["policy.publish", "orgs.create", "nothing", "outposts.read keys.read nothing"])
    async def test_scopes_beyond_the_role_are_refused(self, scope: str, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            client_id, secret, _ = await bed.machine("acme", "ci", Role.READ_ONLY)
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            assert await bed.refused("oauth.token", None, {**form, "scope": scope}) == (400, "invalid_scope")
            body = {"name": "x", "role": "read_only", "scopes": scope.split()}
            assert await bed.refused("clients.create", ACME, body, local="root") == (422, "client.scope")

    @pytest.mark.parametrize(
        ("form", "expected"),
        [
            ({"grant_type": "password"}, (400, "unsupported_grant_type")),
            ({}, (400, "unsupported_grant_type")),
            ({"grant_type": "client_credentials"}, (401, "invalid_client")),
            ({"grant_type": "client_credentials", "client_id": "x" * 300}, (400, "invalid_request")),
            ({"grant_type": "client_credentials", "unknown": "1"}, (400, "invalid_request")),
            ({"grant_type": "client_credentials", "client_id": "cl_nobody_0123456789abcdef"}, (401, "invalid_client")),
            ({"grant_type": "client_credentials", "client_id": "cl_acme_0123456789abcdef"}, (401, "invalid_client")),
        ],
    )
    async def test_errors_are_those_of_rfc_6749(self, form: dict[str, str], expected: Any, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme") as bed:
            assert await bed.refused("oauth.token", None, form) == expected

    async def test_a_client_of_one_org_is_nobody_in_another(self, tmp_path: Path) -> None:
        async with admin_bed(tmp_path, "acme", "globex") as bed:
            client_id, secret, token = await bed.machine("acme", "ci", Role.OWNER)
            assert await bed.refused("orgs.show", {"org": "globex"}, token=token) == (404, "org.unknown")
            moved = client_id.replace("acme", "globex")
            form = {"grant_type": "client_credentials", "client_id": moved, "client_secret": secret}
            assert await bed.refused("oauth.token", None, form) == (401, "invalid_client")
