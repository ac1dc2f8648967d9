"""Locks an identity when a superseded holder of it proves that it lives: see ``domain.boots`` and ``domain.clones``.

The proof itself, a fresh nonce that comes back on the very stream, is the business of whoever holds the stream.
"""

from dataclasses import dataclass

from controlplane.domain import boots, outposts, renewals, restorations
from controlplane.domain.boots import Start
from controlplane.domain.clones import CloneTrace, cloned
from controlplane.domain.errors import NotFoundError, RefusedError
from controlplane.domain.outposts import Outpost
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.renew import log_clone


@dataclass(frozen=True, slots=True)
class Sighting:
    """A holder of an identity that lives.

    Attributes:
        boot_id: its start.
        source: its address.
    """

    boot_id: str
    source: str


class Clones:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def is_retired(self, principal: Principal) -> bool:
        """Whether a certificate that is refused was replaced by another one since the newest enrollment."""
        async with self._store.for_org(principal.org).read() as transaction:
            try:
                outpost = await transaction.outposts.get(principal.outpost_id)
            except NotFoundError:
                return False
            return await self._is_retired(transaction, outpost, principal)

    async def found(self, principal: Principal, sighting: Sighting) -> RefusedError:
        """Lock the identity, unless what was seen is no trace any more.

        Returns:
            The refusal that the holder gets.
        """
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            trace = await self._trace(transaction, outpost, principal, sighting.boot_id)
            if trace is None:
                return boots.earlier_error()
            sources = (outpost.boot_source, sighting.source)
            after = cloned(outpost, trace, principal.serial, sources, self._clock.now_ms())
            await transaction.outposts.save(after)
        if after != outpost:
            log_clone(principal.org, after)
        return outposts.ended_error(after)

    async def _is_retired(self, transaction: OrgTransaction, outpost: Outpost, principal: Principal) -> bool:
        """On record as replaced, or after a restore not on record while another one of that time is in use."""
        record = await transaction.certificates.get(principal.serial)
        if record is not None:
            return renewals.is_retired(outpost, record)
        restored = await transaction.restored.get()
        may_claim = restorations.may_claim(outpost, principal.not_before_ms, restored, self._clock.now_ms())
        return may_claim and restored is not None and restorations.is_adopted(outpost, restored)

    async def _trace(
        self, transaction: OrgTransaction, outpost: Outpost, principal: Principal, boot_id: str
    ) -> CloneTrace | None:
        if await self._is_retired(transaction, outpost, principal):
            return CloneTrace.RETIRED_CERTIFICATE
        if boots.judge(outpost, boot_id) is Start.EARLIER:
            return CloneTrace.EARLIER_START
        return None
