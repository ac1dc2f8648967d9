"""Deltas between files of signed sets: made once for each pair of files, few at a time, and kept for a while."""

import asyncio

from controlplane.domain.offers import DeltaPair
from controlplane.ports.store import Store
from outpost.core.bundle import limits
from outpost.core.bundle.delta import make_delta

KEPT_DELTAS = 256  # of all orgs, the oldest go first; each has at most 64 KiB
MAKERS = 2  # deltas that are made at the same time: one of 16 MiB takes a core for 0.14 s, and 50 MiB beside both files


class Deltas:
    """Frames by org, old and new hash."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[tuple[str, bytes, bytes], bytes | None] = {}
        self._turn = asyncio.Semaphore(MAKERS)

    async def of(self, org: str, pair: DeltaPair) -> bytes | None:
        """The frame that makes the new file of the old one; None when it is not worth it, or no set had the old one."""
        key = (org, pair.old_sha256, pair.new_sha256)
        if key in self._made:
            return self._made[key]
        async with self._turn:
            if key in self._made:
                return self._made[key]
            old, new = await self._bytes(org, pair.old_sha256), await self._bytes(org, pair.new_sha256)
            frame = None
            if old is not None and new is not None:
                frame = await asyncio.to_thread(make_delta, old, new)
            self._made[key] = frame
            while len(self._made) > KEPT_DELTAS:
                del self._made[next(iter(self._made))]
            return frame

    async def _bytes(self, org: str, sha256: bytes) -> bytes | None:
        async with self._store.for_org(org).read() as transaction:
            size = await transaction.releases.size_of(sha256)
            if size is None or size > limits.MAX_DELTA_FILE_BYTES:
                return None
            return await transaction.releases.part(sha256, 0, size)
