"""The canary tells when detection and policy no longer stop a card."""

from pathlib import Path

from outpost.core.bundle.trust import OrgState, State
from outpost.gateway import canary, probes
from tests.unit.gateway.harness import ORG, OTHER_ORG, program, rule, stack


def test_a_blocked_or_redacted_card_is_well() -> None:
    for action in ("BLOCK", "REDACT", "CANCEL", "PROMPT"):
        rules = (rule("cards", action, "input", entity_types=["credit_card"]),)
        assert canary.judge(program(rules=rules)).code == ""


def test_a_card_that_passes_is_told() -> None:
    assert canary.judge(program(rules=())).code == canary.NOT_STOPPED


async def test_a_failing_canary_takes_its_org_out_and_is_recorded_once(tmp_path: Path) -> None:
    async with stack(tmp_path) as outpost:
        assert (await probes.readiness(outpost.gateway)).ready
        outpost.configure(rules=())
        for _ in range(2):
            reports = await canary.run_once(outpost.gateway)
        assert {report.org: report.code for report in reports} == {ORG: canary.NOT_STOPPED, OTHER_ORG: ""}
        told = await probes.readiness(outpost.gateway)
        assert told.orgs[ORG]["canary"] == canary.NOT_STOPPED
        assert told.ready  # the other org is still served
        assert await outpost.events() == ["canary.failed"]
        outpost.states[OTHER_ORG] = OrgState(State.SEALED, "clock.below_floor", "x")
        assert not (await probes.readiness(outpost.gateway)).ready
        outpost.configure()
        await canary.run_once(outpost.gateway)
        assert (await probes.readiness(outpost.gateway)).ready
        metrics = outpost.gateway.metrics.render().decode()
        assert f'outpost_canary_blocked{{org="{ORG}"}} 1.0' in metrics
