"""The admin API under requests made from its own OpenAPI document; ``make bench-api-fuzz`` is the long form."""

from pathlib import Path

import pytest

from controlplane.web.api.openapi import statuses_of
from controlplane.web.api.operation import AnyOperation
from controlplane.web.api.registry import every_operation
from tests.fuzz import api_cases
from tests.fuzz.api_cases import fuzz, running

EXAMPLES = 300


@pytest.mark.slow
def test_no_request_gets_a_server_error_or_a_status_that_is_not_documented(tmp_path: Path) -> None:
    with running(tmp_path) as target:
        found = fuzz(target, EXAMPLES)
    assert found.faults == []
    assert found.examples >= EXAMPLES
    assert {name for name, _ in found.statuses} == {each.name for each in every_operation()}
    assert {200, 201, 400, 401, 404, 422} <= {status for _, status in found.statuses}


@pytest.mark.slow
def test_it_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_422(operation: AnyOperation) -> frozenset[int]:
        return statuses_of(operation) - {422}

    monkeypatch.setattr(api_cases, "statuses_of", without_422)
    with running(tmp_path) as target:
        assert fuzz(target, 110).undocumented > 5
