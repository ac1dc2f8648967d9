"""What `outpost status` counts as well."""

from typing import Any

import pytest

from outpost.cli.status import _tables, is_well
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli


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


def test_a_sealed_org_shows_why(capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(state="SEALED")
    facts = {"code": "cache.seal", "reason": "The stored set was altered.", "revision": "", "audit_size": 0}
    told["orgs"]["acme"] |= {**facts, "certificate_expires_ms": 0, "audit_cosigned": 0}
    told["processes"] = []
    _tables(told)
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[:2] == ["acme", "SEALED"]
    assert row.endswith("cache.seal: The stored set was altered.")


def test_a_folder_that_is_not_enrolled_says_so(cli: Cli) -> None:
    told = cli("status", "--state", "elsewhere")
    assert told.code == 8
    assert "error state.not_enrolled" in told.err
    assert "→ outpost enroll --state elsewhere --token-file TOKEN" in told.err


def test_an_outpost_that_is_stopped_is_started_in_the_same_folder(cli: Cli, state: StatePaths) -> None:
    told = cli("status", "--state", state.state)
    assert told.code == 6
    assert "error admin.unreachable" in told.err
    assert f"→ outpost run --state {state.state}\n" in told.err
