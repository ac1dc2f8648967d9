"""The act log as a service: append within the act's own transaction, sign heads, verify, export, prove."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from certs.errors import TrustError
from certs.keys import require_signing_key
from certs.signer import Signer
from controlplane.domain.acts import CHECKPOINT_ACTS, Act, ActFilter, ActHead, ActRow, ActUnknownError, origin_of
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.orgs import OrgUnknownError
from controlplane.ports.admin import Acts
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from outpost.core.audit.canonical import RecordError, read, with_sequence
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, inclusion_ranges, leaf_hash
from outpost.core.audit.note import Checkpoint, NoteError, NoteSigner, NoteVerifier, open_checkpoint, sign_checkpoint


@dataclass(frozen=True, slots=True)
class ActReport:
    """Result of a check of a stored act log against its signed heads.

    Attributes:
        fault: what is wrong, empty when all is well.
    """

    origin: str
    log_key: str
    size: int
    signed: int
    checkpoints: int
    fault: str


@dataclass(frozen=True, slots=True)
class Export:
    """A part of a log below a signed head.

    Attributes:
        log_key: public key with the name of the log, one line of C2SP signed-note.
        checkpoint: the signed head.
        size: records that it covers.
    """

    origin: str
    log_key: str
    checkpoint: bytes
    size: int
    first: int
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Proved:
    """A record with the proof that it stands below a signed head."""

    sequence: int
    record: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes
    log_key: str


class ActLog:
    """Act logs of all orgs and the operator's.

    Args:
        signer: Ed25519 key of the control plane for them.
    """

    def __init__(self, store: Store, trust_domain: str, signer: Signer, clock: Clock) -> None:
        self._store = store
        self._trust_domain = trust_domain
        self._signer = signer
        self._public_key = require_signing_key(signer.public_key()).public_bytes_raw()
        self._clock = clock
        self._grown: dict[str, int] = {}  # records since the last head, by org, of this process
        self.due = asyncio.Event()  # some log has grown by so many records that its head is to be signed now

    def verifier(self, org: str) -> NoteVerifier:
        """Name and public key of an org's act log."""
        return NoteVerifier(origin_of(self._trust_domain, org), self._public_key)

    async def append(self, transaction: OrgTransaction, act: Act) -> int:
        """Add a record within the transaction of what it records.

        Returns:
            Its sequence number.
        """
        head = await transaction.acts.head()
        entry = with_sequence(act.to_bytes(), head.size)
        leaf = leaf_hash(entry)
        tree = CompactRange(head.size, head.frontier).extend([leaf])
        await transaction.acts.append(act, ActRow(head.size, entry), leaf, tree.hashes)
        self._grown[act.org] = self._grown.get(act.org, 0) + 1
        if self._grown[act.org] >= CHECKPOINT_ACTS:
            self.due.set()
        return head.size

    async def record(self, act: Act) -> None:
        """Add a record in a transaction of its own: of something that did not happen."""
        async with self._store.for_org(act.org).write() as transaction:
            await self.append(transaction, act)

    async def sign(self, org: str) -> int:
        """Sign the head of a log, if records came since the last.

        Returns:
            Records below the newest signed head.
        """
        async with self._store.for_org(org).write() as transaction:
            head = await transaction.acts.head()
            if head.size == head.signed_size:
                return head.size
            verifier = self.verifier(org)
            root = CompactRange(head.size, head.frontier).root()
            note = sign_checkpoint(Checkpoint(verifier.name, head.size, root), NoteSigner(verifier, self._signer.sign))
            await transaction.acts.sign(head.size, note, self._clock.now_ms())
        return head.size

    def expect(self, orgs: Iterable[str]) -> None:
        """Logs to which another process may have added what it did not sign for: the next ``sign_grown`` looks."""
        for org in orgs:
            self._grown.setdefault(org, 0)

    async def sign_grown(self) -> None:
        """Sign the head of each log that this process has added to; a transaction that is still open is waited for.

        A log whose head could not be signed stays for the next time, and does not keep the others waiting.

        Raises:
            ControlPlaneError: the first failure, once all were tried; so is TrustError of the signer.
        """
        self.due.clear()
        failures: list[ControlPlaneError | TrustError] = []
        for org, count in tuple(self._grown.items()):
            try:
                await self.sign(org)
            except OrgUnknownError:
                pass  # it has no log
            except (ControlPlaneError, TrustError) as error:
                failures.append(error)
                continue
            left = self._grown.pop(org, count) - count
            if left > 0:
                self._grown[org] = left  # what came meanwhile is for the next head
        if failures:
            raise failures[0]

    async def page(self, org: str, chosen: ActFilter, before: int, limit: int) -> tuple[ActRow, ...]:
        """Records below a number, newest first."""
        async with self._store.for_org(org).read() as transaction:
            return await transaction.acts.newest(chosen, before, limit)

    async def export(self, org: str, first: int, count: int, size: int = 0) -> Export:
        """Records from a number up to a signed head, in order.

        Args:
            org: whose log.
            first: number of the first record.
            count: at most so many.
            size: of the head; 0 for the newest.

        Raises:
            ActUnknownError: no head of that size was signed.
        """
        async with self._store.for_org(org).read() as transaction:
            head = await transaction.acts.head()
            size = size or head.signed_size
            note = await transaction.acts.checkpoint(size) if size else b""
            if note is None:
                raise ActUnknownError(f"no head over {size} records was signed", field="size", next_step="begin anew")
            wanted = max(0, min(count, size - first))
            records = await transaction.acts.entries(first, wanted) if wanted else ()
        verifier = self.verifier(org)
        return Export(verifier.name, verifier.to_text(), note, size, first, records)

    async def prove(self, org: str, sequence: int) -> Proved:
        """A record with its inclusion proof.

        Raises:
            ActUnknownError: no such record, or no signed head covers it yet.
        """
        async with self._store.for_org(org).read() as transaction:
            head = await transaction.acts.head()
            if not 0 <= sequence < head.signed_size:
                raise ActUnknownError(
                    f"no signed head of this log covers a record {sequence}",
                    field="sequence",
                    next_step="list them: controlplane acts list --org ORG; a head is signed each second",
                )
            record = (await transaction.acts.entries(sequence, 1))[0]
            proof = [
                CompactRange().extend(await transaction.acts.leaves(low, high - low)).root()
                for low, high in inclusion_ranges(sequence, head.signed_size)
            ]
        return Proved(sequence, record, tuple(proof), head.note, self.verifier(org).to_text())

    async def verify(self, org: str) -> ActReport:
        """Compute the tree again from the stored records and hold it against every signed head."""
        async with self._store.for_org(org).read() as transaction:
            head = await transaction.acts.head()
            checkpoints = await transaction.acts.checkpoints()
            fault = await self._fault(transaction.acts, org, head, dict(checkpoints))
        verifier = self.verifier(org)
        return ActReport(verifier.name, verifier.to_text(), head.size, head.signed_size, len(checkpoints), fault)

    async def _fault(self, acts: Acts, org: str, head: ActHead, wanted: dict[int, bytes]) -> str:
        """The first thing that is wrong with a stored log, or nothing."""
        tree = CompactRange()
        for first in range(0, head.size, TILE_WIDTH):
            count = min(TILE_WIDTH, head.size - first)
            entries, leaves = await acts.entries(first, count), await acts.leaves(first, count)
            if len(entries) != count or len(leaves) != count:
                return f"records are missing between {first} and {first + count - 1}"
            for at, entry in enumerate(entries):
                if fault := record_fault(entry, first + at, leaves[at]):
                    return fault
                tree = tree.extend([leaves[at]])
                if tree.size in wanted and (fault := self._head_fault(wanted.pop(tree.size), tree, org)):
                    return fault
        if wanted:
            return f"a head over {max(wanted)} records was signed, but only {head.size} are stored"
        return "" if tree.hashes == head.frontier else "the stored tree head is not that of the records"

    def _head_fault(self, note: bytes, tree: CompactRange, org: str) -> str:
        try:
            signed = open_checkpoint(note, self.verifier(org)).checkpoint
        except NoteError as error:
            return f"the signed head over {tree.size} records does not verify: {error.message}"
        if (signed.size, signed.root) != (tree.size, tree.root()):
            return f"the records up to {tree.size - 1} are not those that were signed"
        return ""


def record_fault(entry: bytes, sequence: int, leaf: bytes) -> str:
    """What is wrong with one stored record, or nothing."""
    if leaf_hash(entry) != leaf:
        return f"record {sequence} has other bytes than were recorded"
    try:
        record = read(entry)
    except RecordError as error:
        return f"record {sequence}: {error.message}"
    return "" if record.sequence == sequence else f"record {sequence} carries the number {record.sequence}"
