"""The act log: listed, proved, exported, verified."""

import json
from base64 import b64encode
from typing import Annotated, Any, Literal

from pydantic import Field

from controlplane.domain.acts import ActFilter, ActRow
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors
from controlplane.web.api.operation import (
    Model,
    NoBody,
    Operation,
    OrgParams,
    PageParams,
    Scope,
)

MAX_SEQUENCE = 1 << 53


class ActListParams(PageParams):
    """Which records."""

    operation: Annotated[str, Field(max_length=64, description="only this operation")] = ""
    principal: Annotated[str, Field(max_length=128, description="only this id")] = ""
    outcome: Literal["", "done", "intended", "pending", "refused", "failed"] = ""


class ActParams(OrgParams):
    """One record."""

    sequence: Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]


class ActView(Model):
    """One record, parsed."""

    sequence: int
    record: dict[str, Any]


class ActList(Model):
    """A page of records, newest first."""

    org: str
    acts: tuple[ActView, ...]
    next_cursor: str


class ActProved(Model):
    """A record with its inclusion proof (RFC 9162), for whoever has the log's public key."""

    org: str
    sequence: int
    record: dict[str, Any]
    record_text: str
    proof: tuple[str, ...]
    checkpoint: str
    log_key: str
    tlog_proof: str


class ActExport(Model):
    """Exact records below a signed head: one a line they make a file that `outpost verify-audit` accepts."""

    org: str
    origin: str
    log_key: str
    checkpoint: str
    size: int
    records: tuple[str, ...]
    next_cursor: str


class ActVerified(Model):
    """Result of a check."""

    org: str
    origin: str
    log_key: str
    size: int
    signed: int
    checkpoints: int
    fault: str


async def list_acts(context: Context, params: ActListParams, body: NoBody) -> ActList:
    """A page."""
    chosen = ActFilter(params.operation, params.principal, params.outcome)
    scope = {
        "operation": "acts.list",
        "org": context.org,
        "filter": json.dumps([chosen.operation, chosen.principal, chosen.outcome]),
    }
    cursors = Cursors(context.bench.seal, scope)
    position = cursors.open(params.cursor)
    before = int(position) if position else MAX_SEQUENCE
    found = await context.bench.acts.page(context.org, chosen, before, params.limit + 1)
    page = found[: params.limit]
    more = cursors.make(str(page[-1].sequence)) if len(found) > len(page) else ""
    return ActList(org=context.org, acts=tuple(_view(row) for row in page), next_cursor=more)


async def show(context: Context, params: ActParams, body: NoBody) -> ActProved:
    """With its proof."""
    found = await context.bench.acts.prove(context.org, params.sequence)
    proof = tuple(b64encode(each).decode() for each in found.proof)
    checkpoint = found.checkpoint.decode()
    lines = "\n".join(("c2sp.org/tlog-proof@v1", f"index {found.sequence}", *proof))
    return ActProved(
        org=context.org,
        sequence=found.sequence,
        record=json.loads(found.record),
        record_text=found.record.decode(),
        proof=proof,
        checkpoint=checkpoint,
        log_key=found.log_key,
        tlog_proof=f"{lines}\n\n{checkpoint}",
    )


async def export(context: Context, params: PageParams, body: NoBody) -> ActExport:
    """A part, in order; the cursor holds the size of the first page's head, so that all pages make one export."""
    cursors = Cursors(context.bench.seal, {"operation": "acts.export", "org": context.org})
    position = cursors.open(params.cursor)
    first, size = (int(part) for part in position.split("/")) if position else (0, 0)
    found = await context.bench.acts.export(context.org, first, params.limit, size)
    end = first + len(found.records)
    return ActExport(
        org=context.org,
        origin=found.origin,
        log_key=found.log_key,
        checkpoint=found.checkpoint.decode(),
        size=found.size,
        records=tuple(record.decode() for record in found.records),
        next_cursor=cursors.make(f"{end}/{found.size}") if end < found.size else "",
    )


async def verify(context: Context, params: OrgParams, body: NoBody) -> ActVerified:
    """Everything is computed again."""
    report = await context.bench.acts.verify(context.org)
    return ActVerified(
        org=context.org,
        origin=report.origin,
        log_key=report.log_key,
        size=report.size,
        signed=report.signed,
        checkpoints=report.checkpoints,
        fault=report.fault,
    )


def _view(row: ActRow) -> ActView:
    return ActView(sequence=row.sequence, record=json.loads(row.entry))


OPERATIONS = (
    Operation(
        name="acts.list",
        summary="List what was asked of the control plane, newest first: who, from where, what, and how it ended.",
        verb=Verb.ACTS_READ,
        method="GET",
        path="/v1/orgs/{org}/acts",
        scope=Scope.SPACE,
        params=ActListParams,
        body=NoBody,
        result=ActList,
        handler=list_acts,
        schema="controlplane.acts/1",
        items="acts",
    ),
    Operation(
        name="acts.show",
        summary="Show one record with its inclusion proof.",
        verb=Verb.ACTS_READ,
        method="GET",
        path="/v1/orgs/{org}/acts/{sequence}",
        scope=Scope.SPACE,
        params=ActParams,
        body=NoBody,
        result=ActProved,
        handler=show,
        schema="controlplane.act/1",
    ),
    Operation(
        name="acts.export",
        summary="Export the act log up to its newest signed head; verified offline with the public key.",
        verb=Verb.ACTS_EXPORT,
        method="GET",
        path="/v1/orgs/{org}/acts/export",
        scope=Scope.SPACE,
        params=PageParams,
        body=NoBody,
        result=ActExport,
        handler=export,
        schema="controlplane.act_export/1",
        items="records",
    ),
    Operation(
        name="acts.verify",
        summary="Compute the act log's tree again and hold it against every signed head.",
        verb=Verb.ACTS_READ,
        method="GET",
        path="/v1/orgs/{org}/acts/verification",
        scope=Scope.SPACE,
        params=OrgParams,
        body=NoBody,
        result=ActVerified,
        handler=verify,
        schema="controlplane.act_verification/1",
    ),
)
