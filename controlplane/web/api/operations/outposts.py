"""Outposts: registered, listed, shown, revoked."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from controlplane.domain.condition import Condition
from controlplane.domain.errors import ConflictError
from controlplane.domain.join import DEFAULT_TTL_MS
from controlplane.domain.outposts import OUTPOST_NAME, Outpost
from controlplane.domain.rbac import Verb
from controlplane.services.administer import Door, Terms
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
    shaped,
)

MAX_REASON_CHARS = 200
MAX_MILLISECONDS = 1 << 53  # beyond it JSON readers disagree; rules of their own bound each time
SHOWN_REFUSALS = 10
PASTE = "outpost enroll --token-file FILE"
COURIER_PASTE = "outpost airgap request --token-file FILE --out REQUEST"


class OutpostParams(OrgParams):
    """One outpost."""

    outpost: NameOrId


class NewOutpost(Model):
    """An outpost to register."""

    name: Annotated[str, Field(max_length=128, json_schema_extra=shaped(OUTPOST_NAME.pattern)), OneLine]
    ttl_ms: Annotated[int, Field(ge=0, le=MAX_MILLISECONDS, description="life of the join token")] = DEFAULT_TTL_MS
    logical: Annotated[
        str,
        Field(
            max_length=128,
            description="logical outpost of which it is a replica; empty = its own name",
            json_schema_extra=shaped(OUTPOST_NAME.pattern, empty=True),
        ),
    ] = ""
    source: Annotated[
        str,
        Field(max_length=64, description="only callers from this network may use the token, such as 192.0.2.0/24"),
    ] = ""
    courier: Annotated[bool, Field(description="the outpost is enrolled by files, never over the network")] = False


class Registration(Model):
    """A join token, shown once."""

    outpost: str
    name: str
    org: str
    endpoint: str
    pin: str
    expires_ms: int
    again: bool
    paste: str
    token: str


class OutpostFacts(Model):
    """An outpost as registered."""

    id: str
    name: str
    state: str
    created_ms: int
    activated_ms: int
    revoked_ms: int
    reason: str
    last_seen_ms: int
    join_sequence: int
    serial: str
    software_version: str
    alert: str
    logical: str


class DeliveryFacts(Model):
    """What it said about the newest configuration that it was offered."""

    outpost_id: str
    number: int
    revision: str
    state: str
    at_ms: int
    code: str
    message: str
    resource: str
    release: int
    downloaded_ms: int
    activated_ms: int


class MemberFacts(Model):
    """How an outpost does. ``state`` is where it stands here, ``reported_state`` what its newest heartbeat says."""

    id: str
    name: str
    state: str
    reported_state: str
    active_revision: str
    last_seen_ms: int
    software_version: str
    failed: dict[str, str]
    delivery: DeliveryFacts | None
    attention: tuple[str, ...]


class OutpostRow(OutpostFacts, MemberFacts):
    """An outpost in a list."""


class OutpostList(Model):
    """A page of outposts."""

    org: str
    now_ms: int
    outposts: tuple[OutpostRow, ...]
    next_cursor: str


class LogFacts(Model):
    """Its audit log, as held here."""

    size: int
    cosigned: int


class RefusalFacts(Model):
    """An upload that the witness refused."""

    status: int
    size: int
    at_ms: int


class CertificateFacts(Model):
    """A certificate that was issued for it."""

    serial: str
    issued_s: int
    not_after_s: int


class OutpostShown(OutpostFacts):
    """Everything about one outpost."""

    status: dict[str, Any]
    delivery: DeliveryFacts | None
    audit: LogFacts | None
    audit_refusals: tuple[RefusalFacts, ...]
    certificates: tuple[CertificateFacts, ...]


class Revocation(Model):
    """Why."""

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS), OneLine] = ""


def facts(outpost: Outpost) -> dict[str, Any]:
    """Fields of OutpostFacts."""
    plain = {name: getattr(outpost, name) for name in OutpostFacts.model_fields}
    return plain | {"state": outpost.state.value, "logical": outpost.logical or outpost.name}


def member(condition: Condition) -> dict[str, Any]:
    """Fields of MemberFacts."""
    outpost, word = condition.outpost, condition.delivery
    return {
        "id": outpost.id,
        "name": outpost.name,
        "state": outpost.state.value,
        "reported_state": condition.state,
        "active_revision": condition.revision,
        "last_seen_ms": outpost.last_seen_ms,
        "software_version": outpost.software_version,
        "failed": dict(condition.failed),
        "delivery": DeliveryFacts(**asdict(word)) if word else None,
        "attention": condition.attention,
    }


def row_of(condition: Condition) -> OutpostRow:
    """An outpost in a list."""
    return OutpostRow(**(facts(condition.outpost) | member(condition)))


async def register(context: Context, params: OrgParams, body: NewOutpost) -> Registration:
    """A join token that works once."""
    door: Door = context.prepared
    terms = Terms(body.ttl_ms, body.logical, body.source, body.courier)
    made = await context.administration.register(context.org, body.name, terms, door)
    return Registration(
        outpost=made.outpost.id,
        name=made.outpost.name,
        org=context.org,
        endpoint=door.endpoint,
        pin=door.pin,
        expires_ms=made.expires_ms,
        again=made.again,
        paste=COURIER_PASTE if body.courier else PASTE,
        token=made.token,
    )


async def _door(context: Context) -> Door:
    return await context.bench.door()


async def list_outposts(context: Context, params: PageParams, body: NoBody) -> OutpostList:
    """A page, in order of registration."""
    cursors = Cursors(context.bench.seal, {"operation": "outposts.list", "org": context.org})
    found = await context.administration.outposts(context.org, context.bench.silent_ms)
    page = cut(found, lambda each: each.outpost.id, cursors, (params.cursor, params.limit))
    rows = tuple(map(row_of, page.items))
    return OutpostList(org=context.org, now_ms=context.now_ms, outposts=rows, next_cursor=page.following)


async def show(context: Context, params: OutpostParams, body: NoBody) -> OutpostShown:
    """Identity, configuration, heartbeat, audit log."""
    found = await context.administration.show(context.org, params.outpost)
    return OutpostShown(
        **facts(found.outpost),
        status=dict(found.status),
        delivery=DeliveryFacts(**asdict(found.delivery)) if found.delivery else None,
        audit=LogFacts(size=found.log.size, cosigned=found.log.cosigned_size) if found.log else None,
        audit_refusals=tuple(
            RefusalFacts(status=status, size=size, at_ms=at_ms)
            for status, size, at_ms in found.refusals[:SHOWN_REFUSALS]
        ),
        certificates=tuple(
            CertificateFacts(serial=each.serial, issued_s=each.issued_s, not_after_s=each.not_after_s)
            for each in found.certificates
        ),
    )


async def revoke(context: Context, params: OutpostParams, body: Revocation) -> OutpostFacts:
    """Final; and every outpost of the org is told that this one lost its identity."""
    return OutpostFacts(**facts(await context.withdrawals.revoke(context.org, params.outpost, body.reason)))


OPERATIONS = (
    Operation(
        name="outposts.register",
        summary="Register an outpost: makes a join token that works once; a pending one gets a new token.",
        verb=Verb.OUTPOSTS_REGISTER,
        method="POST",
        path="/v1/orgs/{org}/outposts",
        effect=Effect.ACT,
        params=OrgParams,
        body=NewOutpost,
        result=Registration,
        handler=register,
        prepare=_door,
        schema="controlplane.registration/1",
        status=201,
        families=(ConflictError,),
        target="outpost/{name}",
        secret=True,
    ),
    Operation(
        name="outposts.list",
        summary="List the outposts of an org: state, revision, last heartbeat, what needs attention.",
        verb=Verb.OUTPOSTS_READ,
        method="GET",
        path="/v1/orgs/{org}/outposts",
        params=PageParams,
        body=NoBody,
        result=OutpostList,
        handler=list_outposts,
        schema="controlplane.outposts/1",
        items="outposts",
    ),
    Operation(
        name="outposts.show",
        summary="Show one outpost: identity, configuration, heartbeat, audit log.",
        verb=Verb.OUTPOSTS_READ,
        method="GET",
        path="/v1/orgs/{org}/outposts/{outpost}",
        params=OutpostParams,
        body=NoBody,
        result=OutpostShown,
        handler=show,
        schema="controlplane.outpost/1",
    ),
    Operation(
        name="outposts.revoke",
        summary="Revoke an outpost for ever: its streams end within a second.",
        verb=Verb.OUTPOSTS_REVOKE,
        method="POST",
        path="/v1/orgs/{org}/outposts/{outpost}/revoke",
        effect=Effect.ACT,
        params=OutpostParams,
        body=Revocation,
        result=OutpostFacts,
        handler=revoke,
        schema="controlplane.outpost/1",
        families=(ConflictError,),
        target="outpost/{outpost}",
    ),
)
