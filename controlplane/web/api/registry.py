"""All operations, found in the files of ``operations``; and which one a request is for."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

from controlplane.domain.rbac import TWO_PERSONS
from controlplane.web.api import operations
from controlplane.web.api.operation import PLACEHOLDER, AnyOperation, Effect, Scope
from controlplane.web.problem import EndpointUnknownError, MethodError


class RegistryError(RuntimeError):
    """Two operations contradict each other, or one itself: a fault of ours."""


@dataclass(frozen=True, slots=True)
class Match:
    """The operation that a request is for.

    Attributes:
        values: decoded segments of the path by parameter.
    """

    operation: AnyOperation
    values: Mapping[str, str]


@cache
def every_operation() -> tuple[AnyOperation, ...]:
    """All operations, by name. Raises RegistryError."""
    found: list[AnyOperation] = []
    for module in pkgutil.iter_modules(operations.__path__, f"{operations.__name__}."):
        found += importlib.import_module(module.name).OPERATIONS
    names = [each.name for each in found]
    routes = [(each.method, PLACEHOLDER.sub("{}", each.path)) for each in found]
    if len(set(names)) != len(names) or len(set(routes)) != len(routes):
        raise RegistryError("two operations share a name or a route")
    for each in found:
        _require_sound(each, names)
    return tuple(sorted(found, key=lambda each: each.name))


def named(name: str) -> AnyOperation:
    """An operation by name; KeyError when there is none."""
    return _by_name()[name]


def match(method: str, path: str) -> Match:
    """The operation of a request.

    Args:
        method: of HTTP; HEAD is GET without the body.
        path: raw, untrusted.

    Raises:
        EndpointUnknownError: no operation has this path.
        MethodError: none with this method.
    """
    fitting = list(_fitting(path.split("/")[1:]))
    wanted = "GET" if method == "HEAD" else method
    for found in fitting:
        if found.operation.method == wanted:
            return found
    if not fitting:
        raise EndpointUnknownError("there is no such path", field="path", next_step="see /openapi.json")
    raise MethodError(
        "this path does not take this method", field="method", next_step=f"use {', '.join(allowed(path))}"
    )


def allowed(path: str) -> tuple[str, ...]:
    """Methods of a path."""
    return tuple(sorted({found.operation.method for found in _fitting(path.split("/")[1:])}))


@cache
def _by_name() -> Mapping[str, AnyOperation]:
    return {each.name: each for each in every_operation()}


@cache
def _by_length() -> Mapping[int, tuple[AnyOperation, ...]]:
    """Operations by the number of their segments; literal segments are tried before placeholders."""
    grouped: dict[int, list[AnyOperation]] = {}
    for each in every_operation():
        grouped.setdefault(len(each.segments), []).append(each)
    return {
        count: tuple(sorted(group, key=lambda each: [segment.startswith("{") for segment in each.segments]))
        for count, group in grouped.items()
    }


def _fitting(segments: list[str]) -> Iterator[Match]:
    best: tuple[bool, ...] | None = None
    for each in _by_length().get(len(segments), ()):
        shape = tuple(segment.startswith("{") for segment in each.segments)
        if best is not None and shape != best:
            return  # a path that a literal fits is never taken for a parameter
        values = _values(each, segments)
        if values is not None:
            best = shape
            yield Match(each, values)


def _values(operation: AnyOperation, segments: list[str]) -> dict[str, str] | None:
    values = {}
    for own, given in zip(operation.segments, segments, strict=True):
        if own.startswith("{") and given:
            values[own[1:-1]] = unquote(given, errors="replace")
        elif own != given:
            return None
    return values


def _require_sound(operation: AnyOperation, names: list[str]) -> None:
    """What an operation must be, whoever writes it."""
    public = operation.scope is Scope.PUBLIC
    complaints = {
        "a public operation has no verb, and any other has one": (operation.verb is None) != public,
        "path parameters are fields": not set(operation.path_fields) <= set(operation.params.model_fields),
        "what acts on an org names it": operation.scope in (Scope.ORG, Scope.SPACE)
        and "org" not in operation.path_fields,
        "what is read is got": operation.effect is Effect.READ and operation.method == "GET" and operation.takes_body,
        "two persons act in one transaction, on what was approved": (
            operation.verb in TWO_PERSONS or operation.escalates is not None
        )
        and (operation.effect is not Effect.ACT or operation.prepare is not None),
        "what may wait is checked first": (operation.verb in TWO_PERSONS or operation.escalates is not None)
        and operation.check is None,
        "what guards exists": bool(operation.guards) and operation.guards not in names,
    }
    for rule, broken in complaints.items():
        if broken:
            raise RegistryError(f"{operation.name}: {rule}")
