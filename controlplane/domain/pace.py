"""How fast callers may be: a rate per principal, and growing delays after failed sign-ins. Time is an argument.

Nobody is locked out: a lock would let whoever knows a name shut its owner out. Failed sign-ins of a user and of a
source make the next answer of either come later, right or wrong.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.domain.errors import ThrottledError

KEPT: Final = 10_000  # counters in memory; the oldest go first
REQUESTS_PER_SECOND: Final = 20.0  # of one principal, sustained
REQUEST_BURST: Final = 100
STRANGERS_PER_SECOND: Final = 5.0  # requests without a valid token, from one source
STRANGER_BURST: Final = 50
FREE_FAILURES: Final = 3  # mistyped passwords that cost nothing
FIRST_DELAY_SECONDS: Final = 0.25
MAX_DELAY_SECONDS: Final = 5.0  # a person waits that long; a guesser gets 17,280 tries a day and user at most
FORGET_SECONDS: Final = 900.0  # a quarter of an hour without failures and all is forgotten
MAX_WAITING: Final = 8  # sign-ins of one source that wait at once; of 20 sources one user has 160


class PaceError(ThrottledError):
    """Too many requests of one caller.

    Args:
        seconds: after which it makes sense to try again.
    """

    code = "api.throttled"

    def __init__(self, seconds: float) -> None:
        self.retry_seconds = max(1, int(seconds + 0.999))
        super().__init__(
            f"too many requests; the next one is welcome in {self.retry_seconds} s", next_step="wait, then try again"
        )


class Pace:
    """A rate per key, with a burst: the generic cell rate algorithm.

    Args:
        per_second: sustained.
        burst: requests at once after a pause.
    """

    def __init__(self, per_second: float, burst: int, capacity: int = KEPT) -> None:
        self._interval = 1 / per_second
        self._tolerance = self._interval * (burst - 1)
        self._capacity = capacity
        self._arrivals: dict[str, float] = {}  # key -> theoretical arrival time, oldest use first

    def take(self, key: str, now: float) -> None:
        """Count one request.

        Args:
            key: whose.
            now: monotonic seconds.

        Raises:
            PaceError: too early; it is not counted.
        """
        due = max(self._arrivals.pop(key, now), now)
        early = due - now - self._tolerance
        self._arrivals[key] = due if early > 0 else due + self._interval
        while len(self._arrivals) > self._capacity:
            del self._arrivals[next(iter(self._arrivals))]
        if early > 0:
            raise PaceError(early)


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last: float


class Patience:
    """How long a sign-in waits, by the failures of its user and of its source."""

    def __init__(self, capacity: int = KEPT) -> None:
        self._capacity = capacity
        self._failures: dict[str, _Failures] = {}
        self._waiting: dict[str, int] = {}

    def delay(self, user: str, source: str, now: float) -> float:
        """Seconds that the next answer is held back.

        Args:
            user: whoever is named, known or not.
            source: address.
            now: monotonic seconds.
        """
        worst = max(self._count(f"user {user}", now), self._count(f"source {source}", now))
        if worst < FREE_FAILURES:
            return 0.0
        doublings = min(worst - FREE_FAILURES, 16)  # 2^16 quarters of a second are far beyond the longest
        return float(min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**doublings))

    def enter(self, source: str) -> None:
        """A sign-in begins to wait. Raises PaceError: as many of this source wait already."""
        if self._waiting.get(source, 0) >= MAX_WAITING:
            raise PaceError(MAX_DELAY_SECONDS)
        self._waiting[source] = self._waiting.get(source, 0) + 1

    def leave(self, source: str) -> None:
        """It is done."""
        left = self._waiting.pop(source, 1) - 1
        if left > 0:
            self._waiting[source] = left

    def failed(self, user: str, source: str, now: float) -> None:
        """Count a failure of both."""
        for key in (f"user {user}", f"source {source}"):
            count = self._count(key, now)
            self._failures.pop(key, None)
            self._failures[key] = _Failures(count + 1, now)
        while len(self._failures) > self._capacity:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, user: str) -> None:
        """A right answer forgives its user, never its source: that one may know one password and guess another."""
        self._failures.pop(f"user {user}", None)

    def _count(self, key: str, now: float) -> int:
        found = self._failures.get(key)
        return found.count if found is not None and now - found.last < FORGET_SECONDS else 0
