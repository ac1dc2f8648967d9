"""Orgs: created by the operator, shown to themselves."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from controlplane.domain import users
from controlplane.domain.acts import Outcome
from controlplane.domain.errors import ConflictError, InputError
from controlplane.domain.orgs import ORG_ID, Org, checked_customer_id
from controlplane.domain.rbac import Role, Verb
from controlplane.ports.store import OrgTransaction
from controlplane.services.defaults import default_provider
from controlplane.services.persons import Invited
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import (
    Cursor,
    Effect,
    Limit,
    Model,
    NoBody,
    NoParams,
    OneLine,
    Operation,
    OrgParams,
    Scope,
    never_refused,
    shaped,
)

MAX_OWNERS = 16  # of a new org
MAX_URLS = 16
KEY_SECRET = "provider"  # noqa: S105 -- the name of a local secret of outposts, not a secret


FILE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
Url = Annotated[str, Field(max_length=512, json_schema_extra=shaped("https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,3})?/v1"))]


class OrgListParams(Model):
    """A page of all orgs."""

    limit: Limit = 50
    cursor: Cursor = ""


class NewOrg(Model):
    """An org with its first owners."""

    org: Annotated[str, Field(max_length=64, json_schema_extra=shaped(ORG_ID.pattern)), OneLine]
    provider_urls: Annotated[tuple[Url, ...], Field(max_length=MAX_URLS)] = ()
    provider_key_secret: Annotated[str, Field(max_length=64, json_schema_extra=shaped(FILE_NAME))] = KEY_SECRET
    models: Annotated[tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=256)] = ("*",)
    owners: Annotated[
        tuple[Annotated[str, Field(max_length=64, json_schema_extra=shaped(users.NAME.pattern))], ...],
        Field(max_length=MAX_OWNERS),
    ] = ()
    two_person: bool = True


class Invitation(Model):
    """A user with a one-time sign-in code, shown once."""

    user: str
    id: str
    code: str
    expires_ms: int


class OrgMade(Model):
    """A new org and what its owners sign in with first."""

    org: str
    revision: str
    two_person: bool
    owners: tuple[Invitation, ...]


class OrgRow(Model):
    """One org."""

    id: str
    created_ms: int
    ready: bool


class OrgList(Model):
    """A page of orgs."""

    orgs: tuple[OrgRow, ...]
    next_cursor: str


class OrgShown(Model):
    """An org as its own people see it."""

    id: str
    created_ms: int
    ready: bool
    two_person: bool
    users: int
    clients: int
    waiting: int


class TwoPerson(Model):
    """The two-person rule."""

    on: bool


class TwoPersonShown(Model):
    """The rule after a change."""

    org: str
    two_person: bool


def invitation(invited: Invited) -> Invitation:
    """What is shown of a new sign-in code, once."""
    user = invited.user
    return Invitation(user=user.name, id=user.id, code=invited.code, expires_ms=user.code_expires_ms)


async def create(context: Context, params: NoParams, body: NewOrg) -> OrgMade:
    """Make an org: its own log begins in the transaction that stores its first configuration."""
    org = checked_customer_id(body.org)
    if len(set(body.owners)) != len(body.owners):
        raise InputError("an owner is named twice", field="owners", next_step="name each once")
    made = [default_provider(url, body.provider_key_secret, body.models) for url in body.provider_urls]
    providers = [replace(each, name=f"provider-{at + 1}") if at else each for at, each in enumerate(made)]
    invited: list[Invited] = []

    async def first(transaction: OrgTransaction) -> None:
        await transaction.rules.set_two_person(on=body.two_person)
        for owner in body.owners:
            invited.append(await context.persons.invite(transaction, owner, Role.OWNER))
        act = replace(context.write_act(context.principal, Outcome.DONE), org=org)
        await context.bench.acts.append(transaction, act)

    published = await context.publisher.create(org, providers, first)
    return OrgMade(
        org=org,
        revision=published.revision,
        two_person=body.two_person,
        owners=tuple(invitation(each) for each in invited),
    )


async def list_orgs(context: Context, params: OrgListParams, body: NoBody) -> OrgList:
    """A page, in order of creation."""
    cursors = Cursors(context.bench.seal, {"operation": "orgs.list"})
    page = cut(await context.store.orgs(), lambda org: org.id, cursors, (params.cursor, params.limit))
    return OrgList(orgs=tuple(_row(org) for org in page.items), next_cursor=page.following)


async def show(context: Context, params: OrgParams, body: NoBody) -> OrgShown:
    """The org itself."""
    row = next((org for org in await context.store.orgs() if org.id == context.org), None)
    async with context.store.for_org(context.org).read() as transaction:
        living = [each for each in await transaction.clients.all() if not each.revoked_ms]
        return OrgShown(
            id=context.org,
            created_ms=row.created_ms if row else 0,
            ready=row.ready if row else True,
            two_person=await transaction.rules.two_person(),
            users=len(await transaction.users.all()),
            clients=len(living),
            waiting=await transaction.approvals.pending_count(context.now_ms),
        )


async def set_two_person(context: Context, params: OrgParams, body: TwoPerson) -> TwoPersonShown:
    """Switch the rule."""
    await context.open.rules.set_two_person(on=body.on)
    return TwoPersonShown(org=context.org, two_person=body.on)


def _row(org: Org) -> OrgRow:
    return OrgRow(id=org.id, created_ms=org.created_ms, ready=org.ready)


async def _switching_off(context: Context, params: OrgParams, body: TwoPerson) -> Verb | None:
    return None if body.on else Verb.ORGS_LOOSEN


OPERATIONS = (
    Operation(
        name="orgs.create",
        summary="Create an org with its signing keys, a first configuration and its first owners.",
        verb=Verb.ORGS_CREATE,
        method="POST",
        path="/v1/orgs",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=NoParams,
        body=NewOrg,
        result=OrgMade,
        handler=create,
        schema="controlplane.org/1",
        status=201,
        families=(ConflictError,),
        target="org/{org}",
        secret=True,
    ),
    Operation(
        name="orgs.list",
        summary="List all orgs.",
        verb=Verb.ORGS_READ,
        method="GET",
        path="/v1/orgs",
        scope=Scope.OPERATOR,
        params=OrgListParams,
        body=NoBody,
        result=OrgList,
        handler=list_orgs,
        schema="controlplane.orgs/1",
        items="orgs",
    ),
    Operation(
        name="orgs.show",
        summary="Show an org: its rule, how many users and clients it has, how many acts wait.",
        verb=Verb.ORGS_READ,
        method="GET",
        path="/v1/orgs/{org}",
        scope=Scope.SPACE,
        params=OrgParams,
        body=NoBody,
        result=OrgShown,
        handler=show,
        schema="controlplane.org_details/1",
    ),
    Operation(
        name="orgs.set_two_person",
        summary="Switch the two-person rule on or off; off takes two persons.",
        verb=Verb.ORGS_RULE,
        method="PUT",
        path="/v1/orgs/{org}/two-person",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=OrgParams,
        body=TwoPerson,
        result=TwoPersonShown,
        handler=set_two_person,
        schema="controlplane.two_person/1",
        target="two_person",
        check=never_refused,
        escalates=_switching_off,
    ),
)
