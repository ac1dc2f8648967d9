"""Keys and certificates as bytes: which algorithms are allowed, how a key is named, DER and PEM.

TLS keys are ECDSA P-256, because grpcio refuses Ed25519 certificates; signatures over bundles and checkpoints
are Ed25519. A key is named by its key id: the lower-case hex SHA-256 of its DER SubjectPublicKeyInfo.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from certs.errors import KeyMaterialError

MAX_CERTIFICATE_BYTES = 4096  # enrollment.proto; ours have about 600
MAX_PEM_BYTES = 65536  # eight certificates of the largest size, in base64, with room for comments
MAX_PEM_CERTIFICATES = 8  # leaf, issuing CA and root, and as many again during a CA rotation
ED25519_PUBLIC_KEY_BYTES = 32  # RFC 8032 §5.1.5

# What the parser raises on hostile bytes, its warnings included where warnings are errors. No common base class exists.
PARSER_FAULTS: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyAlgorithmError(KeyMaterialError):
    """The key is of a kind that is not allowed here."""

    code = "key.algorithm"


class CertificateFormatError(KeyMaterialError):
    """Bytes are not one certificate, or not a bounded list of them."""

    code = "certificate.invalid"


def require_tls_key(key: object, *, field: str = "public_key") -> ec.EllipticCurvePublicKey:
    """Return the key if it may stand in a TLS certificate: ECDSA on P-256.

    Raises:
        KeyAlgorithmError: another algorithm or curve.
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyAlgorithmError("The key must be ECDSA on the curve P-256.", field=field, next_step="Make a new P-256 key.")


def require_signing_key(key: object, *, field: str = "public_key") -> ed25519.Ed25519PublicKey:
    """Return the key if it may sign bundles and checkpoints: Ed25519.

    Raises:
        KeyAlgorithmError: another algorithm.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise KeyAlgorithmError("The key must be Ed25519.", field=field, next_step="Make a new Ed25519 key.")


def spki_der(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo in DER, points uncompressed: one key has one form."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: PublicKey) -> str:
    """Name of a key: 64 hex digits, SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(spki_der(key)).hexdigest()


def signing_key_from_raw(raw: bytes, *, field: str = "public_key") -> ed25519.Ed25519PublicKey:
    """Read an Ed25519 public key from 32 untrusted bytes.

    Raises:
        KeyMaterialError: another length.
    """
    if len(raw) != ED25519_PUBLIC_KEY_BYTES:
        raise KeyMaterialError("An Ed25519 public key has 32 bytes.", field=field)
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def certificate_from_der(der: bytes, *, field: str = "certificate") -> x509.Certificate:
    """Read one certificate from untrusted DER. Nothing is verified, but its key and extensions can be read.

    Raises:
        CertificateFormatError: too large, or not a certificate that can be read in full.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise CertificateFormatError(f"A certificate has at most {MAX_CERTIFICATE_BYTES} bytes.", field=field)
    try:
        certificate = x509.load_der_x509_certificate(der)
        # The parser is lazy: read everything now, so that a fault shows here and not in the middle of a
        # judgement.
        _ = (
            certificate.version,
            certificate.subject,
            certificate.issuer,
            certificate.extensions,
            certificate.public_key(),
        )
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except PARSER_FAULTS as error:
        raise CertificateFormatError(
            f"The bytes are not a readable X.509 certificate ({type(error).__name__}).", field=field
        ) from None
    if certificate.serial_number <= 0:
        raise CertificateFormatError("A certificate's serial number is positive.", field=field)
    return certificate


def certificate_der(certificate: x509.Certificate) -> bytes:
    """DER of a certificate."""
    return certificate.public_bytes(Encoding.DER)


def certificates_from_pem(pem: bytes, *, field: str = "chain") -> tuple[x509.Certificate, ...]:
    """Read a list of certificates from untrusted PEM text, in its order.

    Raises:
        CertificateFormatError: too large, too many, none, or one that cannot be read.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise CertificateFormatError(f"A list of certificates has at most {MAX_PEM_BYTES} bytes.", field=field)
    try:
        loaded = x509.load_pem_x509_certificates(pem)
    except PARSER_FAULTS:
        raise CertificateFormatError("The text holds no readable PEM certificate.", field=field) from None
    if len(loaded) > MAX_PEM_CERTIFICATES:
        raise CertificateFormatError(f"At most {MAX_PEM_CERTIFICATES} certificates may be listed.", field=field)
    return tuple(certificate_from_der(certificate_der(each), field=field) for each in loaded)


def certificates_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """PEM text of certificates, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def private_key_pem(key: PrivateKey) -> bytes:
    """Unencrypted PKCS#8 PEM of a private key: write it only to a file of mode 0600."""
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def private_key_from_pem(pem: bytes, *, field: str = "key") -> PrivateKey:
    """Read an unencrypted private key of an allowed kind.

    Raises:
        KeyMaterialError: unreadable or encrypted.
        KeyAlgorithmError: neither ECDSA P-256 nor Ed25519.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise KeyMaterialError(f"A private key has at most {MAX_PEM_BYTES} bytes.", field=field)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except PARSER_FAULTS:
        raise KeyMaterialError("The text holds no readable unencrypted PKCS#8 private key.", field=field) from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        require_tls_key(key.public_key(), field=field)
        return key
    raise KeyAlgorithmError("A private key is ECDSA on P-256 or Ed25519.", field=field)
