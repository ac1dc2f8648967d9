"""The continuous canary: a synthetic card through the path of every prompt, without provider and key.

It proves at run time that detectors, policy and decision still work together in this very process. An org whose canary
is neither blocked nor redacted is not ready, and its state is SEALED until the cause is gone.
"""

import logging
from dataclasses import dataclass

from outpost.core.audit.record import CanaryFailed
from outpost.core.chat.messages import BodyLimits, parse_body
from outpost.core.decision import Direction, Features
from outpost.core.errors import OutpostError
from outpost.core.inspection import inspect_request
from outpost.core.program import OrgProgram
from outpost.gateway.context import Gateway
from outpost.telemetry import Event, emit

ENTITY_TYPE = "credit_card"
NOT_FOUND = "canary.not_found"
NOT_STOPPED = "canary.not_stopped"
BROKEN = "canary.broken"
# A test number of the card industry, never issued; in pieces, so that no scanner takes this file for a leak.
_CARD = "4111" + " 1111" * 3
_BODY = b'{"model":"canary","messages":[{"role":"user","content":"My card is %s, please charge it."}]}' % _CARD.encode()


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """What became of one canary.

    Attributes:
        org: whose program judged it.
        code: empty when it was stopped, else why not.
        reason: one sentence.
    """

    org: str
    code: str = ""
    reason: str = ""


def judge(program: OrgProgram) -> CanaryReport:
    """Send the canary through a program."""
    try:
        tree = parse_body(_BODY, BodyLimits())
        inspection = inspect_request(program.inspector, tree, Features(Direction.INPUT, model="canary"))
    except OutpostError as error:
        return CanaryReport(program.org, BROKEN, f"Inspection failed: {error.code}.")
    if not any(entity.entity_type == ENTITY_TYPE for entity in inspection.features.entities):
        return CanaryReport(program.org, NOT_FOUND, "The synthetic card was not found.")
    if not inspection.denied and ENTITY_TYPE not in inspection.decision.redact:
        return CanaryReport(program.org, NOT_STOPPED, "The synthetic card was found, and policy let it pass.")
    return CanaryReport(program.org)


async def run_once(gateway: Gateway) -> tuple[CanaryReport, ...]:
    """Judge a canary for each org, note the results for readiness, record each new failure."""
    reports = tuple(judge(program) for program in gateway.programs.all())
    for report in reports:
        before = gateway.canary_errors.get(report.org, "")
        gateway.canary_errors[report.org] = report.code
        gateway.metrics.canary(report.org, stopped=not report.code)
        if report.code and report.code != before:
            emit(Event.CANARY_FAILED, logging.ERROR, org=report.org, code=report.code)
            record = CanaryFailed(gateway.head(report.org), report.code, report.reason).to_bytes()
            gateway.record_later(report.org, record)
    return reports
