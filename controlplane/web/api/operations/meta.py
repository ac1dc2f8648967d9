"""What the API says about itself."""

from typing import Any

from pydantic import RootModel

from controlplane.domain.orgs import OPERATOR
from controlplane.web.api.context import Context
from controlplane.web.api.operation import Model, NoBody, NoParams, Operation, Scope


class Health(Model):
    """Alive, and the store answers."""

    status: str


class OpenAPIDocument(RootModel[dict[str, Any]]):
    """OpenAPI 3.1."""


async def health(context: Context, params: NoParams, body: NoBody) -> Health:
    """The store is asked, so that a replica without one is taken out of service."""
    async with context.store.for_org(OPERATOR).read():
        return Health(status="ok")


async def openapi(context: Context, params: NoParams, body: NoBody) -> OpenAPIDocument:
    """Generated from the operations; docs/openapi.json is the same."""
    return OpenAPIDocument(context.bench.describe())


OPERATIONS = (
    Operation(
        name="meta.health",
        summary="Whether the API lives and its store answers.",
        verb=None,
        method="GET",
        path="/healthz",
        scope=Scope.PUBLIC,
        params=NoParams,
        body=NoBody,
        result=Health,
        handler=health,
    ),
    Operation(
        name="meta.openapi",
        summary="This API as OpenAPI 3.1.",
        verb=None,
        method="GET",
        path="/openapi.json",
        scope=Scope.PUBLIC,
        params=NoParams,
        body=NoBody,
        result=OpenAPIDocument,
        handler=openapi,
    ),
)
