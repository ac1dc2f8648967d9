"""Heartbeats: the newest of each connected outpost in memory; stored now and then, and whenever the state changes."""

from collections.abc import Mapping

import orjson

from controlplane.domain.records import Heartbeat
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.words import Words

TOLD_AT_ONCE = ("state", "health", "active_revision", "release")


class _Known:
    """The newest heartbeat of a connected outpost, and what of it is stored. Thousands are held, so they are packed."""

    __slots__ = ("packed", "seen_ms", "stored_ms", "told")

    def __init__(self) -> None:
        self.packed = b""  # JSON; empty when it is stored
        self.seen_ms = 0
        self.stored_ms = 0
        self.told = 0  # digest of what is told at once


class Presence:
    """Newest heartbeats.

    Args:
        write_every_ms: between two stored heartbeats of an outpost whose state does not change.
    """

    def __init__(self, words: Words, clock: Clock, write_every_ms: int) -> None:
        self._words = words
        self._clock = clock
        self._write_every_ms = write_every_ms
        self._known: dict[str, dict[str, _Known]] = {}

    def heard(self, principal: Principal, status: Mapping[str, object]) -> None:
        """Keep a heartbeat."""
        known = self._known.setdefault(principal.org, {}).setdefault(principal.outpost_id, _Known())
        known.packed = orjson.dumps(status)
        known.seen_ms = self._clock.now_ms()
        told = hash(orjson.dumps([status.get(name) for name in TOLD_AT_ONCE]))
        if known.told != told or known.seen_ms - known.stored_ms >= self._write_every_ms:
            known.told = told
            self._store(principal, known)

    def left(self, principal: Principal) -> None:
        """The stream ended: store the last word."""
        org = self._known.get(principal.org)
        if org is None:
            return
        known = org.pop(principal.outpost_id, None)
        if not org:
            del self._known[principal.org]
        if known is not None and known.packed:
            self._store(principal, known)

    def count(self) -> int:
        """Outposts whose heartbeat is held."""
        return sum(map(len, self._known.values()))

    def _store(self, principal: Principal, known: _Known) -> None:
        self._words.beat(principal.org, Heartbeat(principal.outpost_id, orjson.loads(known.packed), known.seen_ms))
        known.stored_ms = known.seen_ms
        known.packed = b""
