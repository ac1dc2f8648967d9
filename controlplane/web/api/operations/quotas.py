"""How much an org may use: seen by its own people, set by the operator."""

from dataclasses import asdict, replace
from typing import Annotated

from pydantic import Field

from controlplane.domain import quotas
from controlplane.domain.acts import Outcome
from controlplane.domain.errors import NotFoundError
from controlplane.domain.orgs import checked_customer_id
from controlplane.domain.quotas import Quotas
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.joined import Unit
from controlplane.web.api.operation import Effect, Model, NoBody, Operation, OrgParams, Scope

Count = Annotated[int, Field(ge=0, le=quotas.MOST)]


class QuotaTerms(Model):
    """Bounds of one org."""

    outposts: Annotated[Count, Field(description="registered outposts that are not revoked")]
    certificates_per_day: Annotated[Count, Field(description="issued for one outpost within 24 hours")]
    connects_per_second: Annotated[Count, Field(description="streams that its outposts open")]
    stored_releases: Annotated[Count, Field(description="signed sets that are kept")]


class QuotaShown(QuotaTerms):
    """Bounds of one org, with whose they are."""

    org: str


async def show(context: Context, params: OrgParams, body: NoBody) -> QuotaShown:
    """Those that were set, and the defaults for the rest."""
    async with context.store.for_org(params.org).read() as transaction:
        return _shown(params.org, await transaction.quotas.get())


async def set_quota(context: Context, params: OrgParams, body: QuotaTerms) -> QuotaShown:
    """All four at once; the org's own log has it too, in the same transaction."""
    checked_customer_id(params.org)
    wanted = Quotas(**body.model_dump())
    act = replace(context.write_act(context.principal, Outcome.DONE), org=params.org)
    async with context.store.for_org(params.org).write() as transaction:
        unit = Unit(context.store, params.org, transaction)
        await context.recheck(replace(context, store=unit.store, transaction=transaction))
        await transaction.quotas.put(wanted)
        await context.bench.acts.append(transaction, act)
    return _shown(params.org, wanted)


def _shown(org: str, found: Quotas) -> QuotaShown:
    return QuotaShown(org=org, **asdict(found))


OPERATIONS = (
    Operation(
        name="orgs.quota",
        summary="Show how much an org may use.",
        verb=Verb.ORGS_READ,
        method="GET",
        path="/v1/orgs/{org}/quota",
        params=OrgParams,
        body=NoBody,
        result=QuotaShown,
        handler=show,
        schema="controlplane.quota/1",
        versioned=True,
    ),
    Operation(
        name="orgs.read_quota",
        summary="Show the operator how much an org may use; its ETag guards the change.",
        verb=Verb.ORGS_LIMIT,
        method="GET",
        path="/v1/quotas/{org}",
        scope=Scope.OPERATOR,
        params=OrgParams,
        body=NoBody,
        result=QuotaShown,
        handler=show,
        schema="controlplane.quota/1",
        families=(NotFoundError,),
        versioned=True,
    ),
    Operation(
        name="orgs.set_quota",
        summary="Set how much an org may use. It replaces all, so If-Match must say from what.",
        verb=Verb.ORGS_LIMIT,
        method="PUT",
        path="/v1/quotas/{org}",
        scope=Scope.OPERATOR,
        effect=Effect.SPANNING,
        params=OrgParams,
        body=QuotaTerms,
        result=QuotaShown,
        handler=set_quota,
        schema="controlplane.quota/1",
        families=(NotFoundError,),
        target="org/{org}",
        guards="orgs.read_quota",
        must_match=True,
        versioned=True,
    ),
)
