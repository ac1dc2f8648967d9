"""Providers of an org, in order of preference."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from controlplane.domain.errors import ConflictError
from controlplane.domain.rbac import Verb
from controlplane.web.api.context import Context
from controlplane.web.api.operation import (
    Effect,
    Model,
    NameOrId,
    NoBody,
    Operation,
    OrgParams,
    RollParams,
    shaped,
)
from controlplane.web.api.operations.orgs import FILE_NAME, KEY_SECRET, Url
from controlplane.web.api.operations.policy import Publication, publication
from outpost.core.bundle import limits
from outpost.core.bundle.documents import Provider, RoutesDocument, build_routes

Milliseconds = Annotated[int, Field(ge=1, le=limits.MAX_TIMEOUT_MS)]
Glob = Annotated[str, Field(min_length=1, max_length=limits.MAX_TEXT_CHARS)]


class RouteParams(RollParams):
    """One provider."""

    provider: NameOrId


class ProviderTerms(Model):
    """Where models are, and under which local secret of the outpost."""

    kind: Annotated[str, Field(max_length=64, json_schema_extra=shaped("[a-z][a-z0-9_]{0,31}"))] = "openai"
    base_url: Url
    key_secret: Annotated[str, Field(max_length=64, description="a file name; empty when it needs no key")] = KEY_SECRET
    models: Annotated[tuple[Glob, ...], Field(max_length=limits.MAX_MODELS)] = ("*",)
    connect_timeout_ms: Milliseconds = 5_000
    read_timeout_ms: Milliseconds = 60_000


class NamedProvider(ProviderTerms):
    """A provider with its name."""

    name: Annotated[str, Field(max_length=64, json_schema_extra=shaped(FILE_NAME))]


class Routes(Model):
    """All providers, in order of preference."""

    providers: Annotated[tuple[NamedProvider, ...], Field(max_length=limits.MAX_PROVIDERS)]


class Killed(Model):
    """What is switched off."""

    providers: Annotated[
        tuple[Annotated[str, Field(max_length=64, json_schema_extra=shaped(FILE_NAME))], ...],
        Field(max_length=limits.MAX_KILLED),
    ] = ()
    models: Annotated[tuple[Glob, ...], Field(max_length=limits.MAX_KILLED, description="whoever serves them")] = ()


class RoutesShown(Routes):
    """Providers in force."""

    org: str


async def publish(context: Context, params: RollParams, body: Routes) -> Publication:
    """Replace all providers."""
    return await _published(context, params, providers_of(body))


async def set_route(context: Context, params: RouteParams, body: ProviderTerms) -> Publication:
    """Add a provider, or replace the one of this name."""
    new = _provider(params.provider, body)
    present = await context.publisher.providers(context.org)
    kept = [new if each.name == new.name else each for each in present]
    changed = kept if new in kept else [*kept, new]
    return await _published(context, params, changed)


async def _published(context: Context, params: RollParams, providers: Sequence[Provider]) -> Publication:
    wish = context.wish(at_once=params.at_once, supersede=params.supersede)
    return publication(context.org, await context.publisher.publish_routes(context.org, providers, wish))


async def show(context: Context, params: OrgParams, body: NoBody) -> RoutesShown:
    """In order of preference."""
    providers = await context.publisher.providers(context.org)
    return RoutesShown(org=context.org, providers=tuple(NamedProvider(**asdict(each)) for each in providers))


async def kill(context: Context, params: OrgParams, body: Killed) -> Publication:
    """Off until other routes are signed, or the same ones again."""
    return publication(context.org, await context.publisher.kill(context.org, body.providers, body.models))


async def _check_all(context: Context, params: RollParams, body: Routes) -> None:
    build_routes(RoutesDocument(context.org, providers_of(body)))


async def _check_one(context: Context, params: RouteParams, body: ProviderTerms) -> None:
    build_routes(RoutesDocument(context.org, (_provider(params.provider, body),)))


def providers_of(body: Routes) -> tuple[Provider, ...]:
    """In order of preference."""
    return tuple(_provider(each.name, each) for each in body.providers)


def _provider(name: str, terms: ProviderTerms) -> Provider:
    return Provider(
        name=name,
        kind=terms.kind,
        base_url=terms.base_url,
        key_secret=terms.key_secret,
        models=terms.models,
        connect_timeout_ms=terms.connect_timeout_ms,
        read_timeout_ms=terms.read_timeout_ms,
    )


OPERATIONS = (
    Operation(
        name="routes.publish",
        summary="Sign and roll out a whole list of providers.",
        verb=Verb.ROUTES_PUBLISH,
        method="PUT",
        path="/v1/orgs/{org}/routes",
        effect=Effect.ACT,
        params=RollParams,
        body=Routes,
        result=Publication,
        handler=publish,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="routes",
        check=_check_all,
        guards="routes.show",
    ),
    Operation(
        name="routes.set",
        summary="Add a provider, or replace the one of this name.",
        verb=Verb.ROUTES_PUBLISH,
        method="PUT",
        path="/v1/orgs/{org}/routes/{provider}",
        effect=Effect.ACT,
        params=RouteParams,
        body=ProviderTerms,
        result=Publication,
        handler=set_route,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="route/{provider}",
        check=_check_one,
        guards="routes.show",
    ),
    Operation(
        name="routes.kill",
        summary="Switch providers or models off at once: one online signature, in force within a second.",
        verb=Verb.ROUTES_KILL,
        method="POST",
        path="/v1/orgs/{org}/routes/kill",
        effect=Effect.ACT,
        params=OrgParams,
        body=Killed,
        result=Publication,
        handler=kill,
        schema="controlplane.publication/1",
        families=(ConflictError,),
        target="routes/kill",
    ),
    Operation(
        name="routes.show",
        summary="Show the providers in force, in order of preference.",
        verb=Verb.ROUTES_READ,
        method="GET",
        path="/v1/orgs/{org}/routes",
        params=OrgParams,
        body=NoBody,
        result=RoutesShown,
        handler=show,
        schema="controlplane.routes/1",
        versioned=True,
    ),
)
