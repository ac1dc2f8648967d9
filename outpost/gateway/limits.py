"""How much a caller may ask for: requests per minute and key, requests in flight, time for a body."""

import math
from dataclasses import dataclass

from outpost.core.errors import DeniedError, InternalError, RequestError

MAX_IN_FLIGHT = 1_024  # requests at one time in one worker; beyond, the event loop's queue is the bottleneck
BODY_SECONDS = 30.0  # a whole request body; slow senders hold memory
REPLY_SECONDS = 600.0  # a whole answer, streamed or not; the official clients' own default
MAX_BUCKETS = 200_000  # keys with a recent request; twice the keys of the largest access document


class RequestLimitError(DeniedError):
    """The key used up its requests per minute."""

    code = "limit.requests"
    fatal = False

    def __init__(self, limit: int, reset_seconds: int) -> None:
        super().__init__(
            f"more than {limit} requests per minute",
            field="requests_per_minute",
            next_step=f"try again in {reset_seconds} s",
        )
        self.limit = limit
        self.reset_seconds = reset_seconds


class OverloadedError(InternalError):
    """More requests in flight than this worker takes."""

    code = "outpost.overloaded"
    fatal = False


class BodyTimeoutError(RequestError):
    """The body did not arrive in time."""

    code = "body.timeout"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RequestRate:
    """Token buckets per org and key: a minute's allowance at most at once, refilled evenly.

    Args:
        share: workers that serve the same port; each grants its part, so that all together keep the limit.
    """

    def __init__(self, share: int = 1) -> None:
        self._share = max(1, share)
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, who: tuple[str, str], per_minute: int, now: float) -> None:
        """Count one request.

        Args:
            who: org and key id.
            per_minute: allowance; 0 = no limit.
            now: monotonic seconds.

        Raises:
            RequestLimitError: none left; says when.
        """
        if per_minute == 0:
            return
        size = max(1.0, per_minute / self._share)
        bucket = self._buckets.get(who)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[who] = _Bucket(size, now)
        rate = size / 60
        bucket.tokens = min(size, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        if bucket.tokens < 1:
            raise RequestLimitError(per_minute, math.ceil((1 - bucket.tokens) / rate))
        bucket.tokens -= 1

    def _make_room(self, now: float) -> None:
        """Forget buckets that are full again; keys come from signed documents, so this seldom happens."""
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {who: bucket for who, bucket in self._buckets.items() if now - bucket.filled_at < 60}


class InFlight:
    """Counts the requests being served; a context manager around each."""

    def __init__(self, limit: int = MAX_IN_FLIGHT) -> None:
        self.limit = limit
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self.limit:
            raise OverloadedError(f"more than {self.limit} requests are being served", next_step="try again shortly")
        self.count += 1

    def __exit__(self, *_error: object) -> None:
        self.count -= 1
