"""What a Recover proof signs, and the nonce that makes it fresh, without a word remembered by the server.

An outpost whose certificate expired proves that it still holds the bound key: it signs a nonce of the server
together with everything that the recovery is about. The message starts with a name that no other protocol signs
with that key: a certificate request starts with an ASN.1 SEQUENCE, a TLS handshake with its own context.

A nonce is ``8 bytes of time ‖ HMAC-SHA-256(key, name ‖ org ‖ outpost ‖ time)``. Every replica that has the key can
judge it, and it is made alike for outposts that exist and for others. It may be used more than once within its
life: the same proof then brings the same certificate request, which gets the same certificate.

Source: RFC 8446 §4.4.3, for naming the context in what is signed; RFC 2104.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs.csr import MAX_REQUEST_BYTES
from certs.errors import RecoveryError

RECOVER_CONTEXT: Final = b"outpost.recover/1"
NONCE_CONTEXT: Final = b"outpost.recover.nonce/1"
NONCE_LIFE_MS = 60_000  # enrollment.proto: good for one minute
NONCE_SKEW_MS = 5_000  # clocks of two replicas may differ by this much: one makes a nonce, another judges it
NONCE_KEY_BYTES = 32  # at least the strength of HMAC-SHA-256
NONCE_BYTES = 40  # 8 of time, 32 of HMAC
MAX_NONCE_BYTES = 64  # enrollment.proto
MAX_PROOF_BYTES = 80  # enrollment.proto; a P-256 signature in DER has at most 72
MAX_SEQUENCE = 2**64 - 1  # enrollment.proto: uint64
MAX_NAME_BYTES = 64  # org, outpost and boot id have at most 31, 19 and 32 bytes on the wire

_TIME_BYTES = 8


class RecoverNonceError(RecoveryError):
    """The nonce is not one of ours for this outpost, or its minute is over."""

    code = "recover.nonce"
    fatal = False  # a new challenge gives a good one


class RecoverProofError(RecoveryError):
    """The proof is not a signature of the bound key over this very recovery."""

    code = "recover.proof"


class RecoverClaimError(RecoveryError):
    """A field of a recovery is out of its bounds."""

    code = "recover.claim"


@dataclass(frozen=True, slots=True)
class RecoverClaim:
    """What a recovery is about; all of it is signed.

    Args:
        org: org id.
        outpost: outpost id.
        nonce: of the server, at most 64 bytes.
        csr_der: request for the new certificate, at most 4096 bytes.
        join_sequence: that the outpost holds.
        boot_id: of the start of the outpost that recovers.

    Raises:
        RecoverClaimError: a field out of its bounds.
    """

    org: str
    outpost: str
    nonce: bytes
    csr_der: bytes
    join_sequence: int
    boot_id: str

    def __post_init__(self) -> None:
        """Refuse what the wire cannot carry."""
        bounds = {
            "org": (len(_text(self.org)), MAX_NAME_BYTES),
            "outpost": (len(_text(self.outpost)), MAX_NAME_BYTES),
            "nonce": (len(self.nonce), MAX_NONCE_BYTES),
            "csr_der": (len(self.csr_der), MAX_REQUEST_BYTES),
            "boot_id": (len(_text(self.boot_id)), MAX_NAME_BYTES),
        }
        for field, (size, most) in bounds.items():
            if size > most:
                raise RecoverClaimError(f"The field has at most {most} bytes.", field=field)
        if not 0 <= self.join_sequence <= MAX_SEQUENCE:
            raise RecoverClaimError("A join sequence has 64 bits.", field="join_sequence")


def recover_message(claim: RecoverClaim) -> bytes:
    """The exact bytes that a Recover proof signs.

    Each field is preceded by its length in 4 bytes, big-endian, so that no two claims have one message:
    ``"outpost.recover/1" ‖ nonce ‖ csr_der ‖ join_sequence (8 bytes) ‖ boot_id ‖ org ‖ outpost``.
    """
    return _framed(
        RECOVER_CONTEXT,
        claim.nonce,
        claim.csr_der,
        claim.join_sequence.to_bytes(8, "big"),
        _text(claim.boot_id),
        _text(claim.org),
        _text(claim.outpost),
    )


def verify_proof(public_key: ec.EllipticCurvePublicKey, message: bytes, proof: bytes) -> None:
    """Check the proof of a recovery.

    Args:
        public_key: the bound key, as it was certified.
        message: of ``recover_message``, built from what arrived and from the store, never sent.
        proof: untrusted; ECDSA P-256 with SHA-256 in DER, at most 80 bytes.

    Raises:
        RecoverProofError: it is not a signature of this key over this message.
    """
    try:
        if len(proof) > MAX_PROOF_BYTES:
            raise InvalidSignature
        public_key.verify(proof, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise RecoverProofError("The proof is not one of the bound key over this recovery.", field="proof") from None


def make_nonce(key: bytes, org: str, outpost: str, now_ms: int) -> bytes:
    """A nonce for one outpost, good for a minute: 40 bytes, for any names.

    Args:
        key: of all replicas, at least 32 bytes, used for nothing else.
        org: untrusted.
        outpost: untrusted.
        now_ms: Unix milliseconds.

    Raises:
        RecoveryError: the key is too short, or a time that 8 bytes cannot hold.
    """
    if not 0 <= now_ms < 1 << 8 * _TIME_BYTES:
        raise RecoveryError("A time is a number of 64 bits.", field="now_ms")
    moment = now_ms.to_bytes(_TIME_BYTES, "big")
    return moment + _seal(key, org, outpost, moment)


def check_nonce(key: bytes, nonce: bytes, org: str, outpost: str, now_ms: int) -> None:
    """Judge an untrusted nonce; the time taken does not depend on why it is refused.

    Args:
        key: as for ``make_nonce``.
        nonce: untrusted.
        org: untrusted; the nonce must have been made for it.
        outpost: untrusted; the nonce must have been made for it.
        now_ms: Unix milliseconds.

    Raises:
        RecoverNonceError: not ours, for another outpost, older than a minute, or from a clock far ahead.
        RecoveryError: the key is too short.
    """
    moment = nonce[:_TIME_BYTES]
    genuine = hmac.compare_digest(nonce[_TIME_BYTES:], _seal(key, org, outpost, moment))
    in_time = -NONCE_SKEW_MS <= now_ms - int.from_bytes(moment, "big") <= NONCE_LIFE_MS
    if not (genuine and in_time):  # a genuine one has 40 bytes: 8, and a digest
        raise RecoverNonceError(
            "The nonce is not one for this outpost, or its minute is over.",
            field="nonce",
            next_step="Ask for a new challenge.",
        )


def _seal(key: bytes, org: str, outpost: str, moment: bytes) -> bytes:
    if len(key) < NONCE_KEY_BYTES:
        raise RecoveryError(f"The key for nonces needs {NONCE_KEY_BYTES} bytes.", field="key")
    return hmac.new(key, _framed(NONCE_CONTEXT, _text(org), _text(outpost), moment), hashlib.sha256).digest()


def _framed(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _text(text: str) -> bytes:
    # What no UTF-8 can hold is kept apart too, instead of raising: the caller's text is untrusted.
    return text.encode("utf-8", "surrogatepass")
