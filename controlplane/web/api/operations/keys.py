"""Client keys of an org: created, listed, revoked."""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from controlplane.domain.errors import ConflictError
from controlplane.domain.keys import DAY_SECONDS, DEFAULT_LIFE_DAYS, MAX_LIFE_DAYS, NAME
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import Effect, Model, NameOrId, NoBody, Operation, OrgParams, PageParams, shaped
from outpost.core.bundle import limits
from outpost.core.bundle.access import ClientKey

LAG_SECONDS = 60  # clocks of outposts may lag a little
Named = Annotated[str, Field(max_length=limits.MAX_TEXT_CHARS, json_schema_extra=shaped(NAME.pattern))]
NamedOrNone = Annotated[
    str, Field(max_length=limits.MAX_TEXT_CHARS, json_schema_extra=shaped(NAME.pattern, empty=True))
]
Glob = Annotated[str, Field(min_length=1, max_length=limits.MAX_TEXT_CHARS)]


class KeyParams(OrgParams):
    """One client key."""

    key: NameOrId


class NewKey(Model):
    """A client key to make."""

    name: Named
    user: NamedOrNone = ""
    groups: Annotated[tuple[Named, ...], Field(max_length=limits.MAX_GROUPS)] = ()
    agent: NamedOrNone = ""
    channel: Literal["interactive", "api"] = "api"
    data_class: Literal["public", "internal", "confidential", "phi"] = "internal"
    models: Annotated[tuple[Glob, ...], Field(max_length=limits.MAX_MODELS)] = ()
    expires_days: Annotated[int, Field(ge=1, le=MAX_LIFE_DAYS)] = DEFAULT_LIFE_DAYS


class KeyMade(Model):
    """A client key, shown once."""

    id: str
    name: str
    org: str
    expires_s: int
    revision: str
    key: str


class KeyRow(Model):
    """A client key; only its hash is known."""

    id: str
    sha256: str
    name: str
    user: str
    groups: tuple[str, ...]
    agent: str
    channel: str
    data_class: str
    models: tuple[str, ...]
    not_before: int
    expires: int
    revoked: bool


class KeyList(Model):
    """A page of client keys."""

    org: str
    keys: tuple[KeyRow, ...]
    next_cursor: str


class KeyRevoked(Model):
    """A key that is void."""

    id: str
    name: str
    revision: str


async def create(context: Context, params: OrgParams, body: NewKey) -> KeyMade:
    """Make a key; outposts get its hash."""
    now_s = context.now_ms // 1000
    description = ClientKey(
        id="",
        sha256="",
        name=body.name,
        user=body.user,
        groups=body.groups,
        agent=body.agent,
        channel=body.channel,
        data_class=body.data_class,
        models=body.models,
        not_before=now_s - LAG_SECONDS,
        expires=now_s + body.expires_days * DAY_SECONDS,
        revoked=False,
    )
    text, record, published = await context.publisher.create_key(context.org, description)
    return KeyMade(
        id=record.id,
        name=record.name,
        org=context.org,
        expires_s=record.expires,
        revision=published.revision,
        key=text,
    )


async def list_keys(context: Context, params: PageParams, body: NoBody) -> KeyList:
    """A page, in order of creation."""
    cursors = Cursors(context.bench.seal, {"operation": "keys.list", "org": context.org})
    found = await context.publisher.client_keys(context.org)
    page = cut(found, lambda each: each.id, cursors, (params.cursor, params.limit))
    rows = tuple(KeyRow(**asdict(each)) for each in page.items)
    return KeyList(org=context.org, keys=rows, next_cursor=page.following)


async def revoke(context: Context, params: KeyParams, body: NoBody) -> KeyRevoked:
    """One online signature."""
    record, published = await context.publisher.revoke_key(context.org, params.key)
    return KeyRevoked(id=record.id, name=record.name, revision=published.revision)


OPERATIONS = (
    Operation(
        name="keys.create",
        summary="Create a client key. It is shown once; outposts get its hash.",
        verb=Verb.KEYS_CREATE,
        method="POST",
        path="/v1/orgs/{org}/keys",
        effect=Effect.ACT,
        params=OrgParams,
        body=NewKey,
        result=KeyMade,
        handler=create,
        schema="controlplane.key/1",
        status=201,
        families=(ConflictError,),
        target="key/{name}",
        secret=True,
    ),
    Operation(
        name="keys.list",
        summary="List client keys, revoked ones too.",
        verb=Verb.KEYS_READ,
        method="GET",
        path="/v1/orgs/{org}/keys",
        params=PageParams,
        body=NoBody,
        result=KeyList,
        handler=list_keys,
        schema="controlplane.keys/1",
        items="keys",
    ),
    Operation(
        name="keys.revoke",
        summary="Revoke a client key by name or id; connected outposts refuse it within a second.",
        verb=Verb.KEYS_REVOKE,
        method="POST",
        path="/v1/orgs/{org}/keys/{key}/revoke",
        effect=Effect.ACT,
        params=KeyParams,
        body=NoBody,
        result=KeyRevoked,
        handler=revoke,
        schema="controlplane.key/1",
        target="key/{key}",
    ),
)
