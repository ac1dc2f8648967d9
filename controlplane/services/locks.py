"""Orders to wipe: signed by the org's access keys, sent to every holder of the identity whenever it comes.

That a holder says that it obeys is told to the operator, with its address, and ends nothing: two machines may hold one
identity, and the word of one says nothing of the other.

An order names the identity that is meant, up to its join sequence: sent again later, it means nothing to the identity
that enrolled since. At the control plane the outpost is locked at once, whether or not anybody hears the order.
"""

import re
from dataclasses import replace

from certs.keys import PublicKey
from controlplane import telemetry
from controlplane.domain import outposts
from controlplane.domain.errors import InputError, StateError
from controlplane.domain.outposts import Outpost
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.clones import Sighting
from controlplane.services.identity import Principal
from outpost.core.bundle import names
from outpost.core.bundle.lock import LockOrder, build_lock
from outpost.core.bundle.metadata import tuf_key_id

REASON = re.compile(r"[a-z][a-z0-9_.]{0,63}")
DEFAULT_REASON = "operator.lock"


class LockReasonError(InputError):
    """A reason that is no code."""

    code = "lock.reason"


class LockSignerError(StateError):
    """No key of the access role is at hand: nobody can sign an order."""

    code = "lock.signer"
    fatal = True


class Locks:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def order(self, org: str, name_or_id: str, reason: str = DEFAULT_REASON) -> Outpost:
        """Lock an outpost, and order it to wipe its keys, configuration and vault.

        Raises:
            OutpostUnknownError: no such outpost.
            OutpostPendingError: it never enrolled.
            LockReasonError: the reason is no code.
            LockSignerError: nobody can sign.
        """
        checked_reason(reason)
        async with self._store.for_org(org).write() as transaction:
            outpost = await transaction.outposts.find(name_or_id)
            ordered = await self._ordered(transaction, outpost, reason)
            await transaction.outposts.save(ordered)
        self._log(org, ordered)
        return ordered

    async def order_all(self, org: str, reason: str = DEFAULT_REASON) -> tuple[Outpost, ...]:
        """Lock every outpost of an org that has an identity; two persons must have said so. Raises as ``order``."""
        checked_reason(reason)
        ordered = []
        async with self._store.for_org(org).write() as transaction:
            for outpost in await transaction.outposts.all():
                if outpost.serial:
                    ordered.append(await self._ordered(transaction, outpost, reason))
                    await transaction.outposts.save(ordered[-1])
        for outpost in ordered:
            self._log(org, outpost)
        return tuple(ordered)

    async def confirmed(self, principal: Principal, sighting: Sighting) -> None:
        """A holder of the identity said that it obeys; the first one that does is kept."""
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            if not outpost.lock_order:
                return
            if outpost.is_order_out:
                await transaction.outposts.save(replace(outpost, lock_confirmed_ms=self._clock.now_ms()))
        telemetry.log(
            telemetry.Event.LOCK_CONFIRMED,
            org=principal.org,
            outpost=principal.outpost_id,
            serial=principal.serial,
            source=sighting.source,
            boot=sighting.boot_id,
        )

    async def _ordered(self, transaction: OrgTransaction, outpost: Outpost, reason: str) -> Outpost:
        now_ms = self._clock.now_ms()
        locked = outposts.locked(outpost, reason, now_ms)
        signers = (await transaction.role_keys.all()).get(names.ACCESS, ())
        if not signers:
            raise LockSignerError(
                "no key of the access role is at hand, so no order can be signed",
                field="access",
                next_step="restore the keys of the org, or rotate them: controlplane root rotate access",
            )
        sequence = locked.join_sequence + (1 if locked.next_serial else 0)
        data = build_lock(LockOrder(transaction.org, locked.id, sequence, now_ms, reason))
        signatures = tuple((_key_id(signer.public_key()), signer.sign(data).hex()) for signer in signers)
        return replace(locked, lock_order=data.decode(), lock_signatures=signatures, lock_confirmed_ms=0)

    @staticmethod
    def _log(org: str, outpost: Outpost) -> None:
        telemetry.log(telemetry.Event.LOCK_ORDERED, level=30, org=org, outpost=outpost.id, code=outpost.reason)


def checked_reason(reason: str) -> str:
    """A reason as an order carries it, or LockReasonError."""
    if REASON.fullmatch(reason) is None:
        raise LockReasonError(
            "a reason is a code of 1 to 64 lower-case letters, digits, dots or underlines",
            field="reason",
            next_step="write for example operator.lock or machine.stolen",
        )
    return reason


def _key_id(key: PublicKey) -> str:
    return tuf_key_id(key.public_bytes_raw())  # type: ignore[union-attr]  # keys of roles are Ed25519
