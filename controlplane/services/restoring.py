"""Fills an empty store with a backup, and makes a control plane of it that outposts believe.

A database that is merely put back signs versions that outposts have seen before, with other content: they refuse that.
So every org is settled before anything serves: its configuration is signed again under versions that are higher by
2^20 than those of the backup, its release too; what may have been spent, decided or used up since the backup is void;
and the org remembers from when its data is (``domain.restorations``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.domain import releases
from controlplane.domain.acts import Act
from controlplane.domain.backup_items import Row, Section
from controlplane.domain.backups import BackupReader, Manifest
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.restorations import Restoration, RestoredOrg
from controlplane.domain.returned import digest_of
from controlplane.ports.backup import Landing
from controlplane.ports.store import OrgTransaction, Store
from controlplane.services.acts import ActLog
from controlplane.services.payloads import ALL_ROLES, Layout, layout_of, stored
from controlplane.services.repository import LEAP, Repository
from controlplane.services.sets import current_set, keep_set, repository_of, revision_of
from outpost.core.bundle import names
from outpost.core.bundle.reading import read_documents

BATCH_BYTES = 4 * 1024 * 1024  # of rows that are put into the store at once
BATCH_ROWS = 500
VOID = "the control plane was restored from a backup"


@dataclass(frozen=True, slots=True)
class SettledOrg:
    """An org after a restore.

    Attributes:
        revision: of the configuration that is offered now; empty for an org whose creation was never finished.
        elsewhere: roles whose keys are not here: what outposts saw of them is not overtaken.
        tokens: join tokens that are void now; so are approvals.
        outposts: how many are active.
    """

    org: str
    revision: str = ""
    elsewhere: tuple[str, ...] = ()
    tokens: int = 0
    approvals: int = 0
    outposts: int = 0


async def load(reader: BackupReader, landing: Landing) -> Manifest:
    """Put every row of a backup into an empty store.

    Raises:
        BackupError: the backup is not whole; the store is good for nothing then.
        StateError: the store does not take it.
    """
    batch: list[Row] = []
    held: Section | None = None
    size = 0
    for section, row in reader.rows():
        if row is None:
            await _put(landing, held, batch)
            landing.require(section)
            held, batch, size = section, [], 0
            continue
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            await _put(landing, held, batch)
            batch, size = [], 0
    await _put(landing, held, batch)
    return reader.manifest


async def _put(landing: Landing, section: Section | None, rows: Sequence[Row]) -> None:
    if section is not None and rows:
        await landing.put(section, rows)


class Settler:
    """Makes loaded data a control plane.

    Args:
        store: loaded.
        acts: of the same store; each org has it on record that it was restored.
    """

    def __init__(self, store: Store, acts: ActLog) -> None:
        self._store = store
        self._acts = acts

    async def settle(self, restoration: Restoration, act: Act) -> tuple[SettledOrg, ...]:
        """Settle every org, and note the restoration.

        Args:
            restoration: this one.
            act: what is put on record in each org's log and in the operator's.
        """
        settled = []
        for org in await self._store.orgs():
            async with self._store.for_org(org.id).write() as transaction:
                settled.append(await self._org(transaction, restoration, ready=org.ready))
                await self._acts.append(transaction, replace(act, org=org.id))
        async with self._store.for_org(OPERATOR).write() as transaction:
            await transaction.approvals.withdraw_all(VOID, restoration.restored_ms)
            await self._acts.append(transaction, replace(act, org=OPERATOR))
        await self._store.restorations.add(restoration)
        return tuple(settled)

    async def _org(self, transaction: OrgTransaction, restoration: Restoration, *, ready: bool) -> SettledOrg:
        now_ms = restoration.restored_ms
        tokens = await transaction.tokens.void_all()
        approvals = await transaction.approvals.withdraw_all(VOID, now_ms)
        active = sum(each.state.value == "active" for each in await transaction.outposts.all())
        settled = SettledOrg(transaction.org, tokens=tokens, approvals=approvals, outposts=active)
        remembered = RestoredOrg(restoration.backup_ms, now_ms)
        if ready:
            settled, remembered = await self._leap(transaction, settled, remembered)
        await transaction.restored.put(remembered)
        return settled

    async def _leap(
        self, transaction: OrgTransaction, settled: SettledOrg, remembered: RestoredOrg
    ) -> tuple[SettledOrg, RestoredOrg]:
        """Sign the configuration under versions that no outpost has seen."""
        repository = await repository_of(transaction)
        number, current = await current_set(transaction)
        known = int(stored(current.metadata, names.TIMESTAMP).version)
        layout = layout_of(current.metadata)
        changes: releases.Changes = {}
        if repository.can_sign(layout[names.POLICY]) and repository.can_sign(layout[names.ROLLOUT]):
            changes = releases.leaped(current.targets, read_documents(current.targets, transaction.org), LEAP)
        signed = repository.leap(current, changes, LEAP, remembered.restored_ms)
        await keep_set(transaction, transaction.org, signed, number + 1, remembered.restored_ms)
        return (
            replace(
                settled,
                revision=revision_of(transaction.org, signed),
                elsewhere=elsewhere(repository, layout),
            ),
            replace(remembered, documents=digest_of(signed.targets), returned=known),
        )


def elsewhere(repository: Repository, layout: Layout) -> tuple[str, ...]:
    """Roles that cannot be signed with the keys that are here."""
    return tuple(role for role in ALL_ROLES if not repository.can_sign(layout[role]))
