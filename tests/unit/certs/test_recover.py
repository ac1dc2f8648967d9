"""Recovery: what is signed is exactly this recovery, and a nonce is good for one outpost and one minute."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import recover
from certs.errors import RecoveryError
from certs.recover import RecoverClaim, check_nonce, make_nonce, recover_message, verify_proof
from certs.shell.signers import generate_tls_key
from certs.signer import KeySigner
from tests.unit.certs.forge import ORG, OUTPOST

KEY = bytes(range(32))
NOW_MS = 1_795_000_000_000
CLAIM = RecoverClaim(ORG, OUTPOST, b"nonce", b"csr", 7, "0" * 32)
BOUND = generate_tls_key()


def test_the_message_is_fixed() -> None:
    """Two versions of the software have to agree on it: a change here is a change of the wire."""
    assert recover_message(CLAIM) == (
        b"\x00\x00\x00\x11outpost.recover/1"
        b"\x00\x00\x00\x05nonce"
        b"\x00\x00\x00\x03csr"
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x07"
        b"\x00\x00\x00\x20" + b"0" * 32 + b"\x00\x00\x00\x04acme\x00\x00\x00\x13op-0123456789abcdef"
    )


def test_the_bound_key_proves_a_recovery() -> None:
    message = recover_message(CLAIM)
    verify_proof(BOUND.public_key(), message, KeySigner(BOUND).sign(message))


OTHER_CLAIMS: dict[str, RecoverClaim] = {
    "another org": replace(CLAIM, org="other"),
    "another outpost": replace(CLAIM, outpost="op-" + "f" * 16),
    "another nonce": replace(CLAIM, nonce=b"nonco"),
    "another request": replace(CLAIM, csr_der=b"csz"),
    "another sequence": replace(CLAIM, join_sequence=8),
    "another start": replace(CLAIM, boot_id="1" + "0" * 31),
    "a byte moved from one field to the next": replace(CLAIM, nonce=b"nonc", csr_der=b"ecsr"),
    "org and outpost run together": replace(CLAIM, org=ORG + OUTPOST[:1], outpost=OUTPOST[1:]),
}


@pytest.mark.parametrize("case", OTHER_CLAIMS)
def test_a_proof_is_not_one_for(case: str) -> None:
    proof = KeySigner(BOUND).sign(recover_message(CLAIM))
    with pytest.raises(recover.RecoverProofError):
        verify_proof(BOUND.public_key(), recover_message(OTHER_CLAIMS[case]), proof)


BAD_PROOFS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "rubbish": lambda _: b"\x30\x06\x02\x01\x01\x02\x01\x01",
    "signed by another key": lambda message: KeySigner(generate_tls_key()).sign(message),
    "signed with SHA-384": lambda message: BOUND.sign(message, ec.ECDSA(hashes.SHA384())),
    "followed by more": lambda message: KeySigner(BOUND).sign(message) + b"\x00",
    "longer than any": lambda message: KeySigner(BOUND).sign(message) + bytes(recover.MAX_PROOF_BYTES),
    "a request's signature": lambda _: KeySigner(BOUND).sign(b"csr"),
}


@pytest.mark.parametrize("case", BAD_PROOFS)
def test_a_proof_is_refused_that_is(case: str) -> None:
    message = recover_message(CLAIM)
    with pytest.raises(recover.RecoverProofError) as refusal:
        verify_proof(BOUND.public_key(), message, BAD_PROOFS[case](message))
    assert refusal.value.fatal


# field: (largest that is allowed, one beyond)
BOUNDS: dict[str, tuple[object, object]] = {
    "org": ("a" * 64, "a" * 65),
    "outpost": ("a" * 64, "ä" * 33),
    "nonce": (bytes(64), bytes(65)),
    "csr_der": (bytes(4096), bytes(4097)),
    "boot_id": ("a" * 64, "a" * 65),
    "join_sequence": (2**64 - 1, 2**64),
}


@pytest.mark.parametrize("field", BOUNDS)
def test_a_claim_is_bounded(field: str) -> None:
    largest, beyond = BOUNDS[field]
    recover_message(replace(CLAIM, **{field: largest}))
    with pytest.raises(recover.RecoverClaimError) as refusal:
        replace(CLAIM, **{field: beyond})
    assert refusal.value.field == field


def test_a_sequence_is_not_negative() -> None:
    with pytest.raises(recover.RecoverClaimError):
        replace(CLAIM, join_sequence=-1)


def test_a_nonce_is_good_for_a_minute_and_no_longer() -> None:
    nonce = make_nonce(KEY, ORG, OUTPOST, NOW_MS)
    assert len(nonce) == recover.NONCE_BYTES <= recover.MAX_NONCE_BYTES
    for moment in (NOW_MS - 5_000, NOW_MS, NOW_MS + 60_000):
        check_nonce(KEY, nonce, ORG, OUTPOST, moment)
    for moment in (NOW_MS - 5_001, NOW_MS + 60_001, 0, 2**64 - 1):
        with pytest.raises(recover.RecoverNonceError):
            check_nonce(KEY, nonce, ORG, OUTPOST, moment)


BAD_NONCES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "only a time": lambda nonce: nonce[:8],
    "cut": lambda nonce: nonce[:-1],
    "longer": lambda nonce: nonce + b"\x00",
    "of another key": lambda _: make_nonce(bytes(32), ORG, OUTPOST, NOW_MS),
    "for another org": lambda _: make_nonce(KEY, "other", OUTPOST, NOW_MS),
    "for another outpost": lambda _: make_nonce(KEY, ORG, "op-" + "f" * 16, NOW_MS),
    "for names that run together": lambda _: make_nonce(KEY, ORG + OUTPOST[:1], OUTPOST[1:], NOW_MS),
    "put forward in time": lambda nonce: (NOW_MS + 1).to_bytes(8, "big") + nonce[8:],
}


@pytest.mark.parametrize("case", BAD_NONCES)
def test_a_nonce_is_refused_that_is(case: str) -> None:
    nonce = make_nonce(KEY, ORG, OUTPOST, NOW_MS)
    with pytest.raises(recover.RecoverNonceError) as refusal:
        check_nonce(KEY, BAD_NONCES[case](nonce), ORG, OUTPOST, NOW_MS)
    assert not refusal.value.fatal  # a new challenge helps
    assert refusal.value.next_step


def test_every_refused_nonce_gets_the_same_words() -> None:
    nonce = make_nonce(KEY, ORG, OUTPOST, NOW_MS)
    said = set()
    for bad, moment in ((nonce, NOW_MS + 60_001), (bytes(40), NOW_MS), (b"", NOW_MS)):
        with pytest.raises(recover.RecoverNonceError) as refusal:
            check_nonce(KEY, bad, ORG, OUTPOST, moment)
        said.add(str(refusal.value.as_dict()))
    assert len(said) == 1


def test_a_short_key_and_an_impossible_time_make_no_nonce() -> None:
    for key, moment in ((bytes(31), NOW_MS), (KEY, -1), (KEY, 2**64)):
        with pytest.raises(RecoveryError):
            make_nonce(key, ORG, OUTPOST, moment)
    with pytest.raises(RecoveryError):
        check_nonce(bytes(31), bytes(40), ORG, OUTPOST, NOW_MS)
