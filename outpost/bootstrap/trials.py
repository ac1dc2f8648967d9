"""A candidate on trial in a worker: the set's other release is kept ready, judged in the shadow, and gone back to when
the candidate cannot stop its own canary here (``core.bundle.fallback``).
"""

from collections.abc import Callable
from typing import Any

from outpost.bootstrap.programs import Programs
from outpost.core.audit.release_record import ReleaseLeft
from outpost.core.bundle.fallback import Course, course
from outpost.core.detect.pattern import Scanner
from outpost.core.errors import BundleError
from outpost.core.program import OrgProgram, build
from outpost.core.shadow import ShadowTotals, compare, plain, trial_of
from outpost.gateway import canary
from outpost.gateway.canary import CanaryReport
from outpost.gateway.context import Gateway
from outpost.telemetry import Event, emit


class Trials:
    """See the module docstring.

    Args:
        programs: of this worker.
        gateway: serves them.
        scanner: of this worker.
        publish: lets the gateway use what ``programs`` has for an org.
    """

    def __init__(self, programs: Programs, gateway: Gateway, scanner: Scanner, publish: Callable[[str], None]) -> None:
        self._programs = programs
        self._gateway = gateway
        self._scanner = scanner
        self._publish = publish
        self._shadows: dict[str, ShadowTotals] = {}

    def begin(self, org: str) -> None:
        """A set became active: figures begin, and its other release is made ready."""
        program = self._programs.program(org)
        self._shadows.pop(org, None)
        if program is None:
            return
        self._gateway.watch.begins(program)
        other = self._programs.other(org)
        if other is None:
            return
        verified, content = other
        try:
            self._programs.keep_reserve(org, verified, build(verified, self._scanner, content))
        except BundleError as error:  # without it there is nothing to go back to, and nothing to compare
            emit(Event.BUNDLE_REFUSED, 30, org=org, code=error.code, message=error.message)
        self.compare(org)

    def compare(self, org: str) -> None:
        """Judge the newest decisions once more by the release that does not decide."""
        program, reserve = self._programs.program(org), self._programs.reserve(org)
        if program is None or reserve is None:
            return
        candidate, stable = (program, reserve) if program.candidate else (reserve, program)
        self._shadows[org] = compare(trial_of(candidate), trial_of(stable), self._gateway.watch.pasts(org))

    def judged(self, report: CanaryReport) -> CanaryReport:
        """What follows from a canary; the report of the release that runs afterwards."""
        program, reserve = self._programs.program(report.org), self._programs.reserve(report.org)
        usable = program is not None and program.candidate and reserve is not None
        stable = canary.judge(reserve) if usable and report.code and reserve is not None else None
        if program is None or reserve is None or stable is None:
            return report
        if course(report.code, stable.code) is not Course.FALL_BACK:
            return report
        self._leave(program, reserve, report)
        return stable

    def facts(self, org: str) -> dict[str, Any]:
        """What the control plane is told of the release that runs here: names, codes and totals."""
        program = self._programs.program(org)
        if program is None:
            return {}
        figures = self._gateway.watch.figures(org, program.release.version)
        shadow = self._shadows.get(org)
        return {
            "revision": program.revision,
            "release": program.release.version,
            "requests": figures.requests,
            "failed": figures.failed,
            "inspection": self._gateway.canary_errors.get(org, ""),
            "left": next(iter(self._programs.left(org).values()), ""),
            "shadow": plain(shadow) if shadow is not None else None,
        }

    def _leave(self, program: OrgProgram, reserve: OrgProgram, report: CanaryReport) -> None:
        org, version = program.org, program.release.version
        self._programs.leave(org, version, report.code, reserve)
        self._publish(org)
        self._gateway.canary_errors[org] = ""
        self._gateway.watch.begins(reserve)
        emit(Event.RELEASE_LEFT, 40, org=org, release=version, code=report.code)
        left = ReleaseLeft(self._gateway.head(org), version, reserve.release.version, report.code, report.reason)
        self._gateway.record_later(org, left.to_bytes())
