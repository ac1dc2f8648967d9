"""The registry and what is generated from it."""

import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from controlplane.domain.rbac import TABLE, TWO_PERSONS, Role
from controlplane.web.api.openapi import document, render, statuses_of
from controlplane.web.api.operation import AnyOperation, Effect, Scope
from controlplane.web.api.registry import every_operation, match, named
from controlplane.web.problem import EndpointUnknownError, MethodError

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"
OPERATIONS = every_operation()


def test_generating_changes_nothing() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == render(), (
        "python -m controlplane.web.api.openapi > docs/openapi.json"
    )


def test_every_operation_is_described_with_its_verb_its_roles_and_its_statuses() -> None:
    paths = document()["paths"]
    for each in OPERATIONS:
        described = paths[each.path][each.method.lower()]
        assert {int(status) for status in described["responses"]} == statuses_of(each)
        if each.verb is not None:
            assert described["x-verb"] == each.verb.value
            assert described["x-roles"] == [role.value for role in Role if role in TABLE[each.verb]]
        assert described["summary"].endswith(".")
    assert sum(len(methods) for methods in paths.values()) == len(OPERATIONS)


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(references, node.values())) if node else own
    return set().union(*map(references, node)) if isinstance(node, list) and node else set()


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    whole = document()
    for reference in references(whole):
        node: Any = whole
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    used = {each.rpartition("/")[2] for each in references(whole)}
    assert set(whole["components"]["schemas"]) <= used
    assert set(whole["components"]["responses"]) <= used


def texts(schema: Any, path: str = "") -> dict[str, Any]:
    """Strings and lists in the schema of a body that have no bound."""
    found: dict[str, Any] = {}
    if isinstance(schema, dict):
        kinds = {schema.get("type")} if isinstance(schema.get("type"), str) else set()
        if "string" in kinds and not {"maxLength", "pattern", "enum", "const"} & set(schema):
            found[path] = schema
        if "array" in kinds and "maxItems" not in schema:
            found[path] = schema
        if "integer" in kinds and not {"maximum", "enum"} <= set(schema) | {"enum"}:
            found[path] = schema
        for name, child in schema.items():
            found |= texts(child, f"{path}.{name}")
    if isinstance(schema, list):
        for at, child in enumerate(schema):
            found |= texts(child, f"{path}.{at}")
    return found


def test_everything_that_is_sent_has_a_bound() -> None:
    unbounded: dict[str, Any] = {}
    for each in OPERATIONS:
        for model in (each.params, each.body):
            unbounded |= texts(model.model_json_schema(mode="validation"), f"{each.name} {model.__name__}")
    assert unbounded == {}


def test_a_model_refuses_what_it_does_not_know() -> None:
    for each in OPERATIONS:
        assert {model.model_config.get("extra") for model in (each.params, each.body)} == {"forbid"}, each.name
        assert each.body.model_config.get("hide_input_in_errors"), each.name


def test_what_waits_for_a_second_person_holds_no_secret() -> None:
    for each in OPERATIONS:
        if each.verb in TWO_PERSONS or each.escalates is not None:
            assert not any(SecretStr in (field.annotation,) for field in each.body.model_fields.values()), each.name


def test_only_acts_change_and_only_gets_read() -> None:
    for each in OPERATIONS:
        if each.method == "GET":
            assert each.effect is Effect.READ, each.name
        elif each.verb is not None and each.effect is Effect.READ:
            assert each.name in ("policy.lint", "releases.simulate")
        if each.effect in (Effect.ACT, Effect.SPANNING):
            assert each.target, each.name


def test_every_schema_is_named_once_for_each_shape() -> None:
    for each in OPERATIONS:
        if each.scope is not Scope.PUBLIC:
            assert each.schema.startswith("controlplane."), each.name
            assert each.schema.endswith("/1"), each.name


ROUTES: dict[str, tuple[str, str, str]] = {
    "a literal goes before a parameter": ("GET", "/v1/orgs/acme/acts/export", "acts.export"),
    "a parameter": ("GET", "/v1/orgs/acme/acts/12", "acts.show"),
    "an encoded parameter": ("GET", "/v1/orgs/acme/users/a%2Fb", "users.show"),
    "HEAD is GET": ("HEAD", "/v1/orgs", "orgs.list"),
    "two methods of one path": ("POST", "/v1/orgs", "orgs.create"),
}


@pytest.mark.parametrize("case", ROUTES)
def test_a_request_finds_its_operation(case: str) -> None:
    method, path, name = ROUTES[case]
    assert match(method, path).operation.name == name


def test_a_parameter_is_decoded_once() -> None:
    assert match("GET", "/v1/orgs/acme/users/a%252Fb").values["user"] == "a%2Fb"


UNKNOWN = ["/", "", "/v1", "/v1/orgs/", "//v1/orgs", "/v1/orgs/acme/", "/v1/orgs/acme/acts/1/2", "/V1/orgs", "v1/orgs"]


@pytest.mark.parametrize("path", UNKNOWN)
def test_whatever_is_no_path_is_unknown(path: str) -> None:
    with pytest.raises(EndpointUnknownError):
        match("GET", path)


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "TRACE", "OPTIONS", "get", "X"])
def test_another_method_is_told_those_that_there_are(method: str) -> None:
    with pytest.raises(MethodError) as error:
        match(method, "/v1/orgs")
    assert "GET, POST" in error.value.next_step


def test_statuses_have_phrases() -> None:
    assert {HTTPStatus(status).phrase for each in OPERATIONS for status in statuses_of(each)}


def test_operations_are_found_by_name() -> None:
    found: AnyOperation = named("outposts.revoke")
    assert (found.method, found.path) == ("POST", "/v1/orgs/{org}/outposts/{outpost}/revoke")
    with pytest.raises(KeyError):
        named("outposts.fly")


def test_the_committed_file_is_json() -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8"))["openapi"] == "3.1.0"
