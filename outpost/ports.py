"""What the rooms need from the world outside them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
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

    def uniform(self) -> float:
        """A number in [0, 1) for jitter."""
        ...


class Secrets(Protocol):
    """Local secrets by name: provider keys, the wrapping key."""

    def get(self, name: str) -> bytes:
        """The secret.

        Raises:
            SecretMissingError: no such secret here; the message names the place, never a value.
        """
        ...


class Ledger(Protocol):
    """The audit log as the data path sees it."""

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        """Append record bodies (canonical JSON without ``_seq``).

        Returns:
            Sequence numbers, once every record is on disk (fdatasync).

        Raises:
            StoreError: not durable; no effect may follow.
        """
        ...


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call to a provider."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_seconds: float
    read_timeout_seconds: float


class UpstreamResponse(Protocol):
    """Head of a provider's reply; the body follows in pieces."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they arrive; raises PeerError leaves on time-out, reset or too much."""
        ...

    async def close(self) -> None:
        """Let the connection go."""
        ...


class Upstream(Protocol):
    """The way to providers."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send and wait for the head.

        Raises:
            PeerError: connect failed, reset, or time-out before the head.
        """
        ...


@dataclass(frozen=True, slots=True)
class OrgHealth:
    """What the agent knows of one org and workers do not: shown in health and status."""

    org: str
    state: str
    functions: Mapping[str, str] = field(default_factory=dict)  # function -> "ok" or an error code
    certificate_expires_ms: int = 0
    last_contact_ms: int = 0
