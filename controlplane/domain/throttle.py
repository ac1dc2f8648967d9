"""Throttles: how often something may happen, judged by GCRA in memory, bounded, with time as an argument.

Theory. A key has a *theoretical arrival time*, one interval after the last call that was let through if calls came
evenly. A call may come early by as much as the burst allows; one that comes earlier is refused and told when to come
back. In any window a key gets at most the burst and what the interval adds: ``Rate.within`` picks both so that this sum
is the limit itself.

Callers that are refused are not all told the same moment, or they would all come back in it: each is given the next
moment that nobody was given before. A caller that holds to it is let through, if no stranger was faster.

Source: ITU-T I.371 §5.4.4.2 (generic cell rate algorithm, virtual scheduling).
"""

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.domain.errors import ThrottledError

MINUTE_MS = 60_000
BAD_TOKENS_PER_SOURCE = 10  # a minute; a person mistypes less, and 256-bit secrets cannot be guessed anyway
BAD_TOKENS_PER_ORG = 60  # a minute; beyond it only a matching secret is answered
KEPT_SOURCES = 4096  # keys in memory; the oldest go first
CONNECTS_PER_SECOND = 200  # streams that a replica takes; one costs it 1.5 ms of CPU (docs/benchmarks.md)
MESSAGES_PER_SECOND = 20  # of one stream, 100 at once; a heartbeat every 10 s and an answer to each offer are far below
MESSAGES_AT_ONCE = 100
FETCHED_BYTES_PER_SECOND = 256 * 1024 * 1024  # of one org at one replica; a core of ours sends about as much
FETCHED_BYTES_AT_ONCE = 1024 * 1024 * 1024  # 16 files of the largest size
BURST_SHARE = 10  # a tenth of a limit may come at once
SLACK_MS = 0.001  # sums of binary fractions are off by less
LONGEST_WAIT_MS = 60_000  # the latest moment that a refused caller is given; outposts back off as far by themselves


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a key may come.

    Attributes:
        interval_ms: between two calls that come evenly.
        burst: calls that may come at once.
    """

    interval_ms: float
    burst: int

    @classmethod
    def within(cls, limit: int, window_ms: int = 1000, burst: int = 0) -> "Rate":
        """At most ``limit`` in whatever window of that length.

        Args:
            limit: at least 1.
            window_ms: milliseconds.
            burst: how many of them at once; by default a tenth.
        """
        if limit < 1:
            raise ValueError("a limit is at least 1")
        chosen = min(limit, burst or max(1, limit // BURST_SHARE))
        evenly = limit - chosen
        return cls(window_ms / evenly if evenly else float(window_ms), chosen)


class Pace:
    """Calls of one key.

    Not refused: the call counts. Refused: it does not count, and the wait is the caller's own moment.
    """

    __slots__ = ("_due_ms", "_given_ms", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._due_ms = 0.0  # theoretical arrival time of the next call
        self._given_ms = 0.0  # the first moment that no refused caller was given

    def wait_ms(self, now_ms: float) -> float:
        """How long a call would have to wait now; 0 when it may come. Counts nothing."""
        wait = self._due_ms - self._rate.interval_ms * (self._rate.burst - 1) - now_ms
        return wait if wait > SLACK_MS else 0.0

    def take(self, now_ms: float, cost: float = 1.0) -> None:
        """Count a call that was let through."""
        self._due_ms = max(self._due_ms, now_ms) + self._rate.interval_ms * cost

    def give(self, now_ms: float, cost: float = 1.0) -> int:
        """The moment for a refused caller, milliseconds from now: no two are given the same, and after each there is
        time for what it costs.

        When the moments of a whole ``LONGEST_WAIT_MS`` are given, callers are told that; the jitter that they add
        spreads them.
        """
        earliest = now_ms + self.wait_ms(now_ms)
        given = min(max(earliest, self._given_ms), now_ms + LONGEST_WAIT_MS)
        self._given_ms = given + self._rate.interval_ms * cost
        return max(1, round(given - now_ms))


MESSAGES = Rate(1000 / MESSAGES_PER_SECOND, MESSAGES_AT_ONCE)
FETCHED_BYTES = Rate(1000 / FETCHED_BYTES_PER_SECOND, FETCHED_BYTES_AT_ONCE)


class Throttle:
    """The pace of many keys."""

    def __init__(self, rate: Rate, capacity: int = KEPT_SOURCES) -> None:
        self._rate = rate
        self._capacity = capacity
        self._paces: dict[str, Pace] = {}  # the one that was used longest ago first

    def strike(self, key: str, now_ms: float, cost: float = 1.0) -> None:
        """Count one call."""
        self._of(key).take(now_ms, cost)

    def wait_ms(self, key: str, now_ms: float) -> float:
        """How long a call of the key would have to wait now; 0 when it may come."""
        pace = self._paces.get(key)
        return pace.wait_ms(now_ms) if pace is not None else 0.0

    def give(self, key: str, now_ms: float, cost: float = 1.0) -> int:
        """The moment for a refused call of the key, milliseconds from now."""
        return self._of(key).give(now_ms, cost)

    def is_over(self, key: str, now_ms: float) -> bool:
        """Whether the key has used up what it may do."""
        return self.wait_ms(key, now_ms) > 0

    def _of(self, key: str) -> Pace:
        pace = self._paces.pop(key, None) or Pace(self._rate)
        self._paces[key] = pace
        while len(self._paces) > self._capacity:
            del self._paces[next(iter(self._paces))]
        return pace


class Admission:
    """New streams of a replica: so many in whatever second, and so many of one org.

    Args:
        limit: streams in a second.
        limit_of: org -> streams of that org in a second.
    """

    def __init__(self, limit: int, limit_of: Callable[[str], int]) -> None:
        self._limit = limit
        self._limit_of = limit_of
        self._all = Pace(Rate.within(limit))
        self._orgs: dict[str, tuple[int, Pace]] = {}  # limit and pace; the one that was used longest ago first

    def admit(self, org: str, now_ms: float) -> None:
        """Count a stream.

        Raises:
            ThrottledError: too many; it says when to come back.
        """
        own = self._pace_of(org)
        all_wait, own_wait = self._all.wait_ms(now_ms), own.wait_ms(now_ms)
        if not all_wait and not own_wait:
            self._all.take(now_ms)
            own.take(now_ms)
            return
        given = max(own.give(now_ms) if own_wait else 0, self._all.give(now_ms) if all_wait else 0)
        raise ThrottledError(
            "more outposts connect at once than this control plane takes",
            next_step="nothing: the outpost comes back by itself",
            retry_after_ms=given,
        )

    def _pace_of(self, org: str) -> Pace:
        limit = min(self._limit, self._limit_of(org))
        known = self._orgs.pop(org, None)
        if known is None or known[0] != limit:
            known = (limit, Pace(Rate.within(limit)))
        self._orgs[org] = known
        while len(self._orgs) > KEPT_SOURCES:
            del self._orgs[next(iter(self._orgs))]
        return known[1]


def recovery_throttled() -> ThrottledError:
    """The answer to a source that asks for too many recoveries."""
    return ThrottledError("too many recoveries from here at once", next_step="it is tried again by itself")


def throttled_error() -> ThrottledError:
    """The answer to a source that failed too often."""
    return ThrottledError(
        "too many refused join tokens from here within a minute",
        next_step="wait a minute, then try again",
        retry_after_ms=MINUTE_MS,
    )
