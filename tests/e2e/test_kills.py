"""SIGKILLs under load, each kind of process at least once (what the spine must show, 8); short form of
`bench/kills.py`.
"""

from pathlib import Path

from bench.kills import ORG, campaign, on_disk

ROLES = ("ledger", "agent", "worker", "supervisor")
KILLS = 6
SEED = 20261120


async def test_nothing_acknowledged_is_lost_and_every_start_succeeds(tmp_path: Path) -> None:
    result, load, verified = await campaign(tmp_path / "site", KILLS, SEED, ROLES)
    recorded = on_disk(tmp_path / "site" / "outpost" / "orgs" / ORG / "audit" / "segments")
    assert set(result.kills) == set(ROLES)
    assert sum(result.kills.values()) == KILLS
    assert result.failed_starts == 0
    assert len(load.acknowledged) > KILLS
    assert [request_id for request_id in load.acknowledged if request_id not in recorded] == []
    assert len(set(load.acknowledged)) == len(load.acknowledged)
    (log,) = verified["logs"]
    assert log["intact"] is True
    assert log["records"] >= len(load.acknowledged)
