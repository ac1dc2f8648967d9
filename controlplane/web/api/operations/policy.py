"""The policy of an org: linted, published, shown; and the terms of its releases."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Verb
from controlplane.services.configuration import Published, acceptable_policy
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Effect, Model, NoBody, Operation, OrgParams, RollParams, shaped
from outpost.core.bundle import limits
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.caps import CapsDocument, parse_caps
from outpost.core.bundle.release_document import SelfTest
from outpost.core.policy.source import MAX_DOCUMENT_BYTES


class PolicyText(Model):
    """A policy document as somebody wrote it."""

    document: Annotated[str, Field(max_length=MAX_DOCUMENT_BYTES, description="YAML or JSON, docs/policy.md")]


class Finding(Model):
    """A remark of the linter."""

    level: str
    code: str
    pack: str
    rule: str
    message: str
    next_step: str


class Lint(Model):
    """What the linter says."""

    org: str
    packs: int
    findings: tuple[Finding, ...]


class Publication(Model):
    """A signed configuration."""

    org: str
    revision: str
    changed: bool
    set: int
    waiting: Annotated[bool, Field(description="kept as a draft until keys that are held elsewhere sign it")] = False
    plan: Annotated[str, Field(description="by which the release rolls out; empty when nothing does")] = ""
    stage: Annotated[int, Field(description="percent of the outposts that it begins with")] = 0
    findings: tuple[Finding, ...] = ()


class PolicyShown(Model):
    """The policy in force."""

    org: str
    policy: dict[str, Any]


class SelfTestPrompt(Model):
    """A text in which every outpost must find something of a type, or it refuses the release."""

    text: Annotated[str, Field(min_length=1, max_length=limits.MAX_SELF_TEST_CHARS)]
    entity_type: Annotated[str, Field(max_length=64, json_schema_extra=shaped("[a-z][a-z0-9_]{0,63}"))]


class ReleaseTerms(Model):
    """Other terms of the release; what is null or left out stays as it is."""

    seal_after_seconds: (
        Annotated[int, Field(ge=1, le=limits.MAX_SEAL_SECONDS, description="age at which outposts seal")]
        | Literal["never"]
        | None
    ) = None
    on_revoked: Literal["enforce", "seal"] | None = None
    max_body_bytes: Annotated[int, Field(ge=1, le=limits.MAX_BODY_BYTES)] | None = None
    self_tests: (
        Annotated[
            tuple[SelfTestPrompt, ...],
            Field(max_length=limits.MAX_SELF_TESTS, description="run by every outpost before activation, and on"),
        ]
        | None
    ) = None
    caps: Annotated[dict[str, Any] | None, Field(description="document of schema outpost.caps/1")] = None


def publication(org: str, published: Published) -> Publication:
    """What a publication did."""
    return Publication(
        org=org,
        revision=published.revision,
        changed=published.changed,
        set=published.number,
        waiting=published.waiting,
        plan=published.plan,
        stage=published.stage,
        findings=tuple(Finding(**asdict(each)) for each in published.findings),
    )


async def lint(context: Context, params: OrgParams, body: PolicyText) -> Lint:
    """Read, compile and lint; nothing is kept."""
    document, findings = await context.bench.judge.judge(context.principal.id, body.document.encode())
    return Lint(
        org=document.org, packs=len(document.packs), findings=tuple(Finding(**asdict(each)) for each in findings)
    )


async def publish(context: Context, params: RollParams, body: PolicyText) -> Publication:
    """Lint, sign, roll out."""
    text, wish = body.document.encode(), context.wish(at_once=params.at_once, supersede=params.supersede)
    return publication(context.org, await context.publisher.publish_policy(context.org, text, wish))


async def ponder_policy(context: Context, text: str) -> None:
    """Judge a policy beside the event loop and before any transaction. Raises BundleError, PaceError."""
    async with context.store.for_org(context.org).read():
        pass  # an unknown org is the first mistake to be told
    await context.bench.judge.judge(context.principal.id, text.encode())


async def _ponder(context: Context, params: RollParams, body: PolicyText) -> None:
    await ponder_policy(context, body.document)


async def _check(context: Context, params: RollParams, body: PolicyText) -> None:
    acceptable_policy(context.org, body.document.encode())


async def show(context: Context, params: OrgParams, body: NoBody) -> PolicyShown:
    """As signed."""
    return PolicyShown(org=context.org, policy=json.loads(await context.publisher.policy(context.org)))


async def terms(context: Context, params: RollParams, body: ReleaseTerms) -> Publication:
    """A new release under other terms."""
    wish = context.wish(at_once=params.at_once, supersede=params.supersede)
    changed, caps = changed_terms(body), caps_of(context, body)
    return publication(context.org, await context.publisher.publish_terms(context.org, changed, caps, wish))


async def _check_terms(context: Context, params: RollParams, body: ReleaseTerms) -> None:
    caps_of(context, body)


def changed_terms(body: ReleaseTerms) -> dict[str, object]:
    """Fields of a release that a body changes."""
    changed: dict[str, object] = {
        name: value for name in ("on_revoked", "max_body_bytes") if (value := getattr(body, name)) is not None
    }
    if body.seal_after_seconds is not None:
        changed["seal_after_seconds"] = None if body.seal_after_seconds == "never" else body.seal_after_seconds
    if body.self_tests is not None:
        changed["self_tests"] = tuple(SelfTest(each.text, each.entity_type) for each in body.self_tests)
    return changed


def caps_of(context: Context, body: ReleaseTerms) -> CapsDocument | None:
    """Caps in a body, read as an outpost reads them. Raises BundleError."""
    return None if body.caps is None else parse_caps(encode(body.caps), context.org, "caps")


OPERATIONS = (
    Operation(
        name="policy.lint",
        summary="Read, compile and lint a policy document; nothing is kept.",
        verb=Verb.POLICY_LINT,
        method="POST",
        path="/v1/orgs/{org}/policy/lint",
        params=OrgParams,
        body=PolicyText,
        result=Lint,
        handler=lint,
        schema="controlplane.lint/1",
    ),
    Operation(
        name="policy.publish",
        summary="Lint, sign and roll out a policy; If-Match with the ETag of the policy in force guards another's.",
        verb=Verb.POLICY_PUBLISH,
        method="PUT",
        path="/v1/orgs/{org}/policy",
        effect=Effect.ACT,
        params=RollParams,
        body=PolicyText,
        result=Publication,
        handler=publish,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="policy",
        ponder=_ponder,
        check=_check,
        guards="policy.show",
    ),
    Operation(
        name="policy.terms",
        summary="Sign and roll out other terms of the release, or other caps on what online keys may hand out.",
        verb=Verb.POLICY_PUBLISH,
        method="PATCH",
        path="/v1/orgs/{org}/policy/terms",
        effect=Effect.ACT,
        params=RollParams,
        body=ReleaseTerms,
        result=Publication,
        handler=terms,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="policy/terms",
        check=_check_terms,
    ),
    Operation(
        name="policy.show",
        summary="Show the policy in force, as it was signed.",
        verb=Verb.POLICY_READ,
        method="GET",
        path="/v1/orgs/{org}/policy",
        params=OrgParams,
        body=NoBody,
        result=PolicyShown,
        handler=show,
        schema="controlplane.policy/1",
        families=(ConflictError,),
        versioned=True,
    ),
)
