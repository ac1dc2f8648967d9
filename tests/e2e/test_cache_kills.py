"""The short form of `make bench-cache-kills`: SIGKILL of whoever writes the cache, and a start after each."""

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = 40
SEED = 20261121


def test_every_start_serves_what_was_acknowledged_or_something_newer() -> None:
    chosen = {**os.environ, "QUICK": "1", "KILLS": str(KILLS), "SEED": str(SEED)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.cache_kills"],
        cwd=Path(__file__).parents[2],
        env=chosen,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["kills"], line["failed_starts"], line["older_served"]) == (KILLS, 0, 0), done.stdout
    assert line["acknowledged"] > 0
    assert line["cold_start_median_s"] > 0
