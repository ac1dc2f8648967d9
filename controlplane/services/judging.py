"""Policy documents judged beside the event loop: one at a time, a few waiting, at a small rate for each caller.

The longest document takes a second. It is judged before the transaction of an act that needs it, and the judgement is
found again within.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from controlplane.domain.pace import Pace, PaceError
from controlplane.ports.world import Clock
from controlplane.services.configuration import judge_policy
from outpost.core.policy.document import PolicyDocument
from outpost.core.policy.lint import LintFinding

PER_SECOND: Final = 0.5  # of one caller, sustained: somebody who writes looks at the answer before he asks again
BURST: Final = 10
MAX_WAITING: Final = 16  # of all callers; the last one waits for 16 seconds at most, and his answer has 30
RETRY_SECONDS: Final = 5.0


class PolicyJudge:
    """Judges policy documents; one object serves a process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pace = Pace(PER_SECOND, BURST)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")
        self._waiting = 0

    async def judge(self, caller: str, text: bytes) -> tuple[PolicyDocument, tuple[LintFinding, ...]]:
        """What ``judge_policy`` says, with its errors.

        Args:
            caller: id of the principal, whose rate it is.
            text: untrusted.

        Raises:
            PaceError: too many of this caller, or of all.
        """
        self._pace.take(caller, self._clock.monotonic())
        if self._waiting >= MAX_WAITING:
            raise PaceError(RETRY_SECONDS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, judge_policy, text)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
