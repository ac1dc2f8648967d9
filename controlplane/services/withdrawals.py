"""Identities that end, and the list by which every outpost of the org is told: ``access/revocations.json``.

Both are one transaction. An identity ends even when the list cannot be signed (a key is not at hand): who is missing in
the list is added by maintenance, whatever process left him out.
"""

from collections.abc import Sequence

from certs.errors import TrustError
from controlplane import telemetry
from controlplane.domain import outposts, releases
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.sets import current_set, keep_set, repository_of
from outpost.core.bundle import names
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.revocations import LOCKED, REVOKED, RevokedOutpost, parse_revocations
from outpost.core.errors import OutpostError


class Withdrawals:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def revoke(self, org: str, name_or_id: str, reason: str) -> Outpost:
        """Revoke an outpost for ever, and tell every outpost of the org.

        Raises:
            OutpostUnknownError: no such outpost.
            StateError: the store failed; nothing happened.
        """
        async with self._store.for_org(org).write() as transaction:
            outpost = await transaction.outposts.find(name_or_id)
            revoked = outposts.revoked(outpost, reason, self._clock.now_ms())
            await transaction.outposts.save(revoked)
            try:
                await self._list(transaction, [revoked])
            except (ControlPlaneError, TrustError, OutpostError) as error:
                telemetry.log(
                    telemetry.Event.MAINTENANCE_FAILED, level=40, org=org, kind="revocations", code=error.code
                )
        return revoked

    async def reconcile(self, org: str) -> bool:
        """Add to the list who is missing there.

        Returns:
            Whether anybody was.

        Raises:
            StateError: the store failed, or the list cannot be signed.
        """
        space = self._store.for_org(org)
        async with space.read() as transaction:
            ended = _to_be_listed(await transaction.outposts.ended())
            if not ended or await self._is_listed(transaction, ended):
                return False
        async with space.write() as transaction:
            return await self._list(transaction, _to_be_listed(await transaction.outposts.ended()))

    @staticmethod
    async def _is_listed(transaction: OrgTransaction, ended: Sequence[Outpost]) -> bool:
        """Whether the list names them all; only its own file is read for that."""
        newest = await transaction.releases.newest()
        file = next((each for each in newest.files if each.name == names.REVOCATIONS_PATH), None) if newest else None
        if file is None:
            return False
        body = await transaction.releases.part(file.sha256, 0, file.size)
        listed = {each.id: each for each in parse_revocations(body, transaction.org).outposts}
        wanted = map(gone, ended)
        return all(
            each.id in listed
            and listed[each.id].join_sequence >= each.join_sequence
            and (each.kind == LOCKED or listed[each.id].kind == REVOKED)
            for each in wanted
        )

    async def _list(self, transaction: OrgTransaction, ended: Sequence[Outpost]) -> bool:
        """Sign a set whose list names them. Returns whether that was needed."""
        number, current = await current_set(transaction)
        changes = releases.with_revoked(read_documents(current.targets, transaction.org), map(gone, ended))
        if not changes:
            return False
        now_ms = self._clock.now_ms()
        signed = (await repository_of(transaction)).publish(current, changes, now_ms)
        await keep_set(transaction, transaction.org, signed, number + 1, now_ms)
        return True


def gone(outpost: Outpost) -> RevokedOutpost:
    """How the list names an outpost that lost its identity."""
    kind = REVOKED if outpost.state is OutpostState.REVOKED else LOCKED
    return RevokedOutpost(outpost.id, kind, outpost.join_sequence)


def _to_be_listed(ended: Sequence[Outpost]) -> list[Outpost]:
    """Who was revoked or ordered to wipe; a lock for a clone's trace alone is told to whoever holds the identity."""
    return [each for each in ended if each.state is OutpostState.REVOKED or each.lock_order]
