"""Counting failures by source: a fixed window in memory, bounded, with time as an argument."""

from controlplane.domain.errors import ThrottledError

WINDOW_MS = 60_000
BAD_TOKENS_PER_SOURCE = 10  # a minute; a person mistypes less, and 256-bit secrets cannot be guessed anyway
BAD_TOKENS_PER_ORG = 60  # a minute; beyond it only a matching secret is answered
KEPT_SOURCES = 4096  # counters in memory; the oldest go first


class Throttle:
    """Failures per key in the current window."""

    def __init__(self, limit: int, window_ms: int = WINDOW_MS, capacity: int = KEPT_SOURCES) -> None:
        self._limit = limit
        self._window_ms = window_ms
        self._capacity = capacity
        self._counts: dict[str, tuple[int, int]] = {}  # key -> (start of the window, failures), oldest first

    def strike(self, key: str, now_ms: int) -> None:
        """Count one failure."""
        start, count = self._counts.pop(key, (now_ms, 0))
        if now_ms - start >= self._window_ms:
            start, count = now_ms, 0
        self._counts[key] = (start, count + 1)
        while len(self._counts) > self._capacity:
            del self._counts[next(iter(self._counts))]

    def is_over(self, key: str, now_ms: int) -> bool:
        """Whether the key has used up its failures of this window."""
        start, count = self._counts.get(key, (now_ms, 0))
        return now_ms - start < self._window_ms and count >= self._limit


def throttled_error() -> ThrottledError:
    """The answer to a source that failed too often."""
    return ThrottledError(
        "too many refused join tokens from here within a minute", next_step="wait a minute, then try again"
    )
