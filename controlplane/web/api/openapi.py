"""OpenAPI 3.1 of all operations; docs/openapi.json is what ``python -m controlplane.web.api.openapi`` prints.

Every status that an operation can answer is listed; the dispatcher's tests fail on one that is not.
"""

import json
import sys
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from controlplane.domain.rbac import TABLE, TWO_PERSONS, Role
from controlplane.web.api.operation import AnyOperation, Effect, Model, Scope
from controlplane.web.api.registry import every_operation
from controlplane.web.api.views import APPROVAL_SCHEMA, ApprovalView
from controlplane.web.problem import MEDIA_TYPE, status_of

ROOT: Final = "#/components/schemas/"
TITLE: Final = "Outpost control plane"
ALWAYS: Final = frozenset({400, 405, 408, 413, 429, 431, 500, 503})
"""What the HTTP layer may answer whatever the operation."""


class ProblemDetails(Model):
    """An error (RFC 9457), with the members of every error here: docs/errors.md lists the codes."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    fault: str
    fatal: bool
    field: str
    next: str


class OAuthProblem(Model):
    """An error of the token endpoint (RFC 6749)."""

    error: str
    error_description: str


def statuses_of(operation: AnyOperation) -> frozenset[int]:
    """Every status that an operation can answer."""
    found = {operation.status, *ALWAYS}
    if operation.form:
        return frozenset(found | {401, 415})
    found |= {int(status_of(family)) for family in operation.families}
    if operation.verb is not None:
        found |= {401, 403}
    found |= {422}  # a parameter that the operation does not have is refused, too
    if operation.path_fields:
        found |= {404}
    if operation.takes_body:
        found |= {415}
    if operation.takes_key:
        found |= {409}
    if operation.guards:
        found |= {412} | ({428} if operation.must_match else set())
    if operation.escalates is not None or operation.verb in TWO_PERSONS:
        found |= {202, 409}
    return frozenset(found)


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    operations = every_operation()
    refs, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": "1",
            "description": "Every act is recorded. docs/api.md explains authentication, errors, pages, idempotency "
            "and the two-person rule.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "responses": _refusals(operations, refs),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "client": {"type": "http", "scheme": "basic"},
            },
        },
    }


def render() -> str:
    """The committed text."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


Refs = dict[tuple[type[BaseModel], str], str]


def _schemas(operations: Iterable[AnyOperation]) -> tuple[Refs, dict[str, Any]]:
    """Schemas of all results and bodies, and the reference of each."""
    results: list[type[BaseModel]] = [ProblemDetails, OAuthProblem, ApprovalView, *(each.result for each in operations)]
    bodies: list[type[BaseModel]] = [each.body for each in operations if each.takes_body]
    wanted: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((model, "serialization") for model in dict.fromkeys(results)),
        *((model, "validation") for model in dict.fromkeys(bodies)),
    ]
    found, definitions = models_json_schema(wanted, ref_template=ROOT + "{model}")
    refs: Refs = {(model, mode): str(found[model, mode]["$ref"]) for model, mode in wanted}
    schemas: dict[str, Any] = definitions["$defs"]
    for model, mode in wanted:
        if mode == "serialization":  # answers may grow, and carry the member that names their schema
            schemas[refs[model, mode].removeprefix(ROOT)].pop("additionalProperties", None)
    return refs, schemas


def _described(operation: AnyOperation, refs: Refs) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.name.partition(".")[0]],
        "parameters": [*_parameters(operation), *_headers(operation)],
        "responses": {str(status): _response(operation, status, refs) for status in sorted(statuses_of(operation))},
        "security": _security(operation),
    }
    if operation.verb is not None:
        described["x-verb"] = operation.verb.value
        described["x-roles"] = [role.value for role in Role if role in TABLE[operation.verb]]
        described["x-recorded"] = operation.effect is not Effect.READ
    if operation.takes_body:
        media = "application/x-www-form-urlencoded" if operation.form else "application/json"
        schema = {"$ref": refs[operation.body, "validation"]}
        described["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}
    return described


def _security(operation: AnyOperation) -> list[dict[str, list[str]]]:
    if operation.form:
        return [{"client": []}, {}]
    return [] if operation.scope is Scope.PUBLIC else [{"token": []}]


def _parameters(operation: AnyOperation) -> list[dict[str, Any]]:
    properties = operation.params.model_json_schema(mode="validation").get("properties", {})
    return [
        {
            "name": name,
            "in": "path" if name in operation.path_fields else "query",
            "required": name in operation.path_fields,
            "schema": {key: value for key, value in schema.items() if key not in ("title", "description")},
            "description": schema.get("description", name),
        }
        for name, schema in properties.items()
    ]


def _headers(operation: AnyOperation) -> list[dict[str, Any]]:
    found = []
    if operation.takes_key:
        text = "a repeated request with this key within 24 hours gets the first answer, and nothing is done twice"
        schema = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"}
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": schema} | _about(text))
    if operation.guards:
        text = "ETag of what is replaced; another one is refused with 412"
        schema = {"type": "string", "maxLength": 256}
        found.append(
            {"name": "If-Match", "in": "header", "required": operation.must_match, "schema": schema} | _about(text)
        )
    return found


def _about(text: str) -> dict[str, str]:
    return {"description": text}


def _response(operation: AnyOperation, status: int, refs: Refs) -> dict[str, Any]:
    if status == operation.status:
        shown = _with_schema({"$ref": refs[operation.result, "serialization"]}, operation.schema)
        response: dict[str, Any] = {
            "description": operation.summary,
            "content": {"application/json": {"schema": shown}},
        }
        if operation.versioned:
            response["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "for If-Match"}}
        return response
    if status == HTTPStatus.ACCEPTED:
        waiting = _with_schema({"$ref": refs[ApprovalView, "serialization"]}, APPROVAL_SCHEMA)
        text = "It waits for a second person; nothing has happened yet."
        return {"description": text, "content": {"application/json": {"schema": waiting}}}
    kind = "OAuth" if operation.form and status in (400, 401) else "Problem"
    return {"$ref": f"#/components/responses/{kind}{status}"}


def _refusals(operations: Iterable[AnyOperation], refs: Refs) -> dict[str, Any]:
    """Answers that are no success, shared by all operations."""
    statuses = {status for each in operations for status in statuses_of(each) if status >= HTTPStatus.BAD_REQUEST}
    found = {f"Problem{status}": _refusal(status, ProblemDetails, MEDIA_TYPE, refs) for status in sorted(statuses)}
    return found | {f"OAuth{status}": _refusal(status, OAuthProblem, "application/json", refs) for status in (400, 401)}


def _refusal(status: int, model: type[BaseModel], media: str, refs: Refs) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {media: {"schema": {"$ref": refs[model, "serialization"]}}},
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        described["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return described


def _with_schema(shown: dict[str, Any], name: str) -> dict[str, Any]:
    """The result's schema with the member that names it."""
    if not name:
        return shown
    naming = {"type": "object", "required": ["schema"], "properties": {"schema": {"const": name}}}
    return {"allOf": [naming, shown]}


def main() -> None:
    """Print the document."""
    sys.stdout.write(render())


if __name__ == "__main__":
    main()
