"""What needs attention, org by org and outpost by outpost."""

from collections.abc import Sequence

from controlplane.domain.orgs import Org
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Model, NoBody, NoParams, Operation, OrgParams, Scope
from controlplane.web.api.operations.outposts import MemberFacts, member

MAX_NAMED = 3  # outposts that the line of an org names; its members have them all


class OrgStatus(Model):
    """One org."""

    id: str
    outposts: int
    active: int
    revision: str
    signed_until_ms: int
    attention: str
    members: tuple[MemberFacts, ...]


class Status(Model):
    """What is asked about, and whether a server runs."""

    trust_domain: str
    server: str
    orgs: tuple[OrgStatus, ...]


async def show(context: Context, params: NoParams, body: NoBody) -> Status:
    """All orgs, for the operator."""
    return await _status(context, await context.store.orgs())


async def show_org(context: Context, params: OrgParams, body: NoBody) -> Status:
    """One org, for its own people."""
    return await _status(context, [org for org in await context.store.orgs() if org.id == context.org])


async def _status(context: Context, orgs: Sequence[Org]) -> Status:
    return Status(
        trust_domain=context.bench.trust_domain,
        server="running" if await context.bench.is_served() else "not running",
        orgs=tuple([await _org(context, org) for org in orgs]),
    )


async def _org(context: Context, org: Org) -> OrgStatus:
    async with context.store.for_org(org.id).read() as transaction:
        newest = await transaction.releases.newest()
    conditions = await context.administration.outposts(org.id, context.bench.silent_ms)
    members = [MemberFacts(**member(each)) for each in conditions]
    until_ms = newest.timestamp_expires_ms if newest else 0
    attention = [] if org.ready else ["creation was interrupted"]
    if org.ready and until_ms < context.now_ms:
        attention.append("the timestamp expired: run the server")
    if org.ready:
        attention += [each.warning for each in await context.ceremonies.outlook(org.id) if each.warning]
    troubled = [each for each in members if each.attention]
    attention += [f"{each.name} {', '.join(each.attention)}" for each in troubled[:MAX_NAMED]]
    if len(troubled) > MAX_NAMED:
        attention.append(f"{len(troubled) - MAX_NAMED} more outposts")
    return OrgStatus(
        id=org.id,
        outposts=len(members),
        active=sum(each.state == "active" for each in members),
        revision=newest.revision if newest else "-",
        signed_until_ms=until_ms,
        attention="; ".join(attention),
        members=tuple(members),
    )


OPERATIONS = (
    Operation(
        name="status.show",
        summary="Orgs, their outposts and how long their signatures last.",
        verb=Verb.STATUS_READ,
        method="GET",
        path="/v1/status",
        scope=Scope.OPERATOR,
        params=NoParams,
        body=NoBody,
        result=Status,
        handler=show,
        schema="controlplane.status/1",
    ),
    Operation(
        name="status.show_org",
        summary="One org, its outposts and how long its signatures last.",
        verb=Verb.STATUS_READ,
        method="GET",
        path="/v1/orgs/{org}/status",
        params=OrgParams,
        body=NoBody,
        result=Status,
        handler=show_org,
        schema="controlplane.status/1",
    ),
)
