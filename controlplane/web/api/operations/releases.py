"""Releases on their way, as they are seen: plans, their outposts; and files for keys that are held elsewhere."""

import json
from typing import Annotated, Any

from pydantic import Field

from controlplane.domain import plans
from controlplane.domain.ceremony_reading import read_ceremony
from controlplane.domain.errors import ConflictError
from controlplane.domain.plans import Plan, PlanState
from controlplane.domain.rbac import Verb
from controlplane.domain.records import Delivery
from controlplane.domain.rollout import Participant
from controlplane.domain.rollout_terms import plain
from controlplane.domain.shadows import shadow_text
from controlplane.services.rollouts import Rollouts, Sight
from controlplane.web.api.context import Context
from controlplane.web.api.cursors import Cursors, cut
from controlplane.web.api.operation import Effect, Model, NameOrId, NoBody, Operation, OrgParams, PageParams
from controlplane.web.api.operations.policy import Publication, publication
from controlplane.web.api.operations.roots import MAX_FILE_BODY_BYTES, CeremonyFacts, CeremonyFile, ceremony_facts
from controlplane.web.api.views import ApprovalView, approval_view


class PlanParams(OrgParams):
    """One plan."""

    plan: NameOrId


class PlanPageParams(PageParams):
    """A page of what belongs to one plan."""

    plan: NameOrId


class RolloutTermsView(Model):
    """How careful a roll-out is."""

    percents: Annotated[tuple[int, ...], Field(description="rising shares of the logical outposts, the last 100")]
    soak_seconds: int
    answer_seconds: int
    failed_permille: int
    least_requests: int


class PlanView(Model):
    """A release on its way; times are Unix milliseconds, 0 = not yet."""

    org: str
    id: str
    kind: str
    title: str
    state: str
    stage: Annotated[int, Field(description="percent, 0 before the first")]
    release: Annotated[int, Field(description="version of the signed release, 0 before")]
    fallback: int
    at_once: bool
    digest: str
    author: str
    approver: str
    created_ms: int
    began_ms: int
    settled_ms: int
    ended_ms: int
    code: Annotated[str, Field(description="why it was halted")]
    reason: str
    culprit: Annotated[str, Field(description="name of the outpost that is the cause")]
    waiting: Annotated[bool, Field(description="for signatures of keys that are held elsewhere")]
    terms: RolloutTermsView


class PlanList(Model):
    """A page of plans, newest first."""

    org: str
    releases: tuple[PlanView, ...]
    next_cursor: str


class MoveView(Model):
    """A step of a plan's history."""

    at_ms: int
    state: str
    stage: int
    code: str
    reason: str
    by: str


class ProgressView(Model):
    """How far the present stage is.

    ``members`` are the outposts of the stage: ``active`` run the candidate, ``refused`` said why they do not.
    """

    members: int
    active: int
    refused: int
    fleet: int
    next_step: Annotated[str, Field(description="what the judge says: wait, settle, advance, complete or halt")]
    why: str


class PlanShown(PlanView):
    """A plan with its history, and how far it is while it rolls."""

    history: tuple[MoveView, ...]
    approval: ApprovalView | None
    progress: ProgressView | None
    shadow: Annotated[dict[str, Any] | None, Field(description="how it would have decided what was decided lately")]


class RolloutRow(Model):
    """One outpost and the newest configuration."""

    id: str
    name: str
    site: str
    member: Annotated[bool, Field(description="the candidate is meant for it")]
    state: Annotated[str, Field(description="of the newest set: offered, active or refused; empty before it was heard")]
    set: int
    release: int
    downloaded_ms: int
    activated_ms: int
    code: Annotated[str, Field(description="why it was refused; so are message and resource")]
    message: str
    resource: str
    last_seen_ms: int


class RolloutRows(Model):
    """A page of the outposts of an org."""

    org: str
    now_ms: int
    outposts: tuple[RolloutRow, ...]
    next_cursor: str


def plan_view(plan: Plan, org: str) -> dict[str, Any]:
    """Fields of PlanView."""
    taken = (
        *("title", "stage", "release", "fallback", "at_once", "digest", "created_ms", "began_ms", "settled_ms"),
        *("ended_ms", "code", "reason", "culprit"),
    )
    return {
        **{name: getattr(plan, name) for name in taken},
        "org": org,
        "id": plan.id,
        "kind": plan.kind.value,
        "state": plan.state.value,
        "author": plan.author.name,
        "approver": plan.approver.name,
        "waiting": bool(plan.ceremony),
        "terms": plain(plan.terms),
    }


async def list_plans(context: Context, params: PageParams, body: NoBody) -> PlanList:
    """A page, newest first."""
    cursors = Cursors(context.bench.seal, {"operation": "releases.list", "org": context.org})
    before = int(cursors.open(params.cursor) or 0)
    async with context.store.for_org(context.org).read() as transaction:
        found = await transaction.plans.newest(before, params.limit + 1)
    page = found[: params.limit]
    more = cursors.make(str(page[-1].number)) if len(found) > len(page) else ""
    rows = tuple(PlanView(**plan_view(each, context.org)) for each in page)
    return PlanList(org=context.org, releases=rows, next_cursor=more)


async def show(context: Context, params: PlanParams, body: NoBody) -> PlanShown:
    """Where it stands, how it came there, and what comes next."""
    found = await context.planner.shown(context.org, plans.number_of(params.plan))
    plan = found.plan
    sight = await _sight(context) if plan.state is PlanState.ROLLING else None
    view = approval_view(found.approval, context.org, context.now_ms) if found.approval is not None else None
    return PlanShown(
        **plan_view(plan, context.org),
        history=tuple(
            MoveView(
                at_ms=each.at_ms,
                state=each.state.value,
                stage=each.stage,
                code=each.code,
                reason=each.reason,
                by=each.by,
            )
            for each in found.history
        ),
        approval=view,
        progress=_progress(sight) if sight is not None else None,
        shadow=await _shadow(context, plan),
    )


async def outposts(context: Context, params: PlanPageParams, body: NoBody) -> RolloutRows:
    """What each outpost made of the newest configuration while the plan rolls, or after."""
    plan = (await context.planner.shown(context.org, plans.number_of(params.plan))).plan
    sight = await _sight(context) if plan.state is PlanState.ROLLING else None
    members = frozenset(each.id for each in sight.members) if sight is not None else frozenset()
    cursors = Cursors(context.bench.seal, {"operation": "releases.outposts", "org": context.org, "plan": plan.id})
    found = await context.administration.outposts(context.org, context.bench.silent_ms)
    page = cut(found, lambda each: each.outpost.id, cursors, (params.cursor, params.limit))
    rows = []
    for each in page.items:
        outpost, word = each.outpost, each.delivery
        rows.append(
            RolloutRow(
                id=outpost.id,
                name=outpost.name,
                site=outpost.site,
                member=outpost.id in members,
                last_seen_ms=outpost.last_seen_ms,
                **_word(word),
            )
        )
    return RolloutRows(org=context.org, now_ms=context.now_ms, outposts=tuple(rows), next_cursor=page.following)


async def export(context: Context, params: OrgParams, body: NoBody) -> CeremonyFacts:
    """The draft that waits."""
    data = await context.ceremonies.draft(context.org)
    return ceremony_facts(read_ceremony(data, context.org), data)


async def import_(context: Context, params: OrgParams, body: CeremonyFile) -> Publication:
    """Publish what was signed."""
    return publication(context.org, await context.ceremonies.import_release(context.org, body.file.encode()))


async def _check(context: Context, params: OrgParams, body: CeremonyFile) -> None:
    await context.ceremonies.check_release(context.org, body.file.encode())


async def _sight(context: Context) -> Sight | None:
    return await Rollouts(context.store, context.bench.clock, context.bench.silent_ms).see(context.org)


async def _shadow(context: Context, plan: Plan) -> dict[str, Any] | None:
    text = plan.shadow
    if plan.state is PlanState.ROLLING:
        async with context.store.for_org(context.org).read() as transaction:
            text = shadow_text(await transaction.outposts.statuses(), plan.release)
    return json.loads(text) if text else None


def _progress(sight: Sight) -> ProgressView:
    def count(state: str) -> int:
        return sum(each.word is not None and _is(each, sight.plan, state) for each in sight.members)

    return ProgressView(
        members=len(sight.members),
        active=count("active"),
        refused=count("refused"),
        fleet=len(sight.members) + len(sight.others),
        next_step=sight.verdict.step.value,
        why=sight.verdict.reason,
    )


def _is(each: Participant, plan: Plan, state: str) -> bool:
    word = each.word
    return word is not None and word.state.value == state and word.number >= plan.first_set


def _word(word: Delivery | None) -> dict[str, Any]:
    if word is None:
        empty = dict.fromkeys(("state", "code", "message", "resource"), "")
        return {**empty, "set": 0, "release": 0, "downloaded_ms": 0, "activated_ms": 0}
    taken = ("code", "message", "resource", "release", "downloaded_ms", "activated_ms")
    return {**{name: getattr(word, name) for name in taken}, "state": word.state.value, "set": word.number}


OPERATIONS = (
    Operation(
        name="releases.list",
        summary="Releases on their way and those before them, newest first.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/releases",
        params=PageParams,
        body=NoBody,
        result=PlanList,
        handler=list_plans,
        schema="controlplane.releases/1",
        items="releases",
    ),
    Operation(
        name="releases.show",
        summary="A release: its state and history, how far its stage is, and how it would have decided.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/releases/{plan}",
        params=PlanParams,
        body=NoBody,
        result=PlanShown,
        handler=show,
        schema="controlplane.release/1",
    ),
    Operation(
        name="releases.outposts",
        summary="What each outpost made of the newest configuration: downloaded, active, or why it was refused.",
        verb=Verb.OUTPOSTS_READ,
        method="GET",
        path="/v1/orgs/{org}/releases/{plan}/outposts",
        params=PlanPageParams,
        body=NoBody,
        result=RolloutRows,
        handler=outposts,
        schema="controlplane.release_outposts/1",
        items="outposts",
    ),
    Operation(
        name="releases.export",
        summary="The release that waits for signatures of policy keys which are held elsewhere, as the file to sign.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/releases/draft",
        params=OrgParams,
        body=NoBody,
        result=CeremonyFacts,
        handler=export,
        schema="controlplane.ceremony/1",
    ),
    Operation(
        name="releases.import",
        summary="Publish a release that its key holders have signed, and begin its roll-out.",
        verb=Verb.POLICY_PUBLISH,
        method="POST",
        path="/v1/orgs/{org}/releases",
        effect=Effect.ACT,
        params=OrgParams,
        body=CeremonyFile,
        result=Publication,
        handler=import_,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="release",
        check=_check,
        max_body_bytes=MAX_FILE_BODY_BYTES,
    ),
)
