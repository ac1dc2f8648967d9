"""Audit logs of the outposts of one org."""

from collections.abc import Sequence
from typing import Protocol

from controlplane.domain.records import LogHead


class AuditEntries(Protocol):
    """Audit logs of the outposts of one org: exact bytes and leaf hashes."""

    async def head(self, outpost_id: str) -> LogHead | None:
        """What is held."""
        ...

    async def save_head(self, head: LogHead) -> None:
        """Replace what is held."""
        ...

    async def append(self, outpost_id: str, first: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> None:
        """Add entries and their leaf hashes at ``first``, which is the size held."""
        ...

    async def add_tile(self, outpost_id: str, index: int, root: bytes) -> None:
        """Keep the subtree root of a full tile."""
        ...

    async def tiles(self, outpost_id: str, count: int) -> tuple[bytes, ...]:
        """Subtree roots of the first ``count`` tiles."""
        ...

    async def leaves(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Leaf hashes from ``first``."""
        ...

    async def entries(self, outpost_id: str, first: int, count: int) -> tuple[bytes, ...]:
        """Exact entries from ``first``."""
        ...

    async def keep_checkpoint(self, outpost_id: str, size: int, cosigned: bytes, now_ms: int) -> None:
        """Keep a cosigned checkpoint for ever."""
        ...

    async def checkpoints(self, outpost_id: str) -> tuple[tuple[int, bytes], ...]:
        """All cosigned checkpoints, by size."""
        ...

    async def keep_refusal(self, outpost_id: str, status: int, size: int, now_ms: int) -> None:
        """Keep that the witness refused an upload."""
        ...

    async def refusals(self, outpost_id: str) -> tuple[tuple[int, int, int], ...]:
        """(status, size, time) of refusals, newest first."""
        ...
