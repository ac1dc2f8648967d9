"""Keys that sign access tokens: which one signs, and which are believed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DAY_MS: Final = 86_400_000
LIFE_MS: Final = 30 * DAY_MS  # a new key signs after so long, by itself
LEAD_MS: Final = 5_000  # a new key is known for so long before it signs: other replicas read it meanwhile


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key for access tokens.

    Attributes:
        number: from 1; a higher one is newer.
        public_key: 32 bytes.
        created_ms: Unix milliseconds; it signs soon after.
    """

    number: int
    public_key: bytes
    created_ms: int

    @property
    def kid(self) -> str:
        """Key id in tokens: 16 hex digits of the public key's SHA-256."""
        return hashlib.sha256(self.public_key).hexdigest()[:16]


def current(keys: Sequence[SigningKey], now_ms: int) -> SigningKey:
    """The key that signs now: the newest that everybody knows. ``keys`` has at least one."""
    begun = [key for key in keys if key.created_ms + LEAD_MS <= now_ms]
    return max(begun, key=lambda key: key.number) if begun else min(keys, key=lambda key: key.number)


def believed(keys: Sequence[SigningKey], now_ms: int, overlap_ms: int) -> tuple[SigningKey, ...]:
    """Keys whose tokens may still live: the newest, and each whose successor is younger than the overlap.

    Args:
        keys: all, by number.
        now_ms: Unix milliseconds.
        overlap_ms: longest life of a token, with the skew between replicas; the lead comes on top of it.
    """
    ordered = sorted(keys, key=lambda key: key.number)
    ends = [following.created_ms + LEAD_MS + overlap_ms for following in ordered[1:]]
    return tuple(key for key, end in zip(ordered, [*ends, now_ms + 1], strict=True) if now_ms < end)
