"""Logical outposts: several enrolled replicas as one."""

from typing import Annotated, Any

from pydantic import Field

from controlplane.domain.logical import LogicalOutpost, named, rolled_up
from controlplane.domain.outposts import OUTPOST_NAME
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import Model, NoBody, Operation, OrgParams, PageParams, shaped
from controlplane.web.api.operations.outposts import OutpostRow, row_of


class LogicalParams(OrgParams):
    """One logical outpost."""

    logical: Annotated[str, Field(max_length=128, json_schema_extra=shaped(OUTPOST_NAME.pattern))]


class LogicalRow(Model):
    """A logical outpost in a list. ``state`` is ACTIVE, DEGRADED, DOWN, pending or revoked."""

    name: str
    state: str
    replicas: int
    serving: int
    well: int
    revisions: tuple[str, ...]
    last_seen_ms: int
    attention: tuple[str, ...]


class LogicalList(Model):
    """A page of logical outposts."""

    org: str
    now_ms: int
    logical_outposts: tuple[LogicalRow, ...]
    next_cursor: str


class LogicalShown(LogicalRow):
    """A logical outpost with its replicas."""

    org: str
    members: tuple[OutpostRow, ...]


def _facts(each: LogicalOutpost) -> dict[str, Any]:
    """Fields of LogicalRow."""
    return {
        "name": each.name,
        "state": each.state,
        "replicas": len(each.replicas),
        "serving": len(each.serving),
        "well": each.well,
        "revisions": each.revisions,
        "last_seen_ms": each.last_seen_ms,
        "attention": each.attention,
    }


async def list_logical(context: Context, params: PageParams, body: NoBody) -> LogicalList:
    """A page, in order of the registration of their first replica."""
    cursors = Cursors(context.bench.seal, {"operation": "logical.list", "org": context.org})
    found = rolled_up(await context.administration.outposts(context.org, context.bench.silent_ms))
    page = cut(found, lambda each: each.name, cursors, (params.cursor, params.limit))
    rows = tuple(LogicalRow(**_facts(each)) for each in page.items)
    return LogicalList(org=context.org, now_ms=context.now_ms, logical_outposts=rows, next_cursor=page.following)


async def show_logical(context: Context, params: LogicalParams, body: NoBody) -> LogicalShown:
    """One view of all replicas."""
    found = named(await context.administration.outposts(context.org, context.bench.silent_ms), params.logical)
    return LogicalShown(org=context.org, **_facts(found), members=tuple(map(row_of, found.replicas)))


OPERATIONS = (
    Operation(
        name="logical.list",
        summary="List logical outposts: several enrolled replicas as one, with what needs attention.",
        verb=Verb.OUTPOSTS_READ,
        method="GET",
        path="/v1/orgs/{org}/logical-outposts",
        params=PageParams,
        body=NoBody,
        result=LogicalList,
        handler=list_logical,
        schema="controlplane.logical_outposts/1",
        items="logical_outposts",
    ),
    Operation(
        name="logical.show",
        summary="Show one logical outpost with its replicas.",
        verb=Verb.OUTPOSTS_READ,
        method="GET",
        path="/v1/orgs/{org}/logical-outposts/{logical}",
        params=LogicalParams,
        body=NoBody,
        result=LogicalShown,
        handler=show_logical,
        schema="controlplane.logical_outpost/1",
    ),
)
