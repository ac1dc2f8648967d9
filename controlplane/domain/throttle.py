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
SHARES = 4  # an org has a quarter of a replica's places for itself when others ask too
ASKING_MS = 10_000  # so long after its last stream an org still counts as one that asks
COUNT_MS = 1000  # between two counts of the orgs whose outposts wait
STREAMS_AT_ONCE = 60  # of one outpost; one that finds nobody calls eight times in the first minute
STREAM_EVERY_MS = 1000  # and afterwards
CALLS_PER_SECOND = 100  # of one outpost; each upload of a long audit tail takes some 10 ms
CALLS_AT_ONCE = 500
LONGEST_DELAY_MS = 2000  # a call that would have to wait for longer is refused
REFUSALS_AT_ONCE = 6  # of one identity; then one each 10 s opens a stream, and one a second calls
KEPT_OUTPOSTS = 50_000  # keys in memory, 0.3 KiB each
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

    __slots__ = ("_due_ms", "_given_ms", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._due_ms = 0.0  # theoretical arrival time of the next call
        self._given_ms = 0.0  # the first moment that no refused caller was given

    def wait_ms(self, now_ms: float, kept: int = 0) -> float:
        """How long a call would have to wait now; 0 when it may come. Counts nothing.

        Args:
            now_ms: whatever clock, as long as it is one.
            kept: places of the burst that are left to others.
        """
        wait = self._due_ms - self.rate.interval_ms * (self.rate.burst - kept - 1) - now_ms
        return wait if wait > SLACK_MS else 0.0

    def take(self, now_ms: float, cost: float = 1.0) -> None:
        """Count a call that was let through."""
        self._due_ms = max(self._due_ms, now_ms) + self.rate.interval_ms * cost

    def give_back(self) -> None:
        """Take back one call that was counted."""
        self._due_ms -= self.rate.interval_ms

    def give(self, now_ms: float, cost: float = 1.0) -> int:
        """The moment for a refused caller, milliseconds from now: no two are given the same, and after each there is
        time for what it costs.

        When the moments of a whole ``LONGEST_WAIT_MS`` are given, callers are told that; the jitter that they add
        spreads them.
        """
        earliest = now_ms + self.wait_ms(now_ms)
        given = min(max(earliest, self._given_ms), now_ms + LONGEST_WAIT_MS)
        self._given_ms = given + self.rate.interval_ms * cost
        return max(1, round(given - now_ms))


MESSAGES = Rate(1000 / MESSAGES_PER_SECOND, MESSAGES_AT_ONCE)
STREAMS = Rate(STREAM_EVERY_MS, STREAMS_AT_ONCE)
CALLS = Rate(1000 / CALLS_PER_SECOND, CALLS_AT_ONCE)
FETCHED_BYTES = Rate(1000 / FETCHED_BYTES_PER_SECOND, FETCHED_BYTES_AT_ONCE)


class Throttle:
    """The pace of many keys."""

    def __init__(self, rate: Rate, capacity: int = KEPT_SOURCES) -> None:
        self.rate = rate
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
        pace = self._paces.pop(key, None) or Pace(self.rate)
        self._paces[key] = pace
        while len(self._paces) > self._capacity:
            del self._paces[next(iter(self._paces))]
        return pace


@dataclass(frozen=True, slots=True)
class Claim:
    """Whom a call says it is of, before anything expensive is done.

    Attributes:
        org: org id; empty when none is named.
        outpost: key of the caller; two callers have the same only when they hold the same certificate.
    """

    org: str
    outpost: str


class CallPace:
    """Calls of each outpost, judged before its identity is.

    A call that comes a little early is to wait, so that an outpost which sends one after the other is slowed down and
    never refused; one that would wait for long is refused. What an identity is refused for costs far more.
    """

    def __init__(self, rate: Rate = CALLS, longest_ms: float = LONGEST_DELAY_MS) -> None:
        self._paces = Throttle(rate, KEPT_OUTPOSTS)
        self._longest_ms = longest_ms

    def take(self, claim: Claim, now_ms: float, cost: float = 1.0) -> float:
        """Count a call. Returns the milliseconds that it has to wait. Raises ThrottledError: not counted."""
        wait_ms = self._paces.wait_ms(claim.outpost, now_ms)
        if wait_ms > self._longest_ms:
            raise ThrottledError(
                "this outpost calls more often than any outpost has to", retry_after_ms=1 + int(wait_ms)
            )
        self._paces.strike(claim.outpost, now_ms, cost)
        return wait_ms

    def refused(self, claim: Claim, now_ms: float) -> None:
        """The identity behind a call was refused: it may not ask again soon, and that costs nobody else anything."""
        self._paces.strike(claim.outpost, now_ms, self._paces.rate.burst / REFUSALS_AT_ONCE)


class Places:
    """What a stream took; given back when its identity is refused."""

    __slots__ = ("_taken",)

    def __init__(self, *taken: Pace) -> None:
        self._taken = taken

    def give_back(self) -> None:
        """As if it had never come."""
        for pace in self._taken:
            pace.give_back()
        self._taken = ()


class _Org:
    """What is known of an org's streams."""

    __slots__ = ("given_ms", "limit", "quota", "share")

    def __init__(self, limit: int, share: int) -> None:
        self.limit = limit
        self.quota = Pace(Rate.within(limit))
        self.share = Pace(Rate.within(share))
        self.given_ms = 0.0  # the latest moment that a refused outpost of it was given


class Admission:
    """New streams of a replica: so many in whatever second, of one org, and of one outpost.

    One outpost comes first: whoever comes again and again is refused before it costs others anything. Then the org. It
    may take every place that nobody else asks for. When others ask, those that have not had their share (a quarter of
    all places) go first: half of what may come at once is kept for them.

    Args:
        limit: streams in a second.
        limit_of: org -> streams of that org in a second.
    """

    def __init__(self, limit: int, limit_of: Callable[[str], int]) -> None:
        self._limit = limit
        self._limit_of = limit_of
        self._all = Pace(Rate.within(limit))
        self._outposts = CallPace(STREAMS, 0.0)
        self._orgs: dict[str, _Org] = {}  # the one that asked longest ago first
        self._asked = self._asked_before = ("", float("-inf"))  # the two orgs that asked last, and when
        self._waiting, self._counted_ms = 1, float("-inf")

    def admit(self, claim: Claim, now_ms: float) -> Places:
        """Count a stream.

        Raises:
            ThrottledError: too many; it says when to come back.
        """
        self._outposts.take(claim, now_ms)
        org = self._org(claim.org)
        others_ask, is_light = self._others_ask(claim.org, now_ms), not org.share.wait_ms(now_ms)
        kept = self._all.rate.burst // 2 if others_ask and not is_light else 0
        all_wait, own_wait = self._all.wait_ms(now_ms, kept), org.quota.wait_ms(now_ms)
        if not all_wait and not own_wait:
            taken = (self._all, org.quota, org.share) if is_light else (self._all, org.quota)
            for pace in taken:
                pace.take(now_ms)
            return Places(*taken)
        given = max(org.quota.give(now_ms) if own_wait else 0, self._moment(org, now_ms, all_wait) if all_wait else 0)
        raise ThrottledError(
            "more outposts connect at once than this control plane takes",
            next_step="nothing: the outpost comes back by itself",
            retry_after_ms=given,
        )

    def refused(self, claim: Claim, now_ms: float) -> None:
        """The identity behind a stream was refused."""
        self._outposts.refused(claim, now_ms)

    def _moment(self, org: _Org, now_ms: float, wait_ms: float) -> int:
        """When a refused outpost may come: orgs whose outposts wait share what comes free evenly."""
        if now_ms - self._counted_ms > COUNT_MS:
            self._waiting = max(1, sum(each.given_ms > now_ms for each in self._orgs.values()))
            self._counted_ms = now_ms
        after = org.given_ms + self._all.rate.interval_ms * self._waiting
        org.given_ms = min(max(now_ms + wait_ms, after), now_ms + LONGEST_WAIT_MS)
        return max(1, round(org.given_ms - now_ms))

    def _others_ask(self, name: str, now_ms: float) -> bool:
        if self._asked[0] != name:
            self._asked_before = self._asked
        self._asked = (name, now_ms)
        return now_ms - self._asked_before[1] < ASKING_MS

    def _org(self, name: str) -> _Org:
        limit = min(self._limit, self._limit_of(name))
        known = self._orgs.pop(name, None)
        if known is None or known.limit != limit:
            known = _Org(limit, max(1, self._limit // SHARES))
        self._orgs[name] = known
        while len(self._orgs) > KEPT_SOURCES:
            del self._orgs[next(iter(self._orgs))]
        return known


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
