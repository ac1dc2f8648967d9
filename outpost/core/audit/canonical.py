"""The canonical form of audit records: encode, splice the sequence number in, read back.

A record is a JSON object of strings, integers, booleans, arrays and objects: UTF-8, keys sorted by code
point, no white space, no floats, no null. The same content therefore has the same bytes everywhere, and the
bytes are what is hashed, signed and stored; nothing ever encodes them again. The ledger puts ``"_seq"``
first, which sorts before every key of ours because those start with a lower-case letter; it equals the
leaf's index in the tree.

Control characters never stand raw in a record (JSON escapes them), so one record is always one line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, cast

import orjson

from outpost.core.errors import StoreError

SCHEMA = "outpost.audit/1"

MAX_RECORD_BYTES = 65_535  # bytes of one record; C2SP tlog-tiles frames an entry with a uint16 length
MAX_SEQUENCE_BYTES = 27  # bytes that the splice adds: '"_seq":', 19 digits of a 63-bit integer, ','
MAX_BODY_BYTES = MAX_RECORD_BYTES - MAX_SEQUENCE_BYTES
MAX_DEPTH = 8  # nested containers; our deepest record has 4
MAX_INTEGER = 2**53 - 1  # RFC 7493 section 2.2: what every JSON reader can hold

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value]"

_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EVENT = re.compile(r"[a-z]{1,32}\.[a-z_]{1,32}")
_SEQUENCE = re.compile(rb'\{"_seq":(0|[1-9][0-9]{0,18}),')


class RecordError(StoreError):
    """Bytes or values do not make a record."""

    code = "audit.record_invalid"


class RecordTooLargeError(RecordError):
    """A record would pass MAX_RECORD_BYTES."""

    code = "audit.record_too_large"


@dataclass(frozen=True, slots=True)
class Record:
    """One record whose form has been checked. Its content is as trustworthy as the tree that it stands in.

    Attributes:
        sequence: position in the log, zero-based.
        event: "request.decided" and so on; newer builds may write events that this one does not know.
        time_ms: Unix time in milliseconds.
        org: the org whose log it is.
        outpost: id of the outpost.
        fields: every field, those above included.
    """

    sequence: int
    event: str
    time_ms: int
    org: str
    outpost: str
    fields: Mapping[str, Value]


def encode(event: str, head: Mapping[str, str | int], fields: Mapping[str, Value]) -> bytes:
    """Canonical bytes of one record, without a sequence number.

    Args:
        event: dotted name of the event.
        head: time_ms, org and outpost.
        fields: what this event adds.

    Raises:
        RecordError: a value of another type, a key or a number out of bounds, text that is not Unicode.
        RecordTooLargeError: the record would be too long to store.
    """
    record = {"schema": SCHEMA, "event": event, **head, **fields}
    _check_values(record)
    try:
        body = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise RecordError("a text in the record is not valid Unicode", field=event) from error
    if len(body) > MAX_BODY_BYTES:
        raise RecordTooLargeError(
            f"the record would take {len(body)} bytes, more than {MAX_BODY_BYTES}",
            field=event,
            next_step="lower the limits on names and groups that end up in the record",
        )
    return body


@lru_cache(maxsize=1024)  # records have a few dozen keys, always the same
def _is_key(key: object) -> bool:
    return type(key) is str and _KEY.fullmatch(key) is not None


def _check_values(record: Mapping[str, object], depth: int = 1) -> None:
    """Refuse what has no canonical form; recursion is bounded by MAX_DEPTH."""
    for key in record:
        if not _is_key(key):
            raise RecordError("a key of the record is not lower snake case")
    _check_items(record.values(), depth)


def _check_items(values: Iterable[object], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecordError(f"the record is nested deeper than {MAX_DEPTH}")
    for value in values:
        kind = type(value)
        if kind is str or kind is bool:
            continue
        if isinstance(value, int):
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise RecordError("an integer in the record is beyond 53 bits")
        elif kind is dict:
            _check_values(cast("dict[str, object]", value), depth + 1)
        elif kind is list:
            _check_items(cast("list[object]", value), depth + 1)
        else:
            raise RecordError(
                f"a value of type {kind.__name__} has no canonical form", next_step="use str, int or bool"
            )


def check_body(body: bytes) -> None:
    """Refuse bytes that cannot be the body of a record; cheap, for the door of the ledger.

    It looks at the shape only. That the JSON inside is canonical is the work of ``encode``, the only
    producer, and is checked again by every verifier.

    Raises:
        RecordError: not one line of a JSON object without a sequence number.
        RecordTooLargeError: longer than MAX_BODY_BYTES.
    """
    if len(body) > MAX_BODY_BYTES:
        raise RecordTooLargeError(f"the record takes {len(body)} bytes, more than {MAX_BODY_BYTES}")
    if not body.startswith(b'{"') or body.startswith(b'{"_') or not body.endswith(b"}") or b"\n" in body:
        raise RecordError(
            "the record is not one canonical line without a sequence number",
            next_step="build records with outpost.core.audit.record",
        )


def with_sequence(body: bytes, sequence: int) -> bytes:
    """The record as it is stored: the body with ``"_seq"`` put first. The body has passed ``check_body``."""
    return b'{"_seq":%d,%b' % (sequence, body[1:])


def without_sequence(record: bytes) -> bytes:
    """The body that ``with_sequence`` was given.

    Raises:
        RecordError: no sequence number at its head.
    """
    match = _SEQUENCE.match(record)
    if match is None:
        raise RecordError("the record has no sequence number")
    return b"{" + record[match.end() :]


def sequence_of(record: bytes) -> int:
    """Sequence number that stored bytes carry, without parsing the rest.

    Raises:
        RecordError: no sequence number at its head.
    """
    match = _SEQUENCE.match(record)
    if match is None:
        raise RecordError("the record has no sequence number")
    return int(match[1])


def read(data: bytes) -> Record:
    """Parse untrusted bytes and check that they are a record in canonical form.

    Raises:
        RecordError: not JSON, not canonical, a missing or ill-typed head field, another schema.
        RecordTooLargeError: longer than MAX_RECORD_BYTES.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise RecordTooLargeError(f"the record takes {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RecordError("the record is not JSON") from error
    if not isinstance(fields, dict):
        raise RecordError("the record is not a JSON object")
    _check_values({key: value for key, value in fields.items() if key != "_seq"})
    if orjson.dumps(fields, option=orjson.OPT_SORT_KEYS) != data:
        raise RecordError("the record is JSON, but not in canonical form")
    if fields.get("schema") != SCHEMA:
        raise RecordError(f"the record does not have the schema {SCHEMA}", field="schema")
    event = _text(fields, "event")
    if _EVENT.fullmatch(event) is None:
        raise RecordError("the name of the event is malformed", field="event")
    sequence = _count(fields, "_seq")
    return Record(sequence, event, _count(fields, "time_ms"), _text(fields, "org"), _text(fields, "outpost"), fields)


def _text(fields: Mapping[str, Value], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise RecordError(f"the record has no text {name}", field=name)
    return value


def _count(fields: Mapping[str, Value], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RecordError(f"the record has no number {name}", field=name)
    return value
