"""Time and chance of the real world."""

import random
import secrets
import time


class SystemClock:
    """``ports.Clock`` over the machine's clocks."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()


class SystemChance:
    """``ports.Chance``: the kernel's randomness for secrets, a fast generator for jitter."""

    def token_bytes(self, size: int) -> bytes:
        """Bytes fit for secrets."""
        return secrets.token_bytes(size)

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret
