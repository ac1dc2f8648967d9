"""What `outpost status` counts as well."""

from typing import Any

import pytest

from outpost.cli.status import is_well


def answer(state: str = "ACTIVE", function: str = "ok", *, ready: bool = True) -> dict[str, Any]:
    org = {"state": state, "functions": {"audit": function, "policy": "ok"}}
    return {"orgs": {"acme": org}, "processes": [{"ready": ready}]}


@pytest.mark.parametrize(
    ("told", "well"),
    [
        pytest.param(answer(), True, id="active, every function well"),
        pytest.param(answer(state="OFFLINE"), False, id="an org that is not active"),
        pytest.param(answer(function="delivery.forked"), False, id="the witness refuses the log"),
        pytest.param(answer(ready=False), False, id="a process is down"),
        pytest.param({"orgs": {}, "processes": [{"ready": True}]}, False, id="no org has reported"),
    ],
)
def test_degraded_is_told_by_the_exit_code(told: dict[str, Any], *, well: bool) -> None:
    assert is_well(told) is well
