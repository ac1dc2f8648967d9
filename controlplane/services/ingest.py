"""Audit upload: keep exact entries, and cosign what continues the log that is known.

Reading what is known, judging the upload and storing the result are one transaction, so that two uploads cannot both
extend one tree. A refusal stores nothing but the fact that it happened.
"""

import asyncio
from dataclasses import dataclass, replace

from certs.keys import require_signing_key
from certs.signer import Signer
from certs.spiffe import OutpostIdentity
from controlplane import telemetry
from controlplane.domain import witness
from controlplane.domain.errors import InputError
from controlplane.domain.outposts import Outpost
from controlplane.domain.records import LogHead
from controlplane.domain.witness import KnownTree, UploadInvalidError, WitnessRefused
from controlplane.ports.logs import AuditEntries
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, leaf_hash, node_hash
from outpost.core.audit.note import (
    NoteError,
    NoteSigner,
    NoteVerifier,
    SignatureType,
    open_checkpoint,
    open_cosigned,
)

MAX_ORIGIN_BYTES = 255  # audit.proto
MAX_CHECKPOINT_BYTES = 4096  # audit.proto
MAX_ENTRY_BYTES = 65_536  # audit.proto
AT_ONCE = 5  # uploads that hold a connection of the store; half of its pool, so that a fleet's tails block nobody else


class AuditInvalidError(InputError):
    """An upload that is no upload: too much, not records, or out of bounds."""

    code = "audit.invalid"


@dataclass(frozen=True, slots=True)
class Upload:
    """What an outpost sent; untrusted."""

    origin: str
    first: int
    entries: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """The witness's answer.

    Attributes:
        status: 200, or the number of a refusal (C2SP tlog-witness).
        known_size: entries held durably.
        cosigned: the checkpoint with the witness's line, when its size was reached.
    """

    status: int
    known_size: int
    cosigned: bytes = b""


@dataclass(frozen=True, slots=True)
class LogReport:
    """Result of a check of one stored log against its cosigned checkpoints.

    Attributes:
        fault: what is wrong, empty when all is well; names the first bad sequence where one is known.
    """

    outpost_id: str
    name: str
    size: int
    cosigned_size: int
    checkpoints: int
    fault: str


class Ingest:
    """The use case.

    Args:
        signer: Ed25519 key of the witness.
        at_once: uploads that are worked on at the same time; the others queue.
    """

    def __init__(self, store: Store, trust_domain: str, signer: Signer, clock: Clock, at_once: int = AT_ONCE) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._store = store
        self._trust_domain = trust_domain
        self._clock = clock
        public_key = require_signing_key(signer.public_key()).public_bytes_raw()
        verifier = NoteVerifier(f"{trust_domain}/witness", public_key, SignatureType.COSIGNATURE_V1)
        self._witness = NoteSigner(verifier, signer.sign)

    @property
    def witness(self) -> NoteVerifier:
        """Name and public key with which outposts check cosignatures."""
        return self._witness.verifier

    def origin(self, org: str, outpost_id: str) -> str:
        """Name of an outpost's log."""
        return self._trust_domain + OutpostIdentity(self._trust_domain, org, outpost_id).path

    async def append(self, principal: Principal, upload: Upload) -> Appended:
        """Take entries of one tile.

        Raises:
            AuditInvalidError: out of bounds, or not records.
        """
        check_bounds(upload)
        space = self._store.for_org(principal.org)
        try:
            async with self._turn, space.write(log_scope(principal.outpost_id)) as transaction:
                outpost = await transaction.outposts.get(principal.outpost_id)
                appended = await self._extend(transaction, outpost, principal.org, upload)
        except UploadInvalidError as error:
            raise AuditInvalidError(error.message, field=error.field) from error
        except WitnessRefused as error:
            return await self._refuse(principal, error)
        if appended.cosigned:
            telemetry.log(
                telemetry.Event.AUDIT_COSIGNED,
                org=principal.org,
                outpost=principal.outpost_id,
                size=appended.known_size,
            )
        return appended

    async def root(self, principal: Principal, origin: str, size: int) -> tuple[int, bytes]:
        """Size held, and the root at ``size``; the root is empty beyond the size held or for another origin."""
        async with self._turn, self._store.for_org(principal.org).read() as transaction:
            head = await transaction.audit.head(principal.outpost_id)
            if head is None or head.origin != origin:
                return 0, b""
            root = await root_at(transaction.audit, head.outpost_id, size) if size <= head.size else b""
        return head.size, root

    async def verify(self, org: str, name_or_id: str = "") -> tuple[LogReport, ...]:
        """Compute every tree again from the stored entries and hold it against every cosigned checkpoint."""
        reports = []
        async with self._store.for_org(org).read() as transaction:
            everyone = await transaction.outposts.all()
            chosen = [await transaction.outposts.find(name_or_id)] if name_or_id else everyone
            for outpost in chosen:
                head = await transaction.audit.head(outpost.id)
                if head is not None:
                    reports.append(await self._report(transaction.audit, outpost, head))
        return tuple(reports)

    async def _extend(self, transaction: OrgTransaction, outpost: Outpost, org: str, upload: Upload) -> Appended:
        audit = transaction.audit
        log = NoteVerifier(self.origin(org, outpost.id), outpost.audit_public_key)
        head = await audit.head(outpost.id) or LogHead(outpost.id, log.name, 0, ())
        known = await self._known(audit, head, log, upload)
        if upload.origin != log.name:
            raise witness.UnknownLogError(
                "this outpost has no log of that origin", known_size=head.size, last_common_size=0, field="origin"
            )
        accepted = witness.accept(known, witness.Upload(upload.first, upload.entries, upload.checkpoint))
        head = replace(head, size=accepted.tree.size, frontier=accepted.tree.hashes)
        cosigned = b""
        if accepted.signed is not None and accepted.complete:
            now_ms = self._clock.now_ms()
            cosigned = accepted.signed.note + accepted.cosign(self._witness, now_ms // 1000)
            head = replace(head, cosigned_size=head.size, cosigned=cosigned)
            await audit.keep_checkpoint(outpost.id, head.size, cosigned, now_ms)
        await audit.save_head(head)
        if accepted.new:
            entries = [record.record for record in accepted.new]
            leaves = [record.leaf_hash for record in accepted.new]
            await audit.append(outpost.id, accepted.new[0].sequence, entries, leaves)
            if head.size % TILE_WIDTH == 0:
                await self._close_tile(audit, outpost.id, head.size // TILE_WIDTH - 1)
        return Appended(200, head.size, cosigned)

    async def _known(self, audit: AuditEntries, head: LogHead, log: NoteVerifier, upload: Upload) -> KnownTree:
        tile_end = (upload.first // TILE_WIDTH + 1) * TILE_WIDTH
        held = max(0, min(tile_end, head.size) - upload.first)
        leaves = await audit.leaves(head.outpost_id, upload.first, held) if held else ()
        roots: dict[int, bytes] = {}
        size = claimed_size(upload.checkpoint, log)
        if size is not None and size < head.size:
            roots[size] = await root_at(audit, head.outpost_id, size)
        tree = CompactRange(head.size, head.frontier)
        return KnownTree(log, tree, head.cosigned_size, leaves, roots.__getitem__)

    async def _close_tile(self, audit: AuditEntries, outpost_id: str, index: int) -> None:
        leaves = await audit.leaves(outpost_id, index * TILE_WIDTH, TILE_WIDTH)
        await audit.add_tile(outpost_id, index, CompactRange().extend(leaves).root())

    async def _refuse(self, principal: Principal, error: WitnessRefused) -> Appended:
        space = self._store.for_org(principal.org)
        async with self._turn, space.write(log_scope(principal.outpost_id)) as transaction:
            now_ms = self._clock.now_ms()
            await transaction.audit.keep_refusal(principal.outpost_id, error.status, error.known_size, now_ms)
        telemetry.log(
            telemetry.Event.AUDIT_REFUSED,
            org=principal.org,
            outpost=principal.outpost_id,
            status=error.status,
            code=error.code,
            size=error.known_size,
        )
        return Appended(error.status, error.known_size)

    async def _report(self, audit: AuditEntries, outpost: Outpost, head: LogHead) -> LogReport:
        checkpoints = await audit.checkpoints(outpost.id)
        log = NoteVerifier(head.origin, outpost.audit_public_key)
        fault = await self._fault(audit, head, checkpoints, log)
        return LogReport(outpost.id, outpost.name, head.size, head.cosigned_size, len(checkpoints), fault)

    async def _fault(
        self,
        audit: AuditEntries,
        head: LogHead,
        checkpoints: tuple[tuple[int, bytes], ...],
        log: NoteVerifier,
    ) -> str:
        """The first thing that is wrong with a stored log, or nothing."""
        tree = CompactRange()
        wanted = dict(checkpoints)
        for first in range(0, head.size, TILE_WIDTH):
            count = min(TILE_WIDTH, head.size - first)
            entries = await audit.entries(head.outpost_id, first, count)
            leaves = await audit.leaves(head.outpost_id, first, count)
            if len(entries) != count or len(leaves) != count:
                return f"entries are missing between {first} and {first + count - 1}"
            for at, entry in enumerate(entries):
                if leaf_hash(entry) != leaves[at]:
                    return f"entry {first + at} has other bytes than were received"
                tree = tree.extend([leaves[at]])
                if tree.size in wanted and (fault := self._checkpoint_fault(wanted.pop(tree.size), tree, log)):
                    return fault
        wanted.pop(0, None)  # nothing stands under a checkpoint over no entries
        if wanted:
            return f"a checkpoint over {max(wanted)} entries was cosigned, but only {head.size} are stored"
        return "" if tree.hashes == head.frontier else "the stored tree head is not that of the entries"

    def _checkpoint_fault(self, note: bytes, tree: CompactRange, log: NoteVerifier) -> str:
        try:
            signed = open_cosigned(note, log, self._witness.verifier).signed.checkpoint
        except NoteError as error:
            return f"the cosigned checkpoint over {tree.size} entries does not verify: {error.message}"
        if (signed.size, signed.root) != (tree.size, tree.root()):
            return f"the entries up to {tree.size - 1} are not those that were cosigned"
        return ""


def log_scope(outpost_id: str) -> str:
    """Uploads of one outpost follow each other; those of two do not wait."""
    return f"log/{outpost_id}"


def check_bounds(upload: Upload) -> None:
    """Bounds of the wire. Raises AuditInvalidError."""
    if len(upload.origin.encode()) > MAX_ORIGIN_BYTES:
        raise AuditInvalidError("the origin is too long", field="origin")
    if len(upload.checkpoint) > MAX_CHECKPOINT_BYTES:
        raise AuditInvalidError("the checkpoint is too large", field="checkpoint")
    if len(upload.entries) > TILE_WIDTH or any(len(entry) > MAX_ENTRY_BYTES for entry in upload.entries):
        raise AuditInvalidError(
            f"an upload has at most {TILE_WIDTH} entries of {MAX_ENTRY_BYTES} bytes", field="entries"
        )


def claimed_size(checkpoint: bytes, log: NoteVerifier) -> int | None:
    """Tree size of a checkpoint, None when it is none of this log: the witness will say why."""
    try:
        return open_checkpoint(checkpoint, log).checkpoint.size
    except NoteError:
        return None


async def root_at(audit: AuditEntries, outpost_id: str, size: int) -> bytes:
    """Root of the stored tree at a size up to its own: full tiles by their roots, the rest leaf by leaf."""
    full = size // TILE_WIDTH
    high = CompactRange().extend(await audit.tiles(outpost_id, full)).hashes
    low = CompactRange().extend(await audit.leaves(outpost_id, full * TILE_WIDTH, size - full * TILE_WIDTH)).hashes
    hashes = [*high, *low]
    if not hashes:
        return CompactRange().root()
    root = hashes.pop()
    while hashes:
        root = node_hash(hashes.pop(), root)
    return root
