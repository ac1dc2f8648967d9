"""docs/api.md is true: its commands are run as they stand, and its table of roles is the one in the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.domain.rbac import TABLE, Role
from tests.e2e.test_first_hour import LOOPBACK_UP, SECONDS, isolated

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
STARTED = """
controlplane init > init.out
controlplane serve > ready.json 2> serve.log &
until [ -s ready.json ]; do sleep 0.1; done
"""


def commands() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_works_as_it_stands(tmp_path: Path) -> None:
    prefix = isolated()
    up = [f'{sys.executable} -c "{LOOPBACK_UP}"'] if prefix else []
    script = "\n".join(["set -eu", *up, "trap 'kill $(jobs -p) && wait' EXIT", STARTED, *commands()])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OUTPOST_", "CONTROLPLANE_"))}
    done = subprocess.run(
        [*prefix, "bash", "-c", script],
        cwd=tmp_path,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    told = done.stdout + done.stderr + (tmp_path / "serve.log").read_text()
    assert done.returncode == 0, told
    for expected in (
        '{"status":"ok"}',
        '"role":"security_admin"',
        '"schema":"controlplane.registration/1"',
        '"code":"org.unknown"',
        '"next_cursor":"',
        '"schema":"controlplane.approval/1"',
        "refused with 3",
        "intact",
        "c2sp.org/tlog-proof@v1",
    ):
        assert expected in done.stdout, (expected, told)
    assert (tmp_path / "ci.secret").read_text().strip() not in told


def test_the_table_of_roles_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|(.*)\|$", PAGE.split("## Roles")[1].split("\n## ")[0], flags=re.MULTILINE)
    shown = {
        verb: {role for role, cell in zip(Role, cells.split("|"), strict=True) if cell.strip() == "yes"}
        for verb, cells in rows
    }
    assert shown == {verb.value: set(roles) for verb, roles in TABLE.items()}
