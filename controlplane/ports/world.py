"""Time and chance."""

from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...


class Chance(Protocol):
    """Randomness."""

    def token_bytes(self, size: int) -> bytes:
        """``size`` bytes fit for secrets."""
        ...
