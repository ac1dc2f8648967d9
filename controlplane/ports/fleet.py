"""Outposts of one org, and what lets them in."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from controlplane.domain.join import JoinToken
from controlplane.domain.outposts import Outpost
from controlplane.domain.quotas import Quotas
from controlplane.domain.records import CertificateRecord, Heartbeat
from outpost.core.bundle.access import ClientKey


class Outposts(Protocol):
    """Outposts of one org."""

    async def add(self, outpost: Outpost) -> None:
        """Insert. Raises OutpostExistsError: the name is taken."""
        ...

    async def save(self, outpost: Outpost) -> None:
        """Replace the row of ``outpost.id``; nothing happens when there is none."""
        ...

    async def get(self, outpost_id: str) -> Outpost:
        """By id. Raises OutpostUnknownError."""
        ...

    async def named(self, name: str) -> Outpost | None:
        """By name, whatever its state."""
        ...

    async def find(self, name_or_id: str) -> Outpost:
        """By name or id. Raises OutpostUnknownError."""
        ...

    async def some(self, outpost_ids: Collection[str]) -> tuple[Outpost, ...]:
        """Those of these ids that exist, in order of registration: what a reader of the change feed asks for."""
        ...

    async def all(self) -> tuple[Outpost, ...]:
        """In order of registration."""
        ...

    async def ended(self) -> tuple[Outpost, ...]:
        """Those that are revoked or locked, in order of registration."""
        ...

    async def status(self, outpost_id: str) -> Mapping[str, object]:
        """The newest heartbeat, plain JSON; empty when there was none."""
        ...

    async def statuses(self) -> Mapping[str, Mapping[str, object]]:
        """The newest heartbeat of each outpost that sent one, by id."""
        ...

    async def keep_statuses(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Keep the newest heartbeat of each outpost, many at once; those of outposts that are not here are dropped."""
        ...


class Tokens(Protocol):
    """Join tokens of one org."""

    async def add(self, token: JoinToken) -> None:
        """Insert."""
        ...

    async def match(self, digest: str) -> JoinToken | None:
        """The row with this keyed hash."""
        ...

    async def spend(self, token: JoinToken, csr_sha256: str, serial: str, now_ms: int) -> bool:
        """Compare-and-set: true when the token was unspent and alive, and is now this request's."""
        ...

    async def void(self, outpost_id: str) -> int:
        """End every unspent token of an outpost at once.

        Returns:
            How many there were.
        """
        ...

    async def void_all(self) -> int:
        """End every unspent token of the org at once.

        Returns:
            How many there were.
        """
        ...


class Certificates(Protocol):
    """Issuances of one org."""

    async def intend(self, record: CertificateRecord) -> None:
        """Record what is about to be signed."""
        ...

    async def complete(self, serial: str, leaf_der: bytes) -> bytes:
        """Keep the leaf unless one is there already.

        Returns:
            The leaf that counts.
        """
        ...

    async def get(self, serial: str) -> CertificateRecord | None:
        """By serial."""
        ...

    async def answered(self, outpost_id: str, csr_sha256: str) -> CertificateRecord | None:
        """The newest one that was recorded for this very request of an outpost."""
        ...

    async def count_since(self, outpost_id: str, since_s: int) -> int:
        """How many an outpost was issued since a moment, Unix seconds."""
        ...

    async def alive(self, now_s: int) -> tuple[CertificateRecord, ...]:
        """All of the org that are not over, by outpost."""
        ...

    async def of_outpost(self, outpost_id: str) -> tuple[CertificateRecord, ...]:
        """Newest first."""
        ...


class ClientKeys(Protocol):
    """Client keys of one org."""

    async def add(self, key: ClientKey) -> None:
        """Insert. Raises KeyExistsError: a live key has the name."""
        ...

    async def revoke(self, name_or_id: str) -> ClientKey:
        """Mark as revoked. Raises KeyUnknownError."""
        ...

    async def all(self) -> tuple[ClientKey, ...]:
        """In order of creation."""
        ...


class QuotaRows(Protocol):
    """How much one org may use."""

    async def get(self) -> Quotas:
        """Those that were set; the defaults of ``domain.quotas`` for the rest."""
        ...

    async def put(self, quotas: Quotas) -> None:
        """Replace them. Raises QuotaInvalidError."""
        ...
