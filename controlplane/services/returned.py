"""Takes up configuration that outposts give back to a control plane that was restored; the rules are in
``domain.returned``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controlplane import telemetry
from controlplane.domain import outposts, releases
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import OutpostState, OutpostUnknownError
from controlplane.domain.returned import (
    Returned,
    access_of,
    digest_of,
    missing_keys,
    read_returned,
    revoked_since,
    tightened,
)
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.payloads import ALL_ROLES, layout_of, stored
from controlplane.services.repository import Repository
from controlplane.services.sets import current_set, keep_set, repository_of, revision_of
from outpost.core.bundle import names
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.revocations import REVOKED
from outpost.core.errors import BundleError

REASON = "returned.configuration"  # why an outpost is revoked or locked that a returned set lists as such


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a returned set.

    Attributes:
        revision: of the configuration that is offered now; empty when nothing was taken up.
        whole: it took the place of what the backup had; else only what protects was taken over.
        code: of what was wrong with it, or empty.
    """

    revision: str = ""
    whole: bool = False
    code: str = ""


class Returns:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def missing(self, org: str, held: Mapping[str, bytes]) -> tuple[bytes, ...]:
        """Hashes of what an outpost holds and this control plane has not; none where nothing was ever restored.

        Args:
            org: org id.
            held: name of each file of the outpost's set to its SHA-256.
        """
        async with self._store.for_org(org).read() as transaction:
            if await transaction.restored.get() is None:
                return ()
            found = dict.fromkeys(held.values())
            return tuple([sha256 for sha256 in found if await transaction.releases.size_of(sha256) is None])

    async def take(self, org: str, held: Mapping[str, bytes], bodies: Mapping[bytes, bytes]) -> Taken:
        """Judge a set that an outpost gave back, and take it up.

        Args:
            org: org id.
            held: name of each of its files to its SHA-256.
            bodies: files that were not here, by SHA-256; their hashes were checked.
        """
        try:
            async with self._store.for_org(org).write() as transaction:
                taken = await self._judge(transaction, held, bodies)
        except (BundleError, ControlPlaneError) as error:
            telemetry.log(telemetry.Event.RETURNED_REFUSED, level=40, org=org, code=error.code)
            await self._note(org, error.code)
            return Taken(code=error.code)
        if taken.revision:
            telemetry.log(telemetry.Event.RETURNED_TAKEN, level=30, org=org, revision=taken.revision)
        return taken

    async def _judge(
        self, transaction: OrgTransaction, held: Mapping[str, bytes], bodies: Mapping[bytes, bytes]
    ) -> Taken:
        restored = await transaction.restored.get()
        if restored is None:
            return Taken()
        number, current = await current_set(transaction)
        returned = read_returned(await _assembled(transaction, held, bodies), current.metadata, transaction.org)
        if returned.timestamp <= restored.returned:
            return Taken()  # older than what is known already: all that protects in it is here
        whole = restored.documents == digest_of(current.targets)
        await self._withdraw(transaction, returned)
        signed = await self._signed(transaction, current, returned, whole=whole)
        now_ms = self._clock.now_ms()
        await keep_set(transaction, transaction.org, signed, number + 1, now_ms)
        after = replace(restored, returned=returned.timestamp, returned_ms=now_ms, problem="")
        await transaction.restored.put(replace(after, documents=digest_of(signed.targets)) if whole else after)
        return Taken(revision_of(transaction.org, signed), whole)

    async def _signed(
        self, transaction: OrgTransaction, current: SignedSet, returned: Returned, *, whole: bool
    ) -> SignedSet:
        """The next set: what was returned with what protects here on top, or the reverse."""
        org, repository = transaction.org, await repository_of(transaction)
        ours = read_documents(current.targets, org)
        base, content, other = (
            (returned.signed, returned.content, ours)
            if whole
            else (_with_roots(current, returned), ours, returned.content)
        )
        changes: dict[str, bytes | None] = dict(tightened(content, other))
        await self._keys(transaction, returned, whole=whole)
        keys = await transaction.keys.all()
        changes[names.KEYS_PATH] = access_of(org, keys, content.access.requests_per_minute)
        if whole and _can_release(repository, base):
            by = max(0, max(ours.releases) - max(content.releases)) + 1
            changes |= releases.leaped(base.targets, content, by)
        return repository.leap(base, changes, _ahead(current, base), self._clock.now_ms())

    async def _keys(self, transaction: OrgTransaction, returned: Returned, *, whole: bool) -> None:
        """Client keys that were made or revoked since the backup."""
        held, there = await transaction.keys.all(), returned.content.access.keys
        for key_id in revoked_since(held, there):
            await transaction.keys.revoke(key_id)
        for key in missing_keys(await transaction.keys.all(), there):
            if whole or key.revoked:
                await transaction.keys.add(key)

    async def _withdraw(self, transaction: OrgTransaction, returned: Returned) -> None:
        """Outposts that were revoked or locked since the backup."""
        now_ms = self._clock.now_ms()
        for entry in returned.content.revocations.outposts:
            try:
                outpost = await transaction.outposts.get(entry.id)
            except OutpostUnknownError:
                continue  # registered after the backup: it is unknown here, and refused for that
            if entry.kind == REVOKED:
                after = outposts.revoked(outpost, REASON, now_ms)
            elif outpost.state is OutpostState.ACTIVE and outpost.join_sequence <= entry.join_sequence:
                after = outposts.locked(outpost, REASON, now_ms)
            else:
                continue
            if after != outpost:
                await transaction.outposts.save(after)

    async def _note(self, org: str, code: str) -> None:
        """Remember what kept a returned set from being taken up: `status` shows it."""
        async with self._store.for_org(org).write() as transaction:
            restored = await transaction.restored.get()
            if restored is not None and restored.problem != code:
                await transaction.restored.put(replace(restored, problem=code))


async def _assembled(
    transaction: OrgTransaction, held: Mapping[str, bytes], bodies: Mapping[bytes, bytes]
) -> SignedSet:
    """The whole set: what was given back, and the files that are here."""
    found: dict[str, bytes] = {}
    for name, sha256 in held.items():
        if sha256 in bodies:
            found[name] = bodies[sha256]
        elif (size := await transaction.releases.size_of(sha256)) is not None:
            found[name] = await transaction.releases.part(sha256, 0, size)
    return SignedSet(
        metadata={name: data for name, data in found.items() if not names.role_of_target(name)},
        targets={name: data for name, data in found.items() if names.role_of_target(name)},
    )


def _with_roots(current: SignedSet, returned: Returned) -> SignedSet:
    """The set in force with the roots that followed its own."""
    roots = {name: data for name, data in returned.signed.metadata.items() if names.root_version(name)}
    return replace(current, metadata={**current.metadata, **roots})


def _can_release(repository: Repository, base: SignedSet) -> bool:
    layout = layout_of(base.metadata)
    return repository.can_sign(layout[names.POLICY]) and repository.can_sign(layout[names.ROLLOUT])


def _ahead(current: SignedSet, base: SignedSet) -> int:
    """By how much versions must rise over a base, so that each lies above the one in force."""
    roles = [role for role in ALL_ROLES if role != names.ROOT]
    gaps = [stored(current.metadata, role).version - stored(base.metadata, role).version for role in roles]
    return int(max(0, *gaps)) + 1
