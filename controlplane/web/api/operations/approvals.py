"""Acts that wait for a second person: listed, shown, approved, rejected."""

import json
from typing import Annotated, Any

from pydantic import Field

from controlplane.domain import approvals
from controlplane.domain.approvals import Approval, ApprovalState, seen_at
from controlplane.domain.errors import ConflictError, RefusedError, StateError, ThrottledError
from controlplane.domain.rbac import Principal, PrincipalKind, Role, Verb, authorise
from controlplane.ports.store import OrgTransaction
from controlplane.web.api.authentication import author_now
from controlplane.web.api.context import Context, Remedy
from controlplane.web.api.cursors import Cursors
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
)
from controlplane.web.api.views import APPROVAL_SCHEMA, ApprovalView, approval_view
from controlplane.web.problem import PreconditionFailedError

DIGEST_PATTERN = "^[0-9a-f]{64}$"


class AuthorGoneError(RefusedError):
    """Who asked for the act can do nothing any more."""

    code = "approval.author"


class ApprovalParams(OrgParams):
    """One approval."""

    approval: NameOrId


class Agreement(Model):
    """What the approver saw."""

    digest: Annotated[str, Field(pattern=DIGEST_PATTERN, description="of the approval as it was shown")]


class Refusal(Model):
    """Why not."""

    reason: Annotated[str, Field(max_length=200), OneLine] = ""


class ApprovalList(Model):
    """A page of approvals."""

    org: str
    approvals: tuple[ApprovalView, ...]
    next_cursor: str


class ApprovalShown(ApprovalView):
    """An approval with the whole act."""

    content: dict[str, Any]


class Executed(Model):
    """An approved act and what it did."""

    approval: ApprovalView
    status: int
    result: dict[str, Any]


async def list_approvals(context: Context, params: PageParams, body: NoBody) -> ApprovalList:
    """A page, newest first."""
    cursors = Cursors(context.bench.seal, {"operation": "approvals.list", "org": context.org})
    before = cursors.open(params.cursor)
    async with context.store.for_org(context.org).read() as transaction:
        found = await transaction.approvals.newest(before, params.limit + 1)
    page = found[: params.limit]
    more = cursors.make(page[-1].id) if len(found) > len(page) else ""
    rows = tuple(approval_view(each, context.org, context.now_ms) for each in page)
    return ApprovalList(org=context.org, approvals=rows, next_cursor=more)


async def show(context: Context, params: ApprovalParams, body: NoBody) -> ApprovalShown:
    """Everything that would be done."""
    async with context.store.for_org(context.org).read() as transaction:
        found = await transaction.approvals.get(params.approval)
    view = approval_view(found, context.org, context.now_ms)
    return ApprovalShown(**view.model_dump(), content=json.loads(found.content))


async def _ponder(context: Context, params: ApprovalParams, body: Agreement) -> None:
    async with context.store.for_org(context.org).read() as transaction:
        approval = await transaction.approvals.get(params.approval)
    if seen_at(approval, context.now_ms).state is ApprovalState.PENDING:
        await context.ponder(context, approval)


async def approve(context: Context, params: ApprovalParams, body: Agreement) -> Executed:
    """The second person agrees, and the act is done, once, in this transaction."""
    approval = await context.open.approvals.get(params.approval)
    decided = approvals.approve(approval, context.principal, body.digest, context.now_ms)
    author = await _author(context, approval)
    for each in (author, context.principal):
        authorise(each, approval.verb)
    status, result = await context.execute(
        context, approval, author, failing(approval, context.principal, context.now_ms)
    )
    await context.open.approvals.save(decided)
    return Executed(approval=approval_view(decided, context.org, context.now_ms), status=status, result=dict(result))


async def reject(context: Context, params: ApprovalParams, body: Refusal) -> ApprovalView:
    """It is not done; its own author withdraws it."""
    approval = await context.open.approvals.get(params.approval)
    ended = approvals.reject(approval, context.principal, body.reason, context.now_ms)
    await context.open.approvals.save(ended)
    return approval_view(ended, context.org, context.now_ms)


async def _author(context: Context, approval: Approval) -> Principal:
    """Who asked for it, as he is now. Raises AuthorGoneError."""
    if approval.author.startswith("local/"):
        return Principal(PrincipalKind.LOCAL, approval.author, approval.author_name, "", Role.OWNER)
    author = await author_now(context.open, approval.author, context.org)
    if author is None:
        raise AuthorGoneError(
            "who asked for this act was disabled or revoked since",
            field="approval",
            next_step="reject it; somebody who may can ask for it again",
        )
    return author


def failing(approval: Approval, approver: Principal, now_ms: int) -> Remedy:
    """Ends an approval whose act was refused when it was carried out; what may pass later leaves it pending."""

    async def end(transaction: OrgTransaction, error: Exception) -> None:
        if isinstance(error, StateError | ThrottledError):
            return
        found = await transaction.approvals.get(approval.id)
        if found.state is not ApprovalState.PENDING:
            return  # somebody decided while this try was being refused
        code = getattr(error, "code", "internal")
        await transaction.approvals.save(approvals.failed(found, approver, code, now_ms))

    return end


OPERATIONS = (
    Operation(
        name="approvals.list",
        summary="List acts that wait for a second person, or did, newest first.",
        verb=Verb.APPROVALS_READ,
        method="GET",
        path="/v1/orgs/{org}/approvals",
        scope=Scope.SPACE,
        params=PageParams,
        body=NoBody,
        result=ApprovalList,
        handler=list_approvals,
        schema="controlplane.approvals/1",
        items="approvals",
    ),
    Operation(
        name="approvals.show",
        summary="Show an approval with the whole act and its digest.",
        verb=Verb.APPROVALS_READ,
        method="GET",
        path="/v1/orgs/{org}/approvals/{approval}",
        scope=Scope.SPACE,
        params=ApprovalParams,
        body=NoBody,
        result=ApprovalShown,
        handler=show,
        schema="controlplane.approval/1",
    ),
    Operation(
        name="approvals.approve",
        summary="Approve an act of another person by its digest; it is done at once, and once.",
        verb=Verb.APPROVALS_DECIDE,
        method="POST",
        path="/v1/orgs/{org}/approvals/{approval}/approve",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=ApprovalParams,
        body=Agreement,
        result=Executed,
        handler=approve,
        ponder=_ponder,
        schema="controlplane.executed/1",
        families=(ConflictError, PreconditionFailedError),
        target="approval/{approval}",
        secret=True,
    ),
    Operation(
        name="approvals.reject",
        summary="Reject an act of another person, or withdraw one's own.",
        verb=Verb.APPROVALS_DECIDE,
        method="POST",
        path="/v1/orgs/{org}/approvals/{approval}/reject",
        scope=Scope.SPACE,
        effect=Effect.ACT,
        params=ApprovalParams,
        body=Refusal,
        result=ApprovalView,
        handler=reject,
        schema=APPROVAL_SCHEMA,
        families=(ConflictError,),
        target="approval/{approval}",
    ),
)
