"""How fast callers may be: a rate per principal, and growing delays after failed sign-ins. Time is an argument.

Nobody is locked out: a lock would let whoever knows a name shut its owner out. Failed sign-ins of a user and of a
source make the next answer of either come later, right or wrong.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

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
MAX_QUEUE_SECONDS: Final = 20.0  # below the 30 that an answer may take: four wait for one user at the longest delay

Key = TypeVar("Key")
Value = TypeVar("Value")


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


@dataclass(frozen=True, slots=True)
class Knock:
    """An attempt to sign in.

    Attributes:
        user: id of a user, or the name of nobody.
        is_known: whether there is such a user; what strangers make up counts apart, so that it pushes nobody out.
        source: block of addresses that the caller is one of (``sources.block_of``).
    """

    user: str
    is_known: bool
    source: str


class Patience:
    """How long a sign-in waits, by the failures of its user and of its source.

    An attempt counts as a failure from its beginning until it turns out right, and those of one user wait one after
    another: whoever tries many at once gets no more answers than who tries in turn. A source from which a user signed
    in has a queue of its own for him, so that strangers do not stand before him.
    """

    def __init__(self, capacity: int = KEPT) -> None:
        self._capacity = capacity
        self._users: dict[str, _Failures] = {}
        self._made_up: dict[str, _Failures] = {}
        self._sources: dict[str, _Failures] = {}
        self._turns: dict[str, float] = {}  # queue -> when its last one is answered
        self._usual: dict[tuple[str, str], None] = {}  # users with sources from which they signed in

    def begin(self, knock: Knock, now: float) -> float:
        """Count an attempt.

        Args:
            knock: who is named, and from where.
            now: monotonic seconds.

        Returns:
            Seconds that its answer is held back.

        Raises:
            PaceError: too many wait for this user already; it is not counted.
        """
        users = self._counters(knock)
        worst = max(_count(users, knock.user, now), _count(self._sources, knock.source, now))
        wait = self._wait(knock, worst, now)
        for counters, key in ((users, knock.user), (self._sources, knock.source)):
            count = _count(counters, key, now)
            self._keep(counters, key, _Failures(count + 1, now))
        return wait

    def passed(self, knock: Knock) -> None:
        """It was right: it does not count."""
        for counters, key in ((self._counters(knock), knock.user), (self._sources, knock.source)):
            found = counters.get(key)
            if found is not None:
                counters[key] = _Failures(found.count - 1, found.last)

    def succeeded(self, knock: Knock) -> None:
        """A sign-in forgives its user, never its source: that one may know one password and guess another."""
        self.passed(knock)
        self._users.pop(knock.user, None)
        self._keep(self._usual, (knock.user, knock.source), None)

    def _wait(self, knock: Knock, worst: int, now: float) -> float:
        if worst < FREE_FAILURES:
            return 0.0
        doublings = min(worst - FREE_FAILURES, 16)  # 2^16 quarters of a second are far beyond the longest
        delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**doublings)
        usual = (knock.user, knock.source) in self._usual
        queue = f"{knock.user} {knock.source}" if usual else f"{knock.user} {knock.is_known}"
        due = max(self._turns.get(queue, now), now) + delay
        if due - now > MAX_QUEUE_SECONDS:
            raise PaceError(delay)
        self._keep(self._turns, queue, due)
        return due - now

    def _counters(self, knock: Knock) -> dict[str, _Failures]:
        return self._users if knock.is_known else self._made_up

    def _keep(self, counters: dict[Key, Value], key: Key, value: Value) -> None:
        """Newest last; the oldest goes when there are too many."""
        counters.pop(key, None)
        counters[key] = value
        while len(counters) > self._capacity:
            del counters[next(iter(counters))]


def _count(counters: dict[str, _Failures], key: str, now: float) -> int:
    found = counters.get(key)
    return found.count if found is not None and now - found.last < FORGET_SECONDS else 0
