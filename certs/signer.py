"""The Signer port: something that holds a private key and signs, be it a file, a token or a service.

X.509 structures are signed here by hand: the to-be-signed bytes exist before the signature, so what was
linted is, byte for byte, what is signed, and a key that never leaves its module can sign too.
"""

from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from certs.errors import IssuanceError
from certs.keys import PrivateKey, PublicKey, require_tls_key

# AlgorithmIdentifier {1.2.840.10045.4.3.2 ecdsa-with-SHA256}, parameters absent. Source: RFC 5758 §3.2.
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")

# Signs drafts, out of which the to-be-signed bytes are cut. No secret: whoever signs with it is believed by nobody.
DRAFT_KEY: Final = ec.derive_private_key(1, ec.SECP256R1())


class SignatureMismatchError(IssuanceError):
    """A signer answered with a signature that its own public key does not confirm."""

    code = "issuance.signature"


class Signer(Protocol):
    """Holds one private key."""

    def public_key(self) -> PublicKey:
        """Public half of the key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign a message of any size.

        Returns:
            ECDSA P-256 with SHA-256 in DER, or 64 bytes of Ed25519, by the kind of the key.

        Raises:
            KeyStoreError: the key cannot be used now.
        """
        ...


class KeySigner:
    """A signer over a private key in memory."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        self._public_key = private_key.public_key()

    def public_key(self) -> PublicKey:
        """Public half of the key."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Sign as the port says."""
        if isinstance(self._private_key, ed25519.Ed25519PrivateKey):
            return self._private_key.sign(message)
        return self._private_key.sign(message, ec.ECDSA(hashes.SHA256()))


def sign_structure(tbs: bytes, signer: Signer) -> bytes:
    """Sign a TBSCertificate or TBSCertList and assemble the whole: ``SEQUENCE {tbs, ecdsa-with-SHA256, BIT STRING}``.

    Args:
        tbs: DER of the structure to be signed; it must name ecdsa-with-SHA256 itself.
        signer: holds a P-256 key.

    Returns:
        DER of the signed structure.

    Raises:
        KeyAlgorithmError: the signer's key is not P-256.
        SignatureMismatchError: the signature is not one of the signer's key over these bytes.

    Source: RFC 5280 §4.1 and §5.1.
    """
    public_key = require_tls_key(signer.public_key(), field="signer")
    signature = signer.sign(tbs)
    try:
        public_key.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise SignatureMismatchError(
            "The signer answered with a signature that its public key does not confirm.",
            field="signer",
            next_step="Check the key module; nothing was issued.",
        ) from None
    return _der(0x30, tbs + _ECDSA_WITH_SHA256 + _der(0x03, b"\x00" + signature))


def _der(tag: int, content: bytes) -> bytes:
    """One DER element. Source: X.690 §8.1.3."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
