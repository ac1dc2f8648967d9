"""Laws of recovery: a nonce is good for one outpost, unchanged, for a minute; no two claims are signed alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.recover import (
    NONCE_BYTES,
    NONCE_LIFE_MS,
    NONCE_SKEW_MS,
    RecoverClaim,
    RecoverNonceError,
    check_nonce,
    make_nonce,
    recover_message,
)

KEYS = st.binary(min_size=32, max_size=64)
NAMES = st.text(max_size=40)
TIMES = st.integers(0, 2**63)
CLAIMS = st.builds(
    RecoverClaim,
    org=st.text("ab", max_size=4),
    outpost=st.text("ab", max_size=4),
    nonce=st.binary(max_size=4),
    csr_der=st.binary(max_size=4),
    join_sequence=st.integers(0, 3),
    boot_id=st.text("ab", max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(KEYS, NAMES, NAMES, TIMES, st.integers(-NONCE_SKEW_MS, NONCE_LIFE_MS))
def test_a_nonce_is_good_within_its_minute(key: bytes, org: str, outpost: str, now_ms: int, later_ms: int) -> None:
    check_nonce(key, make_nonce(key, org, outpost, now_ms), org, outpost, now_ms + later_ms)


@settings(max_examples=200, deadline=None)
@given(KEYS, TIMES, st.one_of(st.integers(max_value=-NONCE_SKEW_MS - 1), st.integers(min_value=NONCE_LIFE_MS + 1)))
def test_a_nonce_is_refused_outside_its_minute(key: bytes, now_ms: int, later_ms: int) -> None:
    nonce = make_nonce(key, "acme", "op-0123456789abcdef", now_ms)
    with pytest.raises(RecoverNonceError):
        check_nonce(key, nonce, "acme", "op-0123456789abcdef", now_ms + later_ms)


@pytest.mark.parametrize("bit", range(8 * NONCE_BYTES))
def test_every_flipped_bit_is_refused(bit: int) -> None:
    nonce = make_nonce(bytes(32), "acme", "op-0123456789abcdef", 1_795_000_000_000)
    flipped = (int.from_bytes(nonce, "big") ^ 1 << bit).to_bytes(NONCE_BYTES, "big")
    with pytest.raises(RecoverNonceError):
        check_nonce(bytes(32), flipped, "acme", "op-0123456789abcdef", 1_795_000_000_000)


@settings(max_examples=200, deadline=None)
@given(st.tuples(KEYS, NAMES, NAMES), st.tuples(KEYS, NAMES, NAMES), TIMES)
def test_a_nonce_is_for_one_outpost_and_one_key(
    made: tuple[bytes, str, str], judged: tuple[bytes, str, str], now_ms: int
) -> None:
    if (made[0].rstrip(b"\0"), *made[1:]) == (judged[0].rstrip(b"\0"), *judged[1:]):
        return  # HMAC fills a key up with zeros
    with pytest.raises(RecoverNonceError):
        check_nonce(judged[0], make_nonce(*made, now_ms), *judged[1:], now_ms)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), NAMES, TIMES)
def test_rubbish_is_no_nonce(nonce: bytes, org: str, now_ms: int) -> None:
    with pytest.raises(RecoverNonceError):
        check_nonce(bytes(32), nonce, org, "op-0123456789abcdef", now_ms)


@settings(max_examples=300, deadline=None)
@given(CLAIMS, CLAIMS)
def test_two_claims_have_two_messages(first: RecoverClaim, second: RecoverClaim) -> None:
    assert (recover_message(first) == recover_message(second)) == (first == second)
