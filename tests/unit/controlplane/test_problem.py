"""Errors at the HTTP edge: the table is total, and nothing but typed words leaves."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import certs
import controlplane
from certs.errors import KeyStoreError, TrustError
from controlplane.domain.errors import ConfigurationError, ControlPlaneError, StateError, ThrottledError
from controlplane.domain.orgs import OrgUnknownError
from controlplane.domain.pace import PaceError
from controlplane.web.problem import STATUS, problem_of, status_of
from outpost.core.errors import OutpostError

SECRET = "canary-" + "secret-value"


def load(package: Any) -> None:
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and ".environment" not in module.name:
            importlib.import_module(module.name)


def every(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from every(child)


load(certs)
load(controlplane)
ERRORS = {each for root in (ControlPlaneError, TrustError, OutpostError) for each in every(root)}
MET = sorted(
    (each for each in ERRORS if each.__module__.startswith(("controlplane.", "certs.", "outpost.core."))),
    key=lambda each: (each.__module__, each.__qualname__),
)


def test_the_table_of_statuses_is_total() -> None:
    assert [each for each in MET if not any(parent in STATUS for parent in each.__mro__)] == []


def test_the_shape_is_that_of_rfc_9457_with_our_members_beside() -> None:
    problem = problem_of(OrgUnknownError("no such org", field="org", next_step="look"), "r1")
    assert problem.document == {
        "type": "urn:outpost:error:org.unknown",
        "title": "Not Found",
        "status": 404,
        "detail": "no such org",
        "instance": "urn:outpost:request:r1",
        "code": "org.unknown",
        "fault": "caller",
        "fatal": True,
        "field": "org",
        "next": "look",
    }


OURS: dict[str, Exception] = {
    "an exception that nobody expected": RuntimeError(SECRET),
    "settings": ConfigurationError(SECRET),
    "a key": KeyStoreError(SECRET),
    "the root of our errors": ControlPlaneError(SECRET),
}


@pytest.mark.parametrize("case", OURS)
def test_what_is_our_fault_stays_here(case: str) -> None:
    problem = problem_of(OURS[case], "r1")
    assert (problem.status, problem.document["code"]) == (500, "internal")
    assert SECRET not in str(problem.document)


def test_who_has_the_files_is_told() -> None:
    problem = problem_of(ConfigurationError("the port is unknown", field="port"), "r1", reveal=True)
    assert (problem.status, problem.document["code"]) == (500, "configuration.invalid")
    assert problem_of(RuntimeError(SECRET), "r1", reveal=True).document["code"] == "internal"


@pytest.mark.parametrize(
    ("error", "seconds"), [(PaceError(2.4), "3"), (ThrottledError("x"), "1"), (StateError("x"), "1")]
)
def test_a_caller_is_told_when_to_come_back(error: Exception, seconds: str) -> None:
    assert problem_of(error, "r1").headers["Retry-After"] == seconds


def test_statuses_are_those_that_exist() -> None:
    assert {int(status_of(each)) for each in MET} <= {
        *(400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 428, 429, 431, 500, 503)
    }
