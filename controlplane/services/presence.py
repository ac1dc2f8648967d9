"""Heartbeats: the newest of each outpost in memory; stored now and then, and whenever the state changes."""

from collections.abc import Mapping

from controlplane.domain.records import Heartbeat
from controlplane.ports.store import Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal

SCOPE = "presence"  # heartbeats wait for nothing but each other
TOLD_AT_ONCE = ("state", "health", "active_revision")


class Presence:
    """Newest heartbeats.

    Args:
        write_every_ms: between two stored heartbeats of an outpost whose state does not change.
    """

    def __init__(self, store: Store, clock: Clock, write_every_ms: int) -> None:
        self._store = store
        self._clock = clock
        self._write_every_ms = write_every_ms
        self._newest: dict[tuple[str, str], Heartbeat] = {}
        self._written: dict[tuple[str, str], Heartbeat] = {}

    async def heard(self, principal: Principal, status: Mapping[str, object]) -> None:
        """Keep a heartbeat."""
        key = (principal.org, principal.outpost_id)
        beat = Heartbeat(principal.outpost_id, status, self._clock.now_ms())
        self._newest[key] = beat
        last = self._written.get(key)
        if last is None or self._tells_more(last, beat):
            await self._write(key, beat)

    async def left(self, principal: Principal) -> None:
        """The stream ended: store the last word."""
        key = (principal.org, principal.outpost_id)
        beat = self._newest.pop(key, None)
        if beat is not None and self._written.get(key) is not beat:
            await self._write(key, beat)

    def _tells_more(self, last: Heartbeat, beat: Heartbeat) -> bool:
        if beat.seen_ms - last.seen_ms >= self._write_every_ms:
            return True
        return any(last.status.get(name) != beat.status.get(name) for name in TOLD_AT_ONCE)

    async def _write(self, key: tuple[str, str], beat: Heartbeat) -> None:
        self._written[key] = beat
        async with self._store.for_org(key[0]).write(SCOPE) as transaction:
            await transaction.outposts.keep_statuses([beat])
