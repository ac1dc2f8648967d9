"""Signatures that are not made here: proposals go out as files, come back signed, and are published.

Keys of root, targets and policy may be the customer's. What the control plane holds it signs itself; when that is
enough, a change of keys happens at once, else a file is written for the others. The policy of an org whose policy keys
are elsewhere waits as a draft until they have signed it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from controlplane.domain import releases
from controlplane.domain.ceremony import KEYS, RELEASE, Ceremony
from controlplane.domain.ceremony_reading import read_ceremony, require_summary
from controlplane.domain.errors import InputError, NotFoundError
from controlplane.domain.outlook import RoleOutlook, outlook
from controlplane.domain.summary import summarise
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.payloads import ALL_ROLES, layout_of, stored
from controlplane.services.plans import Planner
from controlplane.services.repository import ROOT_THRESHOLD, Repository
from controlplane.services.sets import Published, current_set, keep_set, repository_of, revision_of
from outpost.core.bundle import limits, names
from outpost.core.bundle.metadata import TOP_LEVEL, tuf_key_id
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import RoleKeys as Authority
from outpost.core.bundle.release import SignedSet


class ProposalError(InputError):
    """A proposal that changes nothing, or a threshold that the keys cannot reach."""

    code = "ceremony.proposal"


class DraftMissingError(NotFoundError):
    """No draft of this org waits for signatures."""

    code = "release.no_draft"


@dataclass(frozen=True, slots=True)
class KeyProposal:
    """Which roles shall have which keys.

    Attributes:
        keys: role name to all of its public keys from then on, 32 bytes each; other roles keep theirs.
        thresholds: role name to the number of keys that must sign; other roles keep theirs.
        renewed: roles to be signed again although nothing of theirs changes: their time runs out.
    """

    keys: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, int] = field(default_factory=dict)
    renewed: frozenset[str] = frozenset()


class Ceremonies:
    """The use case."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._planner = Planner(store, clock)

    async def outlook(self, org: str) -> tuple[RoleOutlook, ...]:
        """What expires when, and who must sign."""
        async with self._store.for_org(org).read() as transaction:
            _, current = await current_set(transaction)
            repository = await repository_of(transaction)
        layout, expiries = layout_of(current.metadata), repository.expiries(current)
        here = {role: repository.here(keys) for role, keys in layout.items()}
        versions = {role: int(stored(current.metadata, role).version) for role in ALL_ROLES}
        return outlook((layout, versions, expiries), here, self._clock.now_ms())

    async def root(self, org: str) -> bytes:
        """The newest root of an org, as it was signed: what an enrollment may pin."""
        async with self._store.for_org(org).read() as transaction:
            _, current = await current_set(transaction)
        newest = max(current.metadata, key=names.root_version)
        return current.metadata[newest]

    async def propose(self, org: str, proposal: KeyProposal) -> Ceremony:
        """Prepare other keys; the file holds what must be signed elsewhere, and what was signed here.

        Raises:
            ProposalError: nothing changes, or a threshold cannot be reached.
        """
        async with self._store.for_org(org).read() as transaction:
            _, current = await current_set(transaction)
            repository = await repository_of(transaction)
        layout = _layout(layout_of(current.metadata), proposal)
        ceremony = repository.propose_keys(current, layout, proposal.renewed, self._clock.now_ms())
        if not ceremony.parts:
            raise ProposalError("the proposal changes nothing", next_step="name keys, a threshold or --renew ROLE")
        return replace(ceremony, summary=summarise(ceremony))

    async def rotate(self, org: str, role: str, *, write: bool) -> Published | Ceremony:
        """Give a role a fresh key of the control plane in the place of each that it has here.

        Args:
            org: org id.
            role: name.
            write: a file may come of it; else nothing is done unless all who must sign are here.

        Returns:
            What was published, or the file that others must sign first.

        Raises:
            ProposalError: no key of the role is here, or others must sign and no file may come of it.
        """
        async with self._store.for_org(org).read() as transaction:
            _, current = await current_set(transaction)
            repository = await repository_of(transaction)
        layout = layout_of(current.metadata)
        named, delegator = layout[role], names.ROOT if role in TOP_LEVEL else names.TARGETS
        ours = repository.here(named)
        if not ours:
            raise ProposalError(
                f"no key of role {role} is here",
                field="role",
                next_step="propose keys that you made elsewhere: controlplane root propose",
            )
        if not write and not (repository.can_sign(layout[delegator]) and repository.can_sign(named)):
            raise ProposalError(
                f"holders of keys that are elsewhere must sign, of {delegator} or of {role}",
                field="role",
                next_step=f"name a file for them: controlplane root rotate {role} --org {org} --out FILE",
            )
        kept = [key for key_id, key in named.keys.items() if key_id not in ours]
        fresh = await self._new_keys(org, role, len(ours))
        ceremony = await self.propose(org, KeyProposal(keys={role: (*kept, *fresh)}))
        if any(part.missing > 0 for part in ceremony.parts):
            return ceremony
        return await self.apply(org, ceremony.to_bytes())

    async def apply(self, org: str, data: bytes) -> Published:
        """Publish what a file proposes, once all have signed.

        Raises:
            SignatureError: a part is not signed by all who must.
            CeremonyStaleError: the configuration changed meanwhile.
            BundleError: the file cannot be read, or is for another org.
        """
        async with self._store.for_org(org).write() as transaction:
            number, signed = await self._adopted_keys(transaction, data)
            return await self._keep(transaction, signed, number)

    async def check_keys(self, org: str, data: bytes) -> None:
        """Refuse what ``apply`` would refuse now; nothing is done."""
        async with self._store.for_org(org).read() as transaction:
            await self._adopted_keys(transaction, data)

    async def check_release(self, org: str, data: bytes) -> None:
        """Refuse what ``import_release`` would refuse now; nothing is done."""
        async with self._store.for_org(org).read() as transaction:
            ceremony, version = _release_of(data, org)
            _, current = await current_set(transaction)
            content = read_documents(current.targets, org)
            repository = await repository_of(transaction)
            repository.adopt(current, ceremony, releases.at_once(content, version), self._clock.now_ms())

    async def draft(self, org: str) -> bytes:
        """The release that waits for signatures.

        Raises:
            DraftMissingError: none waits.
        """
        async with self._store.for_org(org).read() as transaction:
            plan = await transaction.plans.waiting()
        if plan is None:
            raise DraftMissingError(
                "no draft of this org waits for signatures",
                field="org",
                next_step="make one: controlplane policy publish FILE",
            )
        return plan.ceremony

    async def import_release(self, org: str, data: bytes) -> Published:
        """Publish a signed release, and begin its roll-out.

        Raises:
            SignatureError: it is not signed by all who must.
            CeremonyStaleError: the configuration changed meanwhile.
            RollingError: another release is on its way.
        """
        async with self._store.for_org(org).write() as transaction:
            ceremony, version = _release_of(data, org)
            number, current = await current_set(transaction)
            repository = await repository_of(transaction)
            plan, wish = await self._planner.imported(transaction, version)
            document = await self._planner.begin(transaction, plan, version, wish)
            signed = repository.adopt(current, ceremony, releases.rolled_out(document), self._clock.now_ms())
            published = await self._keep(transaction, signed, number)
            begun = await self._planner.begun(transaction, plan, document, number + 1)
        return replace(published, plan=begun.id, stage=begun.stage)

    async def _adopted_keys(self, transaction: OrgTransaction, data: bytes) -> tuple[int, SignedSet]:
        """Number of the set in force, and the one that follows it by a file that changes keys."""
        ceremony = read_ceremony(data, transaction.org)
        require_summary(ceremony, summarise(ceremony))
        if ceremony.kind != KEYS:
            raise ProposalError("this file is a release", field="file", next_step="controlplane release import FILE")
        number, current = await current_set(transaction)
        repository = await repository_of(transaction)
        return number, repository.adopt(current, ceremony, {}, self._clock.now_ms())

    async def _keep(self, transaction: OrgTransaction, signed: SignedSet, number: int) -> Published:
        org = read_org(signed)
        await keep_set(transaction, org, signed, number + 1, self._clock.now_ms())
        return Published(number + 1, revision_of(org, signed), changed=True)

    async def _new_keys(self, org: str, role: str, count: int) -> list[bytes]:
        async with self._store.for_org(org).write() as transaction:
            first = len((await transaction.role_keys.all()).get(role, ())) + 1
            made = [await transaction.role_keys.create(role, first + number) for number in range(count)]
        return [Repository.public_key(signer) for signer in made]


def _release_of(data: bytes, org: str) -> tuple[Ceremony, int]:
    """A file with a signed release, and the release's version."""
    ceremony = read_ceremony(data, org)
    require_summary(ceremony, summarise(ceremony))
    if ceremony.kind != RELEASE:
        raise ProposalError("this file changes keys", field="file", next_step="controlplane root apply FILE")
    return ceremony, max(map(names.release_version, ceremony.documents), default=0)


def _layout(before: Mapping[str, Authority], proposal: KeyProposal) -> dict[str, Authority]:
    layout = {}
    for role in {*proposal.keys, *proposal.thresholds}:
        old = before[role]
        keys = {tuf_key_id(key): key for key in proposal.keys.get(role, ())} or dict(old.keys)
        usual = min(ROOT_THRESHOLD if role == names.ROOT else old.threshold, len(keys))
        threshold = proposal.thresholds.get(role, usual)
        if not 1 <= threshold <= len(keys) <= limits.MAX_SIGNATURES:
            raise ProposalError(
                f"role {role} has {len(keys)} keys, so its threshold cannot be {threshold}",
                field="threshold",
                next_step=f"name as many keys as must sign, at most {limits.MAX_SIGNATURES}",
            )
        layout[role] = Authority(threshold, keys)
    return layout


def read_org(signed: SignedSet) -> str:
    """Org that a set which we signed is for."""
    root: object = stored(signed.metadata, names.ROOT).unrecognized_fields[names.ORG_FIELD]
    return str(root)
