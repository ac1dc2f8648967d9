"""The control plane as witness: what may extend the log that it knows, judged on bytes alone.

An outpost uploads records of one tile of 256 and the newest checkpoint that its log signed. The judge recomputes
every leaf hash and the root itself; it believes nothing but the log's public key. Records may arrive in several
uploads before the tree reaches the checkpoint's size; a cosignature is given only when it does and the roots agree,
so a cosignature always means: these very bytes are stored here.

Refusals use the numbers of C2SP tlog-witness, which say what happened to the log:

- 404: no log of this origin is known for this outpost;
- 403: the checkpoint is not signed by the log's key;
- 409: the upload does not start where the stored log ends, or its checkpoint is older; ``known_size`` says where.
  An outpost whose own log is shorter than ``known_size`` has been rolled back or cut;
- 422: a record or a root contradicts what is known: the past was rewritten. ``last_common_size`` bounds how far the
  two histories can be the same.

The caller keeps uploads of one log apart from each other (one transaction from ``KnownTree`` to the stored result).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from controlplane.domain.errors import (
    ConflictError,
    ControlPlaneError,
    InputError,
    NotFoundError,
    RefusedError,
    StateError,
)
from outpost.core.audit.canonical import RecordError, read
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, leaf_hash
from outpost.core.audit.note import (
    NoteError,
    NoteSigner,
    NoteVerifier,
    OriginError,
    SignedCheckpoint,
    cosign,
    open_checkpoint,
)


class WitnessRefused(ControlPlaneError):  # noqa: N818 - the word of the standard for this answer
    """An upload that the witness does not accept.

    Attributes:
        status: number of C2SP tlog-witness.
        known_size: records that are stored here, so that the outpost knows where to go on.
        last_common_size: no larger beginning can be the same on both sides; the exact size is found by comparing
            roots (``last_common_size`` below).
    """

    code = "witness.refused"
    status: ClassVar[int] = 422
    _next_step: ClassVar[str] = "run outpost verify-audit there, and controlplane audit verify here"

    def __init__(self, message: str, *, known_size: int, last_common_size: int, field: str = "") -> None:
        super().__init__(message, field=field, next_step=self._next_step)
        self.known_size = known_size
        self.last_common_size = last_common_size


class UnknownLogError(WitnessRefused, NotFoundError):
    """The checkpoint is of a log that this outpost did not register."""

    code = "witness.unknown_log"
    status = 404


class CheckpointRefusedError(WitnessRefused, RefusedError):
    """The checkpoint is malformed or not signed by the log's key."""

    code = "witness.signature"
    status = 403


class OldSizeError(WitnessRefused, ConflictError):
    """The upload starts behind the stored log's end, or comes with a checkpoint older than the cosigned one."""

    code = "witness.old_size"
    status = 409
    fatal = False
    _next_step = "go on at the known size; if the log is shorter than that, it was rolled back or cut"


class ForkError(WitnessRefused, ConflictError):
    """A record or a root contradicts what is stored: history was rewritten."""

    code = "witness.fork"
    status = 422


class UploadInvalidError(WitnessRefused, InputError):
    """The upload breaks its own rules: too many records, beyond its checkpoint, or not records at all."""

    code = "witness.upload_invalid"
    status = 422


@dataclass(frozen=True, slots=True)
class Upload:
    """What an outpost sends; untrusted.

    Attributes:
        first: sequence number of the first record.
        records: 0 to 256 records within one tile, exact bytes.
        checkpoint: the newest signed note of the log; empty with all but the last tile of a longer upload: then the
            records are kept, and nothing is cosigned.
    """

    first: int
    records: Sequence[bytes]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class KnownTree:
    """What is stored about a log before an upload; trusted.

    Attributes:
        log: origin and public key, as registered.
        tree: the tree of everything that is stored.
        cosigned_size: size of the newest cosigned checkpoint, 0 before the first.
        leaf_hashes: stored hashes from the upload's ``first`` on, up to the end of its tile.
        root_at: root of the stored tree at a size below its own; called at most once, for the checkpoint's size.
    """

    log: NoteVerifier
    tree: CompactRange
    cosigned_size: int
    leaf_hashes: Sequence[bytes]
    root_at: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """A record that is new here and may be stored as it is."""

    sequence: int
    leaf_hash: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that continues the stored log; only ``accept`` makes one.

    Attributes:
        new: records to store.
        duplicates: how many were known already, byte for byte.
        tree: the tree with the new ones.
        signed: the log's checkpoint, None when none came.
        complete: the tree has the checkpoint's size and root: store it and cosign.
    """

    new: tuple[AcceptedRecord, ...]
    duplicates: int
    tree: CompactRange
    signed: SignedCheckpoint | None
    complete: bool

    def cosign(self, witness: NoteSigner, time_seconds: int) -> bytes:
        """The witness's signature line; empty while the tree has not reached the checkpoint."""
        return cosign(self.signed, witness, time_seconds) if self.signed and self.complete else b""


def accept(known: KnownTree, upload: Upload) -> Accepted:
    """Judge an upload.

    Args:
        known: what is stored, read in the transaction that will store the result.
        upload: what arrived.

    Raises:
        UnknownLogError: 404, another origin.
        CheckpointRefusedError: 403, malformed or not signed by the log's key.
        UploadInvalidError: 422, not an upload at all.
        OldSizeError: 409, a gap or an old checkpoint.
        ForkError: 422, it contradicts what is stored.
    """
    signed = _open(known, upload.checkpoint) if upload.checkpoint else None
    _check_shape(known, upload, signed)
    size = known.tree.size
    if upload.first > size:
        raise _refusal(OldSizeError, known, f"the upload starts at {upload.first}, but {size} records are known")
    hashes = [leaf_hash(record) for record in upload.records]
    duplicates = min(len(hashes), size - upload.first)
    _check_known(known, upload.first, hashes[:duplicates])
    if signed is not None:
        _check_old_head(known, signed)
    new = _read_new(known, upload, hashes, duplicates)
    tree = known.tree.extend(record.leaf_hash for record in new)
    complete = signed is not None and tree.size == signed.checkpoint.size
    if signed is not None and complete and tree.root() != signed.checkpoint.root:
        common = size if new else size - 1
        message = f"the log signed another tree of {tree.size} than the records make"
        raise _refusal(ForkError, known, message, common)
    return Accepted(new, duplicates, tree, signed, complete)


def _refusal(kind: type[WitnessRefused], known: KnownTree, message: str, common: int | None = None) -> WitnessRefused:
    last_common = known.tree.size if common is None else common
    return kind(message, known_size=known.tree.size, last_common_size=last_common, field=known.log.name)


def _open(known: KnownTree, note: bytes) -> SignedCheckpoint:
    try:
        return open_checkpoint(note, known.log)
    except OriginError as error:
        raise _refusal(UnknownLogError, known, error.message) from error
    except NoteError as error:
        raise _refusal(CheckpointRefusedError, known, error.message) from error


def _check_shape(known: KnownTree, upload: Upload, signed: SignedCheckpoint | None) -> None:
    count = len(upload.records)
    if upload.first < 0 or count > TILE_WIDTH - upload.first % TILE_WIDTH:
        raise _refusal(UploadInvalidError, known, "an upload holds records of one tile of 256")
    if signed is not None and upload.first + count > signed.checkpoint.size:
        head_size = signed.checkpoint.size
        raise _refusal(UploadInvalidError, known, f"the upload goes beyond its checkpoint of {head_size}")


def _check_known(known: KnownTree, first: int, hashes: Sequence[bytes]) -> None:
    """Hold resent records against the stored ones."""
    if len(known.leaf_hashes) < len(hashes):
        raise StateError(f"the stored leaf hashes from {first} on are incomplete", field=known.log.name)
    for at, value in enumerate(hashes):
        if known.leaf_hashes[at] != value:
            raise _refusal(ForkError, known, f"record {first + at} is known with other bytes", common=first + at)


def _check_old_head(known: KnownTree, signed: SignedCheckpoint) -> None:
    """A checkpoint below the stored size is old, and a fork when its root is not one that the stored tree had."""
    head, size = signed.checkpoint, known.tree.size
    if head.size >= size:
        return
    if known.root_at(head.size) != head.root:
        raise _refusal(ForkError, known, f"the log signed another tree of {head.size} than is stored", head.size - 1)
    message = f"the log signed a tree of {head.size}, but {size} records are known"
    raise _refusal(OldSizeError, known, message, common=head.size)


def _read_new(known: KnownTree, upload: Upload, hashes: Sequence[bytes], duplicates: int) -> tuple[AcceptedRecord, ...]:
    new = []
    for at in range(duplicates, len(hashes)):
        sequence = upload.first + at
        try:
            record = read(upload.records[at])
        except RecordError as error:
            raise _refusal(UploadInvalidError, known, f"record {sequence}: {error.message}") from error
        if record.sequence != sequence:
            raise _refusal(UploadInvalidError, known, f"record {sequence} carries the number {record.sequence}")
        new.append(AcceptedRecord(sequence, hashes[at], upload.records[at]))
    return tuple(new)


def last_common_size(known_size: int, other_size: int, same_root: Callable[[int], bool]) -> int:
    """The largest size at which two logs have one root, found in O(log n) questions.

    Args:
        known_size: records of the one.
        other_size: records of the other.
        same_root: whether both have the same root at a size; true at 0.
    """
    low, high = 0, min(known_size, other_size)
    while low < high:
        middle = (low + high + 1) // 2
        if same_root(middle):
            low = middle
        else:
            high = middle - 1
    return low
