"""Deltas between files of signed sets: made once for each pair of files, few at a time, and kept for a while."""

import asyncio

from controlplane.domain.offers import DeltaPair
from controlplane.ports.store import Store
from outpost.core.bundle import limits
from outpost.core.bundle.delta import make_delta

KEPT_DELTAS = 256  # of all orgs, each of at most 64 KiB; whoever has most of them gives up its oldest
MAKERS = 2  # deltas that are made at the same time: one of 16 MiB takes a core for 0.14 s, and 50 MiB beside both files


class Deltas:
    """Frames by org, old and new hash."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: dict[str, dict[tuple[bytes, bytes], bytes | None]] = {}
        self._turn = asyncio.Semaphore(MAKERS)

    async def of(self, org: str, pair: DeltaPair) -> bytes | None:
        """The frame that makes the new file of the old one; None when it is not worth it, or no set had the old one.

        What an outpost says that it holds is unchecked, so nothing is kept of, and no other file is read for, what no
        set of the org ever had.
        """
        key = (pair.old_sha256, pair.new_sha256)
        if (made := self._made.get(org, {})) and key in made:
            return made[key]
        async with self._turn:
            if (made := self._made.get(org, {})) and key in made:
                return made[key]
            old = await self._bytes(org, pair.old_sha256)
            if old is None:
                return None
            new = await self._bytes(org, pair.new_sha256)
            frame = await asyncio.to_thread(make_delta, old, new) if new is not None else None
            self._keep(org, key, frame)
            return frame

    def _keep(self, org: str, key: tuple[bytes, bytes], frame: bytes | None) -> None:
        self._made.setdefault(org, {})[key] = frame
        while sum(map(len, self._made.values())) > KEPT_DELTAS:
            most = max(self._made.values(), key=len)
            del most[next(iter(most))]

    async def _bytes(self, org: str, sha256: bytes) -> bytes | None:
        async with self._store.for_org(org).read() as transaction:
            size = await transaction.releases.size_of(sha256)
            if size is None or size > limits.MAX_DELTA_FILE_BYTES:
                return None
            return await transaction.releases.part(sha256, 0, size)
