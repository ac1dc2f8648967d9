"""Identities of outposts: locked with an order to wipe, one of them or all; given anew by a join token."""

from typing import Annotated

from pydantic import Field

from controlplane.domain.errors import ConflictError
from controlplane.domain.join import DEFAULT_TTL_MS
from controlplane.domain.outposts import Outpost
from controlplane.domain.rbac import Verb
from controlplane.services.administer import Door, Terms
from controlplane.services.locks import DEFAULT_REASON, checked_reason
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, Operation, OrgParams
from controlplane.web.api.operations.outposts import (
    MAX_MILLISECONDS,
    OutpostFacts,
    OutpostParams,
    Registration,
    facts,
)
from outpost.core.bundle.revocations import LOCKED, RevokedOutpost


class Reenrollment(Model):
    """Terms of the join token."""

    ttl_ms: Annotated[int, Field(ge=0, le=MAX_MILLISECONDS, description="life of the join token")] = DEFAULT_TTL_MS
    source: Annotated[str, Field(max_length=64, description="only callers from this network may use the token")] = ""


class LockReason(Model):
    """Why, as a code that the outpost shows."""

    reason: Annotated[str, Field(max_length=64)] = DEFAULT_REASON


class LockedAll(Model):
    """Who was locked."""

    org: str
    locked: tuple[str, ...]


async def reenroll(context: Context, params: OutpostParams, body: Reenrollment) -> Registration:
    """A join token for a fresh identity over the same audit log; until it is spent nothing changes."""
    door: Door = context.prepared
    made = await context.administration.reenroll(context.org, params.outpost, Terms(body.ttl_ms, "", body.source), door)
    return Registration(
        outpost=made.outpost.id,
        name=made.outpost.name,
        org=context.org,
        endpoint=door.endpoint,
        pin=door.pin,
        expires_ms=made.expires_ms,
        again=made.again,
        paste="outpost enroll --token-file FILE",
        token=made.token,
    )


async def lock(context: Context, params: OutpostParams, body: LockReason) -> OutpostFacts:
    """Refused from now on, and ordered to wipe; every outpost of the org is told that this one lost its identity."""
    locked = await context.locks.order(context.org, params.outpost, body.reason)
    await context.publisher.list_revoked(context.org, [_gone(locked)])
    return OutpostFacts(**facts(locked))


async def lock_all(context: Context, params: OrgParams, body: LockReason) -> LockedAll:
    """Every outpost of the org that has an identity."""
    locked = await context.locks.order_all(context.org, body.reason)
    if locked:
        await context.publisher.list_revoked(context.org, [_gone(each) for each in locked])
    return LockedAll(org=context.org, locked=tuple(each.name for each in locked))


def _gone(outpost: Outpost) -> RevokedOutpost:
    return RevokedOutpost(outpost.id, LOCKED, outpost.join_sequence)


async def _door(context: Context) -> Door:
    return await context.bench.door()


async def _check_all(context: Context, params: OrgParams, body: LockReason) -> None:
    checked_reason(body.reason)


OPERATIONS = (
    Operation(
        name="outposts.reenroll",
        summary="Make a join token that gives an outpost, locked or not, a fresh identity over its own audit log.",
        verb=Verb.OUTPOSTS_REGISTER,
        method="POST",
        path="/v1/orgs/{org}/outposts/{outpost}/reenroll",
        effect=Effect.ACT,
        params=OutpostParams,
        body=Reenrollment,
        result=Registration,
        handler=reenroll,
        prepare=_door,
        schema="controlplane.registration/1",
        status=201,
        families=(ConflictError,),
        target="outpost/{outpost}",
        secret=True,
    ),
    Operation(
        name="outposts.lock",
        summary="Lock an outpost, and order it to wipe its keys, configuration and vault; its audit log stays.",
        verb=Verb.OUTPOSTS_LOCK,
        method="POST",
        path="/v1/orgs/{org}/outposts/{outpost}/lock",
        effect=Effect.ACT,
        params=OutpostParams,
        body=LockReason,
        result=OutpostFacts,
        handler=lock,
        schema="controlplane.outpost/1",
        families=(ConflictError,),
        target="outpost/{outpost}",
    ),
    Operation(
        name="outposts.lock_all",
        summary="Lock every outpost of an org, and order all of them to wipe; takes two persons.",
        verb=Verb.OUTPOSTS_LOCK_ALL,
        method="POST",
        path="/v1/orgs/{org}/lock",
        effect=Effect.ACT,
        params=OrgParams,
        body=LockReason,
        result=LockedAll,
        handler=lock_all,
        schema="controlplane.outposts_locked/1",
        families=(ConflictError,),
        target="outposts",
        check=_check_all,
    ),
)
