"""Processes that serve one control plane side by side."""

from dataclasses import dataclass

REPLICA_ID_BYTES = 8  # 16 hex digits
BEAT_SECONDS = 10.0  # a serving replica says so this often
LOST_MS = 60_000  # one that was silent for six beats is gone; outposts are not sent there any more


@dataclass(frozen=True, slots=True)
class Replica:
    """One serving process.

    Attributes:
        id: 16 hex digits, new at each start.
        endpoint: host:port that outposts call.
        seen_ms: when it last said that it serves, Unix milliseconds.
    """

    id: str
    endpoint: str
    seen_ms: int
