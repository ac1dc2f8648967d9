"""Role × verb, through the real dispatcher: every operation for every role, allowed or refused as the table says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.domain import rbac
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.rbac import OPERATOR_VERBS, TABLE, TWO_PERSONS, Role, Verb, verbs_of
from controlplane.web.api.operation import AnyOperation, Scope
from controlplane.web.api.registry import every_operation, named
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed

AUTHENTICATED = [each for each in every_operation() if each.verb is not None]
# Bodies that pass the models; whether the act itself succeeds does not matter here, only whether it was allowed.
VALUES: dict[str, object] = {
    "org": "acme",
    "outpost": "prod",
    "logical": "prod",
    "provider": "default",
    "key": "k",
    "user": "nobody",
    "client": "nobody",
    "approval": "ap-000000000000",
    "sequence": 0,
    "role": "policy",
    "kind": "servers",
    "ingress": "edge",
    "plan": "plan-9",
}
BODIES: dict[str, dict[str, object]] = {
    "orgs.create": {"org": "x"},
    "orgs.set_two_person": {"on": True},
    "orgs.set_quota": {
        "outposts": 1,
        "certificates_per_day": 1,
        "connects_per_second": 1,
        "stored_releases": 1,
    },
    "outposts.register": {"name": "prod"},
    "policy.lint": {"document": "{}"},
    "policy.publish": {"document": "{}"},
    "routes.publish": {"providers": []},
    "routes.set": {"base_url": "http://127.0.0.1:9/v1"},
    "keys.create": {"name": "k"},
    "roots.apply": {"file": "{}"},
    "releases.import": {"file": "{}"},
    "releases.rollback": {"release": 9},
    "users.create": {"name": "new", "role": "read_only"},
    "users.set_role": {"role": "read_only"},
    "users.enroll_totp": {"password": "x", "totp": "1"},
    "users.confirm_totp": {"totp": "1"},
    "clients.create": {"name": "new", "role": "read_only"},
    "ingresses.issue": {"name": "edge", "csr": "x"},
    "ingresses.issue_server": {"hosts": ["edge.example"], "csr": "x"},
    "approvals.approve": {"digest": "0" * 64},
}
DECIDERS = {Verb.USERS_GRANT_DECIDER, Verb.USERS_END_DECIDER}
ACCESS = {"access.role", "access.scope", "access.operator_only", "access.unauthenticated"}


def home_of(operation: AnyOperation) -> str:
    return OPERATOR if operation.scope is Scope.OPERATOR else "acme"


def params_of(operation: AnyOperation) -> dict[str, object]:
    return {name: VALUES[name] for name in operation.path_fields}


@asynccontextmanager
async def site(folder: Path, *roles: Role) -> AsyncIterator[tuple[AdminBed, dict[tuple[str, Role], str]]]:
    """An org and the operator, each with a signed-in user of each role."""
    async with admin_bed(folder, "acme") as bed:
        yield (
            bed,
            {
                (org, role): (await bed.person(org, role.value.replace("_", "-"), role)).token
                for role in roles
                for org in ("acme", OPERATOR)
            },
        )


async def complaint(bed: AdminBed, operation: AnyOperation, role: Role, token: str) -> str:
    """What is wrong with the answer to one operation, or nothing."""
    answer = await bed.call(operation.name, params_of(operation), BODIES.get(operation.name), token=token)
    code = answer.document.get("code", "")
    if (code not in ACCESS) != (role in TABLE[operation.verb]):
        return f"{answer.status} {code}"
    if role in TABLE[operation.verb]:
        return ""
    record = (await bed.acts(home_of(operation)))[-1]
    seen = (record["operation"], record["outcome"], record["code"], record["principal"]["role"], answer.status)
    expected = (operation.name, "refused", "access.role", role.value, 403)
    return "" if seen == expected else f"recorded as {seen}"


@pytest.mark.parametrize("role", Role)
async def test_a_role_may_what_the_table_says_and_nothing_else(role: Role, tmp_path: Path) -> None:
    async with site(tmp_path, role) as (bed, tokens):
        found = {}
        for operation in AUTHENTICATED:
            found[operation.name] = await complaint(bed, operation, role, tokens[home_of(operation), role])
        assert {name: text for name, text in found.items() if text} == {}
        assert len(found) == len(AUTHENTICATED) > 40


async def test_without_a_token_nothing_is_done(tmp_path: Path) -> None:
    async with site(tmp_path) as (bed, _):
        for operation in AUTHENTICATED:
            for token in ("", "garbage", "a.b.c"):
                refused = await bed.refused(
                    operation.name, params_of(operation), BODIES.get(operation.name), token=token
                )
                assert refused == (401, "access.unauthenticated"), operation.name


async def test_the_operator_is_nobody_in_an_org_and_the_other_way_round(tmp_path: Path) -> None:
    async with site(tmp_path, Role.OWNER) as (bed, tokens):
        for operation in AUTHENTICATED:
            other = "acme" if operation.scope is Scope.OPERATOR else OPERATOR
            expected = (403, "access.operator_only") if operation.scope is Scope.OPERATOR else (404, "org.unknown")
            body = BODIES.get(operation.name)
            refused = await bed.refused(operation.name, params_of(operation), body, token=tokens[other, Role.OWNER])
            assert refused == expected, operation.name


def test_the_table_is_total() -> None:
    assert set(TABLE) == set(Verb)
    assert all(roles for roles in TABLE.values())
    assert {role for roles in TABLE.values() for role in roles} == set(Role)
    used = {each.verb for each in AUTHENTICATED} | {Verb.ORGS_LOOSEN, Verb.USERS_GRANT_OWNER} | DECIDERS
    assert used == set(Verb), "a verb that no operation has"
    assert set(TWO_PERSONS) <= set(Verb)


def test_an_owner_may_everything_and_a_reader_nothing_that_changes() -> None:
    assert verbs_of(Role.OWNER, OPERATOR) == set(Verb)
    assert verbs_of(Role.OWNER, "acme") == set(Verb) - OPERATOR_VERBS
    reading = {Verb.STATUS_READ, Verb.OWN_ACCOUNT, Verb.POLICY_LINT}
    assert verbs_of(Role.READ_ONLY, "acme") <= reading | {verb for verb in Verb if verb.value.endswith(".read")}


def test_bodies_of_this_test_cover_every_operation() -> None:
    required = {each.name for each in AUTHENTICATED if any(f.is_required() for f in each.body.model_fields.values())}
    assert required <= set(BODIES)
    assert {name for each in AUTHENTICATED for name in each.path_fields} <= set(VALUES)


async def test_the_matrix_notices_a_row_that_is_too_wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(tmp_path, Role.AUDITOR) as (bed, tokens):
        token, operation = tokens["acme", Role.AUDITOR], named("outposts.register")
        assert await complaint(bed, operation, Role.AUDITOR, token) == ""
        wide = {**rbac.TABLE, Verb.OUTPOSTS_REGISTER: frozenset(Role)}
        monkeypatch.setattr(rbac, "TABLE", wide)
        assert await complaint(bed, operation, Role.AUDITOR, token) == "201 "
