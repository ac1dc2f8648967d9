"""The fleet's benches with a few outposts: nothing is lost, nobody is left behind, and the lines have their keys.

Times are not judged here: a busy machine is no fault of ours.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import postgres, warp
from bench.fleet.revocation import strays

ROOT = Path(__file__).parents[2]
COUNT = 24
SECONDS = 110.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL's server is not installed"),
]


async def ran(name: str, database: str = "postgres", tasks: int = COUNT) -> dict[str, Any]:
    """Run a bench to its end; its last line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"bench.fleet.{name}"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "OUTPOSTS": str(tasks), "DATABASE": database},
    )
    out, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, errors.decode()[-3000:]
    line: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    assert "why" not in line
    return line


async def test_every_revoked_outpost_is_closed_and_refused_and_no_other() -> None:
    line = await ran("revocation")
    assert (line["streams"], line["replicas"]) == (COUNT, 2)
    revoked = sum(each["revoked"] for each in line["rounds"])
    assert (revoked, line["others"], line["others_ended"]) == (COUNT - 1, 1, 0)
    assert line["elsewhere_p99_ms"] is not None
    assert line["p50_ms"] <= line["p99_ms"]
    assert line["closed_p99_ms"] <= line["p99_ms"]


def test_an_outpost_that_loses_its_stream_without_being_revoked_is_found() -> None:
    notes = {1: {"ended": [("outpost.revoked", 1.0)]}, 2: {"ended": []}, 3: {"ended": [("controlplane.closed", 2.0)]}}
    assert strays(notes, {1}) == [3]
    assert strays(notes, {1, 3}) == []


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
async def test_every_outpost_runs_each_release_and_a_reconnect_moves_nothing(database: str) -> None:
    line = await ran("propagation", database)
    assert (line["outposts"], line["bytes_unchanged"]) == (COUNT, 0)
    assert 0 < line["bytes_one_key"] <= 8192
    assert line["p99_ms"] <= line["stored_ms"]
    assert line["in_succession_ms"] > 0  # nobody is left on the older one
    assert line["publish_ms"] > 0
    assert line["large"]["why"]


async def test_idle_outposts_stay_connected() -> None:
    line = await ran("idle")
    assert line["outposts"] == COUNT + 20  # those that came first, so that their cost is not counted
    assert line["cpu_pct"] is not None
    assert line["database_cpu_pct"] is not None
    assert line["status_per_s"] is not None


async def test_every_token_becomes_an_identity() -> None:
    line = await ran("enroll")
    assert line["enrolled"] == COUNT
    assert line["certificates_per_s"] > line["certificates_stored_per_s"] > 0


async def test_everybody_is_back_after_a_kill_and_no_replica_takes_more_than_its_rate() -> None:
    line = await ran("replica_kill")
    assert (line["outposts"], line["replicas"]) == (COUNT, 3)
    assert 0 < line["lost"] < COUNT
    for part in (line, line["all_killed"]):
        assert part["all_back_s"] is not None
        assert part["most_accepted_in_1_s"] <= line["connect_rate"] + 1  # milliseconds in the log
    assert line["all_killed"]["waits_at_the_cap"] > COUNT
    assert line["all_killed"]["most_frequent_tenth"] < 0.5


async def test_clones_are_locked_and_honest_outposts_are_not() -> None:
    line = await ran("clone")
    assert line["lost_answers"] + line["cut_lines"] > COUNT
    assert line["false_locks"] == 0
    assert line["clones"] == line["locked"] == line["named_both"] == 6
    assert line["told_both"] == 10  # one kind of copy runs no agent
    assert set(line["by_trace"]) == {"identity.earlier_start", "identity.copied_start", "identity.second_key"}


async def test_of_two_hundred_on_two_replicas_one_gets_the_outpost() -> None:
    line = await ran("token_race", tasks=200)
    assert line["rounds_with_one"] == line["rounds"] == line["certificates"] == line["identities"]
    assert line["refused"] == {"token.used": 199 * line["rounds"]}


@pytest.mark.skipif(warp.compiler() is None, reason="there is no C compiler")
async def test_a_root_is_replaced_under_outposts_that_are_there_and_some_that_are_away() -> None:
    line = await ran("ca_rotation")
    assert (line["trust_failures"], line["manual_steps"], line["late"], line["locked"]) == (0, 0, 0, 0)
    assert line["simulated_days"] == 7
    assert line["recovered"] == line["adopted"] == line["away"] == 4
    assert list(line["steps"]) == ["prepare", "activate", "taint", "retire"]


@pytest.mark.skipif(warp.compiler() is None, reason="there is no C compiler")
async def test_three_days_without_a_control_plane_are_survived_without_a_hand() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.outage_72h"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "QUICK": "1"},
    )
    out, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    line = json.loads((out.decode().splitlines() or ["{}"])[-1])
    assert process.returncode == 0, f"{line} {errors.decode()[-2000:]}"
    assert line["recovered"] == 1
    assert 24 <= line["expired_after_h"] < 72
