"""Readiness while the audit log is away, and after: whoever takes an outpost out of service must bring it back."""

from pathlib import Path

from outpost.gateway import probes
from tests.unit.gateway.harness import ORG, stack


async def test_a_ledger_that_works_again_is_found_without_any_request(tmp_path: Path) -> None:
    async with stack(tmp_path) as outpost:
        outpost.gateway.audit_error = "ledger.unavailable"  # what a failed record leaves behind
        readiness = await probes.readiness(outpost.gateway)
        assert readiness.ready
        assert readiness.orgs[ORG]["audit"] == "ok"
        assert await outpost.records() == []  # asking leaves no record


async def test_a_ledger_that_still_fails_is_named(tmp_path: Path) -> None:
    async with stack(tmp_path) as outpost:
        outpost.gateway.audit_error = "ledger.unavailable"
        outpost.ledger.close()
        readiness = await probes.readiness(outpost.gateway)
        assert not readiness.ready
        assert readiness.orgs[ORG]["audit"] == "ledger.closed"
