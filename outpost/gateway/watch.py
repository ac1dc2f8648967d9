"""What a worker remembers of what it did lately, so that releases can be judged: memory only, and bounded.

Decisions are kept as features and verdict, never with a text. Requests are counted for the release that decided them;
a failure is one of our own: the log did not take the record, a secret was missing, a fault of ours.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from outpost.core.decision import Decision, Features
from outpost.core.program import OrgProgram
from outpost.core.shadow import Past

REMEMBERED = 1_000  # decisions of each org; about 1 KiB each, and judged again in 20 ms
COUNTED_RELEASES = 2  # of each org: a request may end after the release that decided it gave way


@dataclass(slots=True)
class Figures:
    """Requests under one release.

    Attributes:
        requests: decided, or failed before.
        failed: of those, by our own fault.
    """

    requests: int = 0
    failed: int = 0


class Watch:
    """Newest decisions and figures of one worker."""

    def __init__(self) -> None:
        self._pasts: dict[str, deque[Past]] = {}
        self._figures: dict[str, dict[int, Figures]] = {}

    def decided(self, program: OrgProgram, features: Features, decision: Decision) -> None:
        """Remember a decision."""
        ring = self._pasts.get(program.org)
        if ring is None:
            ring = self._pasts[program.org] = deque(maxlen=REMEMBERED)
        ring.append(Past(features, decision.action.value, decision.code, decision.redact, program.release.version))

    def finished(self, program: OrgProgram, *, failed: bool) -> None:
        """Count a request."""
        figures = self._of(program.org, program.release.version)
        figures.requests += 1
        figures.failed += failed

    def begins(self, program: OrgProgram) -> None:
        """A program became active: figures of a release that was not active before begin at nothing."""
        counted = self._figures.setdefault(program.org, {})
        if list(counted)[-1:] != [program.release.version]:
            counted.pop(program.release.version, None)
            self._of(program.org, program.release.version)

    def pasts(self, org: str) -> Sequence[Past]:
        """Newest decisions, oldest first."""
        return tuple(self._pasts.get(org, ()))

    def figures(self, org: str, release: int) -> Figures:
        """Requests under a release since it became active."""
        return self._figures.get(org, {}).get(release, Figures())

    def forget(self, org: str) -> None:
        """An org is not served any more."""
        self._pasts.pop(org, None)
        self._figures.pop(org, None)

    def _of(self, org: str, release: int) -> Figures:
        counted = self._figures.setdefault(org, {})
        if release not in counted:
            counted[release] = Figures()
            while len(counted) > COUNTED_RELEASES:
                del counted[next(iter(counted))]
        return counted[release]
