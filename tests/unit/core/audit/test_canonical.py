"""The canonical form: one content, one spelling, bounded."""

import json

import pytest

from outpost.core.audit import canonical
from outpost.core.audit.canonical import RecordError, RecordTooLargeError

HEAD = {"time_ms": 1_700_000_000_000, "org": "acme", "outpost": "op-0123456789abcdef"}


def encode(**fields: object) -> bytes:
    return canonical.encode("request.decided", HEAD, fields)  # type: ignore[arg-type]


def test_keys_are_sorted_and_nothing_is_between_them() -> None:
    assert encode(b=[1, True], a={"y": "é", "x": ""}) == (
        b'{"a":{"x":"","y":"\xc3\xa9"},"b":[1,true],"event":"request.decided","org":"acme",'
        b'"outpost":"op-0123456789abcdef","schema":"outpost.audit/1","time_ms":1700000000000}'
    )


def test_line_breaks_and_control_characters_are_escaped_so_a_record_is_one_line() -> None:
    record = encode(reason="a\nb\x00\x1b[31m")
    assert b"\n" not in record
    assert min(record) >= 0x20
    assert json.loads(record)["reason"] == "a\nb\x00\x1b[31m"


def deep(levels: int) -> object:
    value: object = []
    for _ in range(levels - 1):
        value = [value]
    return value


REFUSED_VALUES = {
    "a float": 1.0,
    "a null": None,
    "not a number": float("nan"),
    "a tuple": (1,),
    "bytes": b"x",
    "an integer beyond 53 bits": 2**53,
    "a negative one": -(2**53),
    "a float inside": {"a": [1, {"b": 0.5}]},
    "an upper-case key": {"Key": 1},
    "a key of another type": {1: 1},
    "a key that would collide with the sequence number": {"_seq": 1},
    "a lone surrogate": "\ud800",
    "nesting one level too deep": deep(canonical.MAX_DEPTH),
}


@pytest.mark.parametrize("value", REFUSED_VALUES.values(), ids=REFUSED_VALUES)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        encode(value=value)


def test_the_deepest_nesting_allowed_passes() -> None:
    assert encode(value=deep(canonical.MAX_DEPTH - 1))


def test_the_longest_record_fits_and_one_byte_more_does_not() -> None:
    room = canonical.MAX_BODY_BYTES - len(encode(text=""))
    longest = encode(text="x" * room)
    assert len(longest) == canonical.MAX_BODY_BYTES
    canonical.check_body(longest)
    assert len(canonical.with_sequence(longest, 10**19 - 1)) <= canonical.MAX_RECORD_BYTES
    with pytest.raises(RecordTooLargeError):
        encode(text="x" * (room + 1))
    with pytest.raises(RecordTooLargeError):
        canonical.check_body(longest + b" ")


def test_the_sequence_number_goes_first_and_comes_off_again() -> None:
    body = encode(a=1)
    record = canonical.with_sequence(body, 42)
    assert record.startswith(b'{"_seq":42,"a":1,')
    assert canonical.sequence_of(record) == 42
    assert canonical.without_sequence(record) == body
    assert canonical.read(record).sequence == 42


def test_reading_gives_the_head_and_every_field() -> None:
    record = canonical.read(canonical.with_sequence(encode(a=1), 0))
    assert (record.event, record.org, record.outpost) == ("request.decided", "acme", "op-0123456789abcdef")
    assert record.time_ms == 1_700_000_000_000
    assert record.fields["a"] == 1


def record_with(old: bytes, new: bytes) -> bytes:
    record = canonical.with_sequence(encode(a=1, b="x"), 7)
    assert old in record
    return record.replace(old, new)


BAD_RECORDS = {
    "not JSON": b"{",
    "an array": b"[]",
    "white space": record_with(b'"a":1', b'"a": 1'),
    "keys out of order": record_with(b'"a":1,"b":"x"', b'"b":"x","a":1'),
    "a key twice": record_with(b'"a":1', b'"a":1,"a":1'),
    "a needless escape": record_with(b'"x"', b'"\\u0078"'),
    "a float": record_with(b'"a":1', b'"a":1.0'),
    "an integer beyond 64 bits": record_with(b'"a":1', b'"a":99999999999999999999999'),
    "a null": record_with(b'"a":1', b'"a":null'),
    "another schema": record_with(b"outpost.audit/1", b"outpost.audit/9"),
    "no sequence number": encode(a=1),
    "a negative sequence number": record_with(b'"_seq":7', b'"_seq":-7'),
    "a sequence number that is true": record_with(b'"_seq":7', b'"_seq":true'),
    "an event without a dot": record_with(b"request.decided", b"requestdecided"),
    "a time that is text": record_with(b"1700000000000", b'"now"'),
    "no org": record_with(b'"org":"acme",', b""),
    "a trailing line break": record_with(b'"a":1', b'"a":1') + b"\n",
    "invalid UTF-8": record_with(b'"x"', b'"\xff"'),
    "longer than a record may be": b'{"_seq":1,"a":"' + b"x" * canonical.MAX_RECORD_BYTES + b'"}',
}


@pytest.mark.parametrize("data", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_bytes_that_are_no_canonical_record_are_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        canonical.read(data)


BAD_BODIES = {
    "empty": b"",
    "empty object": b"{}",
    "two lines": b'{"a":1}\n{"b":1}',
    "a number already in it": b'{"_seq":1,"a":1}',
    "cut": b'{"a":1',
    "an array": b"[1]",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_the_door_of_the_ledger_refuses_what_cannot_be_a_body(body: bytes) -> None:
    with pytest.raises(RecordError):
        canonical.check_body(body)


def test_a_sequence_number_is_not_guessed_from_other_bytes() -> None:
    for data in (b'{"_seq":01,"a":1}', b'{"_seq":-1,"a":1}', b'{"_seq": 1,"a":1}', b'{"a":1}'):
        with pytest.raises(RecordError):
            canonical.sequence_of(data)
        with pytest.raises(RecordError):
            canonical.without_sequence(data)
