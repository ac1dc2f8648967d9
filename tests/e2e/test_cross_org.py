"""The bench of attempts across orgs, short: nothing comes of them, and without any lock something does."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from bench.fleet import postgres

ROOT = Path(__file__).parents[2]
ATTEMPTS = 150
SECONDS = 100.0


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL's server is not installed")
async def test_no_org_gets_a_row_of_another_even_without_the_where() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.cross_org"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ATTEMPTS": str(ATTEMPTS), "DATABASE": "postgres"},
    )
    out, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, out.decode()[-3000:] + errors.decode()[-3000:]
    line = json.loads(out.decode().splitlines()[-1])
    each = {"rpc": 50, "rest": 50, "cli": 50}
    assert (line["attempts"], line["rows"]) == (each, 0)
    assert line["mutated"] == {"attempts": each, "rows": 0}
    assert (line["unlike_missing"], line["changed_rows"]) == (0, 0)
    assert line["self_check_rows"] > 0
    assert line["database"] == "postgres"
