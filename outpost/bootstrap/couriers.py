"""What the command line does for an outpost that no network reaches: files in and out of its state folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outpost.bootstrap.bundles import Held, load, verify_archive
from outpost.bootstrap.programs import open_verifier
from outpost.bootstrap.state import prepare_state, require_orgs, usable
from outpost.bootstrap.world import SystemClock
from outpost.cache.errors import CacheMissingError
from outpost.core.audit.archive import ArchiveHead, pack_record
from outpost.core.audit.merkle import TILE_WIDTH
from outpost.core.audit.note import NoteError, NoteVerifier, SignatureType, open_cosigned
from outpost.core.bundle.archive import unpack_archive
from outpost.core.bundle.courier import (
    CourierForeignError,
    CourierOlderError,
    CourierUnsignedError,
    JoinRequest,
    Receipts,
    read_receipts,
)
from outpost.core.bundle.release import HighWater, VerifiedSet
from outpost.core.errors import RequestError
from outpost.ledger.cursor import Cursor, CursorError
from outpost.ledger.identity import load_identity
from outpost.ledger.reader import LogReader
from outpost.paths import StatePaths
from outpost.sync import courier
from outpost.sync import identity as identities
from outpost.sync.inbox import Inbox

NEW_ONE = "Bring newer ones: controlplane airgap audit FILE --org ORG --receipts RECEIPTS"


class NothingToExportError(RequestError):
    """The log has no signed head yet, or no record that the control plane has not."""

    code = "airgap.nothing"


@dataclass(frozen=True, slots=True)
class Exported:
    """A part of the audit log in a file: from one record, to the one before ``size``."""

    first: int
    size: int


def request(state: Path, token_text: str, version: str) -> JoinRequest:
    """Make a request to be enrolled. Raises OutpostError, TrustError: see ``sync.courier.request``."""
    prepare_state(state)
    with usable(state):
        return courier.request(StatePaths(state), token_text, SystemClock(), version)


def accept(state: Path, data: bytes) -> identities.Identity:
    """Take in an answer. Raises OutpostError, TrustError: see ``sync.courier.accept``."""
    with usable(state):
        return courier.accept(StatePaths(state), data, SystemClock())


def bring(paths: StatePaths, org: str, data: bytes, now_ms: int) -> VerifiedSet:
    """Verify a bundle and leave it for the running outpost, or for the next start.

    Raises:
        BundleError: it would be refused; nothing is left.
        KeyStoreError: the disk refused.
    """
    held = _held(paths, org)
    if held is None:
        verified = open_verifier(paths, org).verify(unpack_archive(data, org), HighWater({}, 0), now_ms)
    else:
        verified = verify_archive(held, data, now_ms)
    Inbox(paths.org(org).inbox).put(data)
    return verified


def export_audit(paths: StatePaths, org: str, first: int | None, write: Callable[[bytes], object]) -> Exported:
    """Write the part of the log that the control plane has no receipt for.

    Args:
        paths: state folder.
        org: whose log.
        first: record to begin with instead.
        write: takes the bytes of the file, in order.

    Raises:
        NothingToExportError: there is nothing.
        StoreError: the log cannot be read.
    """
    folder = paths.org(org).audit
    reader, cursor = LogReader(folder), Cursor(folder)
    checkpoint = reader.checkpoint()
    size = int(checkpoint.split(b"\n", 2)[1]) if checkpoint is not None else 0
    begin = cursor.load().cosigned if first is None else first
    if checkpoint is None or not 0 <= begin < size:
        raise NothingToExportError(
            f"the log has {size} records under its newest signed head, and a file would begin with record {begin}",
            field="first",
            next_step="nothing is to be carried now; a running outpost signs a head each second",
        )
    enrollment = identities.load_enrollment(paths.org(org).identity)
    write(ArchiveHead(org, enrollment.outpost_id, enrollment.origin, begin, size, checkpoint).to_bytes())
    for at in range(begin, size, TILE_WIDTH):
        for record in reader.entries(at, min(TILE_WIDTH, size - at)):
            write(pack_record(record))
    return Exported(begin, size)


def take_receipts(paths: StatePaths, org: str, data: bytes) -> int:
    """Keep what the control plane signed for our log.

    Returns:
        Records that it holds.

    Raises:
        CourierError: of another log, not signed by our witness, or older than what is here.
        StoreError: the disk refused.
    """
    receipts = read_receipts(data)
    told = identities.load_enrollment(paths.org(org).identity)
    if (receipts.org, receipts.outpost_id) != (told.org, told.outpost_id):
        raise CourierForeignError(
            f"The receipts are for {receipts.outpost_id} of org {receipts.org}.", field="receipts", next_step=NEW_ONE
        )
    folder = paths.org(org).audit
    log = load_identity(folder).signer.verifier
    witness = NoteVerifier(told.witness_name, bytes.fromhex(told.witness_public_key), SignatureType.COSIGNATURE_V1)
    size = _require_ours(receipts, (log, witness), LogReader(folder))
    try:
        Cursor(folder).store_cosigned(receipts.checkpoint, receipts.line, log, witness)
    except CursorError as error:
        raise CourierOlderError(
            f"The receipts are older: {error.message}", field="receipts", next_step=NEW_ONE
        ) from None
    return size


def _require_ours(receipts: Receipts, keys: tuple[NoteVerifier, NoteVerifier], reader: LogReader) -> int:
    """Size of the log under a cosigned checkpoint that is one of this very log."""
    try:
        signed = open_cosigned(receipts.checkpoint + receipts.line, *keys).signed.checkpoint
    except NoteError as error:
        raise CourierUnsignedError(
            f"The control plane did not sign these receipts: {error.message}", field="receipts", next_step=NEW_ONE
        ) from None
    if signed.size > reader.tree_size() or reader.root(signed.size) != signed.root:
        raise CourierForeignError(
            f"The control plane signed for a log of {signed.size} records that is not the one here.",
            field="receipts",
            next_step="Keep the file as evidence: this log was cut or rewritten. `outpost verify-audit` shows it.",
        )
    return int(signed.size)


def _held(paths: StatePaths, org: str) -> Held | None:
    """The set in force; None before the first one."""
    require_orgs(paths)
    try:
        return load(paths, org)
    except CacheMissingError:
        return None
