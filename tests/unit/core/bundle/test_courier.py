"""Files that travel by hand: what was written is read, and nothing else is."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.courier import (
    MAX_FILE_BYTES,
    CourierMalformedError,
    JoinAnswer,
    JoinRequest,
    Receipts,
    SignedAnswer,
    read_answer,
    read_receipts,
    read_request,
    read_signed_answer,
    signed_message,
)

REQUEST = JoinRequest("acme", "plant", b"s" * 32, b"csr", b"k" * 32, 5, "1.2.3")
ANSWER = JoinAnswer(
    *("a" * 64, "acme", "op-1", "plant", "site", "outpost.internal"),
    *((b"leaf", b"issuing"), (b"root",), (b"issuing",)),
    *("outpost.internal/witness", b"w" * 32, b"{}", 1, 9),
)
SIGNED = SignedAnswer(ANSWER.payload(), (b"server", b"issuing", b"root"), b"signature")
RECEIPTS = Receipts("acme", "op-1", b"note\n", b"line\n")
KINDS: dict[str, tuple[bytes, Callable[[bytes], object], object]] = {
    "request": (REQUEST.to_bytes(), read_request, REQUEST),
    "answer": (ANSWER.payload(), read_answer, ANSWER),
    "signed answer": (SIGNED.to_bytes(), read_signed_answer, SIGNED),
    "receipts": (RECEIPTS.to_bytes(), read_receipts, RECEIPTS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_is_read(kind: str) -> None:
    data, read, value = KINDS[kind]
    assert read(data) == value


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_must_be_there_and_no_other(kind: str) -> None:
    data, read, _ = KINDS[kind]
    told = decode(data, kind)
    for name in told:
        with pytest.raises(CourierMalformedError):
            read(encode({key: value for key, value in told.items() if key != name}))
        for value in (None, 1.5, [[]], "x" * 9, -1, True):
            if type(value) is not type(told[name]):
                with pytest.raises(CourierMalformedError):
                    read(encode(told | {name: value}))  # type: ignore[operator]
    with pytest.raises(CourierMalformedError):
        read(encode(told | {"more": 1}))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_file_is_bounded(kind: str) -> None:
    _, read, _ = KINDS[kind]
    with pytest.raises(CourierMalformedError):
        read(b" " * (2 * MAX_FILE_BYTES + 1))


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_file_that_was_cut_or_flipped_is_refused_or_says_something_else(kind: str, data: st.DataObject) -> None:
    good, read, value = KINDS[kind]
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    for changed in (bytes(bad), good[:at]):
        try:
            found = read(changed)
        except CourierMalformedError:
            continue
        assert found != value


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    for _, read, _ in KINDS.values():
        with pytest.raises(CourierMalformedError):
            read(data)


def test_a_request_does_not_show_its_secret() -> None:
    assert "s" * 32 not in repr(REQUEST)
    assert (b"s" * 32).hex() not in repr(REQUEST)


def test_no_other_protocol_signs_what_an_answer_signs() -> None:
    assert signed_message(b"x").startswith(b"outpost.airgap_answer/1\n")
    assert signed_message(b"x") != signed_message(b"y")
