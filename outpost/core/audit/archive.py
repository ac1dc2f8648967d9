r"""Part of an audit log as one file, for where no network reaches.

``outpost-audit-1\n`` ‖ u32 length ‖ head ‖ records, each u32 length ‖ bytes. The head is canonical JSON: org, outpost,
origin, the first sequence number, and the signed checkpoint under which the last record stands. Nothing in it is
trusted: whoever takes it in asks the witness's judgement for every record, as over the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from outpost.core.audit.canonical import MAX_RECORD_BYTES
from outpost.core.errors import RequestError

MAGIC = b"outpost-audit-1\n"
MAX_HEAD_BYTES = 8192  # names and a checkpoint, which has at most 4096 bytes (audit.proto)
MAX_NAME_CHARS = 255
_WORD = 4
_FIELDS = {"org": str, "outpost_id": str, "origin": str, "first": int, "size": int, "checkpoint": str}

Read = Callable[[int], bytes]
"""The next so many bytes of the file, fewer only at its end."""


class AuditArchiveError(RequestError):
    """A file that is no part of an audit log, or not whole."""

    code = "airgap.audit"


@dataclass(frozen=True, slots=True)
class ArchiveHead:
    """What an archive says first.

    Attributes:
        first: sequence number of the first record.
        size: of the log under the checkpoint; the last record is the one before it.
        checkpoint: signed note.
    """

    org: str
    outpost_id: str
    origin: str
    first: int
    size: int
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """The beginning of the file."""
        told = {name: getattr(self, name) for name in ("org", "outpost_id", "origin", "first", "size")}
        body = orjson.dumps(told | {"checkpoint": self.checkpoint.decode()}, option=orjson.OPT_SORT_KEYS)
        return MAGIC + len(body).to_bytes(_WORD, "big") + body


def pack_record(record: bytes) -> bytes:
    """Bytes of one record."""
    return len(record).to_bytes(_WORD, "big") + record


def read_head(read: Read) -> ArchiveHead:
    """Read the beginning from an untrusted file. Raises AuditArchiveError."""
    if read(len(MAGIC)) != MAGIC:
        raise _refused("it is no part of an audit log")
    size = _number(read, MAX_HEAD_BYTES)
    try:
        told = orjson.loads(_exactly(read, size))
    except orjson.JSONDecodeError:
        raise _refused("its head is not JSON") from None
    if not isinstance(told, dict) or {name: type(value) for name, value in told.items()} != _FIELDS:
        raise _refused("its head has other fields")
    if any(len(told[name]) > MAX_NAME_CHARS for name in ("org", "outpost_id", "origin")):
        raise _refused("a name in its head is too long")
    if not 0 <= told["first"] <= told["size"]:
        raise _refused("its head counts backwards")
    return ArchiveHead(**told | {"checkpoint": told["checkpoint"].encode()})


def read_records(read: Read, head: ArchiveHead) -> Iterator[bytes]:
    """Each record, in order, to the end of the file. Raises AuditArchiveError: too few, or too many."""
    for _ in range(head.size - head.first):
        yield _exactly(read, _number(read, MAX_RECORD_BYTES))
    if read(1):
        raise _refused("bytes stand behind its last record")


def _number(read: Read, limit: int) -> int:
    number = int.from_bytes(_exactly(read, _WORD), "big")
    if number > limit:
        raise _refused("a part of it is longer than allowed")
    return number


def _exactly(read: Read, size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise _refused("it ends too early")
    return data


def _refused(cause: str) -> AuditArchiveError:
    return AuditArchiveError(
        f"the file cannot be used: {cause}",
        field="audit",
        next_step="write it again: outpost airgap audit --out FILE",
    )
