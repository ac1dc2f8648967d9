"""A bad release in small: real replicas, real sync agents, and nobody who does anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.postgres_server import binaries

ROOT = Path(__file__).parents[2]
SECONDS = 100
BACK_MS, REASON_MS, PERCENT = 10_000, 1_000, 5


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_bad_release_touches_few_and_the_last_good_one_is_back(database: str) -> None:
    if database == "postgres" and binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    environment = {**os.environ, "DATABASE": database, "OUTPOSTS": "40", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bench.fleet.bad_release"]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, found
    assert found["outposts"] == 40
    assert found["touched"] == [2, 2]
    assert found["touched_pct"] <= PERCENT
    assert found["back_p99_ms"] <= BACK_MS
    assert found["reason_ms"] <= REASON_MS
    assert found["resent_in_10_min"] == 0
