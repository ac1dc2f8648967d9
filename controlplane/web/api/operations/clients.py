"""Machine clients of an org."""

from typing import Annotated

from pydantic import Field

from controlplane.domain import clients
from controlplane.domain.clients import MachineClient
from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Role, Verb
from controlplane.services.machines import ClientWish, NewSecret
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import (
    Effect,
    Model,
    NameOrId,
    NoBody,
    OneLine,
    Operation,
    OrgParams,
    PageParams,
    Scope,
    shaped,
)

MAX_SCOPES = 64


class ClientParams(OrgParams):
    """One machine client."""

    client: NameOrId


class NewClient(Model):
    """A machine client to make."""

    name: Annotated[str, Field(max_length=128, json_schema_extra=shaped(clients.NAME.pattern)), OneLine]
    role: Role
    scopes: Annotated[
        tuple[Annotated[str, Field(max_length=64, json_schema_extra={"enum": [verb.value for verb in Verb]})], ...],
        Field(max_length=MAX_SCOPES, description="verbs that tokens may be asked for; empty is all of the role"),
    ] = ()
    expires_days: Annotated[int, Field(ge=1, le=clients.MAX_LIFE_DAYS)] = clients.DEFAULT_LIFE_DAYS


class Rotation(Model):
    """How long the old secret works on."""

    grace_seconds: Annotated[int, Field(ge=0, le=clients.MAX_GRACE_SECONDS)] = clients.DEFAULT_GRACE_SECONDS


class ClientShown(Model):
    """A machine client; its secret is nowhere."""

    org: str
    id: str
    name: str
    role: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int
    old_until_ms: int
    revoked_ms: int


class ClientSecret(ClientShown):
    """A machine client with a new secret, shown once."""

    secret: str


class ClientList(Model):
    """A page of machine clients."""

    org: str
    clients: tuple[ClientShown, ...]
    next_cursor: str


def client_shown(client: MachineClient, org: str) -> ClientShown:
    """What is shown of a client."""
    return ClientShown(
        org=org,
        id=client.id,
        name=client.name,
        role=client.role.value,
        scopes=tuple(verb.value for verb in client.scopes),
        created_ms=client.created_ms,
        expires_ms=client.expires_ms,
        old_until_ms=client.old_until_ms if client.old_digest else 0,
        revoked_ms=client.revoked_ms,
    )


async def create(context: Context, params: OrgParams, body: NewClient) -> ClientSecret:
    """A secret that is shown once."""
    return _with_secret(await context.machines.create(context.org, _wish(body), context.principal), context.org)


async def _check(context: Context, params: OrgParams, body: NewClient) -> None:
    await context.machines.check(context.org, _wish(body), context.principal)


def _wish(body: NewClient) -> ClientWish:
    return ClientWish(body.name, body.role, body.scopes, body.expires_days)


async def list_clients(context: Context, params: PageParams, body: NoBody) -> ClientList:
    """A page, in order of creation."""
    cursors = Cursors(context.bench.seal, {"operation": "clients.list", "org": context.org})
    found = await context.machines.all(context.org)
    page = cut(found, lambda each: each.id, cursors, (params.cursor, params.limit))
    rows = tuple(client_shown(each, context.org) for each in page.items)
    return ClientList(org=context.org, clients=rows, next_cursor=page.following)


async def rotate(context: Context, params: ClientParams, body: Rotation) -> ClientSecret:
    """The old secret works until the grace ends."""
    grace_ms = body.grace_seconds * 1000
    return _with_secret(
        await context.machines.rotate(context.org, params.client, grace_ms, context.principal), context.org
    )


async def revoke(context: Context, params: ClientParams, body: NoBody) -> ClientShown:
    """Its tokens are void at once."""
    return client_shown(await context.machines.revoke(context.org, params.client, context.principal), context.org)


def _with_secret(made: NewSecret, org: str) -> ClientSecret:
    return ClientSecret(**client_shown(made.client, org).model_dump(), secret=made.secret)


async def _granting(context: Context, params: OrgParams, body: NewClient) -> Verb | None:
    """An owner's rights in a program are an owner's rights; no program decides on approvals, whatever its role."""
    return Verb.USERS_GRANT_OWNER if body.role is Role.OWNER else None


OPERATIONS = (
    Operation(
        name="clients.create",
        summary="Make a machine client; its secret is shown once.",
        verb=Verb.CLIENTS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/clients",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=OrgParams,
        body=NewClient,
        result=ClientSecret,
        handler=create,
        schema="controlplane.client/1",
        status=201,
        families=(ConflictError,),
        target="client/{name}",
        check=_check,
        escalates=_granting,
        secret=True,
    ),
    Operation(
        name="clients.list",
        summary="List machine clients, revoked ones too.",
        verb=Verb.CLIENTS_READ,
        method="GET",
        path="/v1/orgs/{org}/clients",
        scope=Scope.SPACE,
        params=PageParams,
        body=NoBody,
        result=ClientList,
        handler=list_clients,
        schema="controlplane.clients/1",
        items="clients",
    ),
    Operation(
        name="clients.rotate",
        summary="Make a new secret; the old one works until the grace ends.",
        verb=Verb.CLIENTS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/clients/{client}/rotate",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=ClientParams,
        body=Rotation,
        result=ClientSecret,
        handler=rotate,
        schema="controlplane.client/1",
        target="client/{client}",
        secret=True,
    ),
    Operation(
        name="clients.revoke",
        summary="End a machine client; its tokens are void at once.",
        verb=Verb.CLIENTS_MANAGE,
        method="POST",
        path="/v1/orgs/{org}/clients/{client}/revoke",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=ClientParams,
        body=NoBody,
        result=ClientShown,
        handler=revoke,
        schema="controlplane.client/1",
        target="client/{client}",
    ),
)
