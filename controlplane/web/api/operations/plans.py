"""What is done to releases: drafted, simulated, published, halted, withdrawn, repeated; and the terms of roll-outs."""

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from controlplane.domain import plans, rollout_terms
from controlplane.domain.errors import ConflictError, InputError
from controlplane.domain.plans import PlanKind
from controlplane.domain.rbac import Verb
from controlplane.domain.releases import Draft
from controlplane.domain.rollout_terms import RolloutTerms, overridden
from controlplane.services.configuration import acceptable_policy, routes_draft, terms_draft
from controlplane.services.simulation import (
    MAX_DECISIONS,
    MAX_SAMPLE_CHARS,
    MAX_SAMPLES,
    Sample,
    Simulation,
)
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, OneLine, Operation, OrgParams, RollParams
from controlplane.web.api.operations.policy import (
    Finding,
    Publication,
    ReleaseTerms,
    caps_of,
    changed_terms,
    ponder_policy,
    publication,
)
from controlplane.web.api.operations.releases import PlanParams, PlanView, RolloutTermsView, plan_view
from controlplane.web.api.operations.routes import Routes, providers_of
from outpost.core.bundle import limits, names
from outpost.core.decision import Direction, Features
from outpost.core.policy.document import canonical_bytes
from outpost.core.policy.lint import LintFinding
from outpost.core.policy.source import MAX_DOCUMENT_BYTES
from outpost.core.shadow import plain

MAX_TITLE_CHARS = 120
MAX_REASON_CHARS = 200
Version = Annotated[int, Field(ge=1, le=limits.MAX_VERSION)]


class DraftEmptyError(InputError):
    """A draft that changes nothing."""

    code = "release.empty"


class RolloutChoice(Model):
    """How careful a roll-out shall be; what is null or left out is as it is."""

    percents: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=100)], ...],
            Field(min_length=1, max_length=rollout_terms.MAX_STAGES, description="rising, the last 100"),
        ]
        | None
    ) = None
    soak_seconds: Annotated[int, Field(ge=1, le=rollout_terms.MAX_SOAK_SECONDS)] | None = None
    answer_seconds: Annotated[int, Field(ge=1, le=rollout_terms.MAX_ANSWER_SECONDS)] | None = None
    failed_permille: Annotated[int, Field(ge=0, le=1000)] | None = None
    least_requests: Annotated[int, Field(ge=1, le=rollout_terms.MAX_REQUESTS)] | None = None

    def changes(self) -> dict[str, object]:
        """What was given."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class NewDraft(Model):
    """What a release shall change: its policy, its terms, its routes."""

    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS), OneLine] = ""
    policy: Annotated[str, Field(max_length=MAX_DOCUMENT_BYTES, description="YAML or JSON, docs/policy.md")] = ""
    terms: ReleaseTerms | None = None
    routes: Routes | None = None
    rollout: RolloutChoice | None = None


class PlanParamsToRoll(RollParams, PlanParams):
    """One plan, and how it is to roll out."""


class Drafted(PlanView):
    """A plan, and what the linter remarked."""

    findings: tuple[Finding, ...] = ()


class Repeat(Model):
    """A release whose content shall be in force again."""

    release: Version
    title: Annotated[str, Field(max_length=MAX_TITLE_CHARS), OneLine] = ""


class Cause(Model):
    """Why."""

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS), OneLine] = ""


class SamplePrompt(Model):
    """A prompt and who sends it."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_SAMPLE_CHARS)]
    model: Annotated[str, Field(max_length=limits.MAX_TEXT_CHARS)] = ""
    provider: Annotated[str, Field(max_length=64)] = ""
    user: Annotated[str, Field(max_length=limits.MAX_TEXT_CHARS)] = ""
    groups: Annotated[
        tuple[Annotated[str, Field(max_length=limits.MAX_TEXT_CHARS)], ...], Field(max_length=limits.MAX_GROUPS)
    ] = ()
    agent: Annotated[str, Field(max_length=limits.MAX_TEXT_CHARS)] = ""
    channel: Annotated[str, Field(max_length=32)] = "api"
    data_class: Annotated[str, Field(max_length=32)] = "internal"


class Samples(Model):
    """What a release is tried on."""

    samples: Annotated[tuple[SamplePrompt, ...], Field(max_length=MAX_SAMPLES)] = ()
    decisions: Annotated[
        int, Field(ge=0, le=MAX_DECISIONS, description="newest recorded decisions, over all outposts")
    ] = 1_000


class SampleResult(Model):
    """What two releases say to a prompt."""

    before: str
    after: str
    rule: str
    code: str
    redact: tuple[str, ...]
    found: dict[str, int]


class SimulationResult(Model):
    """What a release would do."""

    org: str
    plan: str
    samples: tuple[SampleResult, ...]
    decisions: dict[str, Any]
    unknown: Annotated[int, Field(description="decisions of releases that are not kept any more")]


async def draft(context: Context, params: OrgParams, body: NewDraft) -> Drafted:
    """Lint, and keep as a plan; nothing is signed."""
    content = await context.publisher.content(context.org)
    made, kind = Draft(), PlanKind.TERMS
    findings: tuple[LintFinding, ...] = ()
    if body.terms is not None:
        made = terms_draft(changed_terms(body.terms), caps_of(context, body.terms))
    if body.routes is not None:
        routes = routes_draft(content, providers_of(body.routes))
        made, kind = Draft({**made.resources, **routes.resources}, made.terms), PlanKind.ROUTES
    if body.policy:
        document, findings = acceptable_policy(context.org, body.policy.encode())
        packs = {names.PACKS: canonical_bytes(document)}
        made, kind = Draft({**made.resources, **packs}, made.terms), PlanKind.POLICY
    if not made.resources and not made.terms:
        raise DraftEmptyError("the draft changes nothing", field="policy", next_step="give a policy, terms or routes")
    wish = context.wish(body.title, terms=body.rollout.changes() if body.rollout is not None else {})
    plan = await context.planner.draft(context.org, kind, made, wish)
    told = tuple(Finding(**asdict(each)) for each in findings)
    return Drafted(**plan_view(plan, context.org), findings=told)


async def _ponder(context: Context, params: OrgParams, body: NewDraft) -> None:
    if body.policy:
        await ponder_policy(context, body.policy)


async def simulate(context: Context, params: PlanParams, body: Samples) -> SimulationResult:
    """Judge sample prompts and recorded decisions; nothing is kept."""
    samples = [Sample(each.prompt, _facts(each)) for each in body.samples]
    number = plans.number_of(params.plan)
    found = await Simulation(context.store).run(context.org, number, samples, body.decisions)
    return SimulationResult(
        org=context.org,
        plan=params.plan,
        samples=tuple(
            SampleResult(
                before=each.before,
                after=each.after,
                rule=each.rule,
                code=each.code,
                redact=each.redact,
                found=dict(each.found),
            )
            for each in found.samples
        ),
        decisions=plain(found.decisions),
        unknown=found.unknown,
    )


async def publish(context: Context, params: PlanParamsToRoll, body: NoBody) -> Publication:
    """Sign, and begin the first stage."""
    wish = context.wish(at_once=params.at_once, supersede=params.supersede)
    published = await context.planner.publish(context.org, plans.number_of(params.plan), wish)
    return publication(context.org, published)


async def _check_publish(context: Context, params: PlanParamsToRoll, body: NoBody) -> None:
    wish = context.wish(at_once=params.at_once, supersede=params.supersede)
    await context.planner.check(context.org, plans.number_of(params.plan), wish)


async def rollback(context: Context, params: RollParams, body: Repeat) -> Publication:
    """The content of an older release under a new, higher version."""
    wish = context.wish(body.title, at_once=params.at_once, supersede=params.supersede)
    plan = await context.planner.rollback(context.org, body.release, wish)
    return publication(context.org, await context.planner.publish(context.org, plan.number, wish))


async def _check_rollback(context: Context, params: RollParams, body: Repeat) -> None:
    await context.planner.check_rollback(context.org, body.release)


async def halt(context: Context, params: PlanParams, body: Cause) -> PlanView:
    """The stable release everywhere, at once."""
    number = plans.number_of(params.plan)
    plan = await context.planner.halt(context.org, number, body.reason, context.principal.name)
    return PlanView(**plan_view(plan, context.org))


async def withdraw(context: Context, params: PlanParams, body: Cause) -> PlanView:
    """It will not roll."""
    number = plans.number_of(params.plan)
    plan = await context.planner.withdraw(context.org, number, body.reason, context.principal.name)
    return PlanView(**plan_view(plan, context.org))


async def rules(context: Context, params: OrgParams, body: NoBody) -> RolloutTermsView:
    """Of the org, unless a draft says otherwise."""
    async with context.store.for_org(context.org).read() as transaction:
        found = await transaction.plans.terms()
    return RolloutTermsView.model_validate(rollout_terms.plain(found))


async def set_rules(context: Context, params: OrgParams, body: RolloutChoice) -> RolloutTermsView:
    """For releases from now on."""
    changed = overridden(await context.open.plans.terms(), body.changes())
    await context.open.plans.put_terms(changed)
    return RolloutTermsView.model_validate(rollout_terms.plain(changed))


async def _check_rules(context: Context, params: OrgParams, body: RolloutChoice) -> None:
    overridden(RolloutTerms(), body.changes())


def _facts(sample: SamplePrompt) -> Features:
    return Features(
        direction=Direction.INPUT,
        user=sample.user,
        user_groups=sample.groups,
        agent=sample.agent,
        provider=sample.provider,
        model=sample.model,
        channel=sample.channel,
        data_class=sample.data_class,
    )


OPERATIONS = (
    Operation(
        name="releases.draft",
        summary="Lint a policy, terms or routes, and keep them as a release to come; nothing is signed.",
        verb=Verb.RELEASES_DRAFT,
        method="POST",
        path="/v1/orgs/{org}/releases/drafts",
        effect=Effect.ACT,
        params=OrgParams,
        body=NewDraft,
        result=Drafted,
        handler=draft,
        ponder=_ponder,
        schema="controlplane.release/1",
        status=201,
        families=(ConflictError,),
        target="release/draft",
    ),
    Operation(
        name="releases.simulate",
        summary="What a release would do to sample prompts and to decisions that were made lately; nothing is kept.",
        verb=Verb.RELEASES_SIMULATE,
        method="POST",
        path="/v1/orgs/{org}/releases/{plan}/simulate",
        params=PlanParams,
        body=Samples,
        result=SimulationResult,
        handler=simulate,
        schema="controlplane.simulation/1",
        families=(ConflictError,),
    ),
    Operation(
        name="releases.publish",
        summary="Sign a release that waits, and begin the first stage of its roll-out.",
        verb=Verb.POLICY_PUBLISH,
        method="POST",
        path="/v1/orgs/{org}/releases/{plan}/publish",
        effect=Effect.ACT,
        params=PlanParamsToRoll,
        body=NoBody,
        result=Publication,
        handler=publish,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="{plan}",
        check=_check_publish,
    ),
    Operation(
        name="releases.rollback",
        summary="Sign what an older release said under a new, higher version, and begin its roll-out.",
        verb=Verb.POLICY_PUBLISH,
        method="POST",
        path="/v1/orgs/{org}/releases/rollback",
        effect=Effect.ACT,
        params=RollParams,
        body=Repeat,
        result=Publication,
        handler=rollback,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="release/{release}",
        check=_check_rollback,
    ),
    Operation(
        name="releases.halt",
        summary="End a roll-out: the stable release runs everywhere again, by one online signature.",
        verb=Verb.RELEASES_HALT,
        method="POST",
        path="/v1/orgs/{org}/releases/{plan}/halt",
        effect=Effect.ACT,
        params=PlanParams,
        body=Cause,
        result=PlanView,
        handler=halt,
        schema="controlplane.release/1",
        families=(ConflictError,),
        target="{plan}",
    ),
    Operation(
        name="releases.withdraw",
        summary="End a release that does not roll yet.",
        verb=Verb.RELEASES_DRAFT,
        method="POST",
        path="/v1/orgs/{org}/releases/{plan}/withdraw",
        effect=Effect.ACT,
        params=PlanParams,
        body=Cause,
        result=PlanView,
        handler=withdraw,
        schema="controlplane.release/1",
        families=(ConflictError,),
        target="{plan}",
    ),
    Operation(
        name="releases.rules",
        summary="How careful the roll-outs of an org are.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/rollout",
        params=OrgParams,
        body=NoBody,
        result=RolloutTermsView,
        handler=rules,
        schema="controlplane.rollout/1",
    ),
    Operation(
        name="releases.set_rules",
        summary="Set how careful the roll-outs of an org are, for releases from now on.",
        verb=Verb.RELEASES_RULE,
        method="PATCH",
        path="/v1/orgs/{org}/rollout",
        effect=Effect.ACT,
        params=OrgParams,
        body=RolloutChoice,
        result=RolloutTermsView,
        handler=set_rules,
        schema="controlplane.rollout/1",
        target="rollout",
        check=_check_rules,
    ),
)
