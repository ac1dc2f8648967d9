"""Certificate requests: built by an outpost, read by the control plane under a size bound, with proof of possession.

A request carries a key and nothing else. Names and extensions come from the registration, so requested
extensions and attributes are refused instead of ignored: whoever asks must know that they would not be
granted. The subject means nothing and is not read.

Source: RFC 2986 (PKCS#10).
"""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from certs import keys
from certs.errors import CertificateRequestError

MAX_REQUEST_BYTES = 4096  # enrollment.proto; ours have about 220
MAX_REQUEST_PEM_BYTES = 8192  # the same in base64, with lines and a text before it

_NEXT_STEP = "Enroll with the outpost command, which makes the request itself."


class RequestTooLargeError(CertificateRequestError):
    """The request has more bytes than allowed."""

    code = "csr.too_large"


class PossessionError(CertificateRequestError):
    """The request is not signed by the key that it carries."""

    code = "csr.possession"


class RequestKeyError(CertificateRequestError):
    """The request's key or signature is not ECDSA P-256 with SHA-256."""

    code = "csr.key"


class RequestExtensionError(CertificateRequestError):
    """The request asks for something beyond a key."""

    code = "csr.extensions"


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request whose sender holds the key.

    Args:
        public_key: P-256.
        spki_sha256: key id, 64 hex digits.
        request_sha256: digest of the exact request, 64 hex digits: tells a retry from another request.
    """

    public_key: ec.EllipticCurvePublicKey
    spki_sha256: str
    request_sha256: str


def build_request(private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Make a request for a P-256 key: DER, empty subject, no attributes.

    Raises:
        KeyAlgorithmError: another curve.
    """
    keys.require_tls_key(private_key.public_key())
    builder = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
    return builder.sign(private_key, hashes.SHA256()).public_bytes(Encoding.DER)


def request_from_pem(pem: bytes) -> bytes:
    """The DER of a request in PEM, as other tools write it; it is not judged yet.

    Raises:
        CertificateRequestError: no PEM, or longer than a request may be.
    """
    if len(pem) > MAX_REQUEST_PEM_BYTES:
        raise RequestTooLargeError(
            f"A certificate request in PEM has at most {MAX_REQUEST_PEM_BYTES} bytes.",
            field="csr",
            next_step=_NEXT_STEP,
        )
    try:
        return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
    except keys.PARSER_FAULTS as error:
        raise CertificateRequestError(
            f"The text is not a readable request in PEM ({type(error).__name__}).", field="csr", next_step=_NEXT_STEP
        ) from None


def read_request(der: bytes) -> VerifiedRequest:
    """Judge an untrusted request.

    Args:
        der: PKCS#10, at most 4096 bytes.

    Raises:
        RequestTooLargeError: more bytes.
        CertificateRequestError: not a request that can be read in full, or not in DER.
        RequestKeyError: another key than P-256, or another signature than ECDSA with SHA-256.
        RequestExtensionError: requested extensions or other attributes.
        PossessionError: the signature is not one of the key.
    """
    if len(der) > MAX_REQUEST_BYTES:
        raise RequestTooLargeError(
            f"A certificate request has at most {MAX_REQUEST_BYTES} bytes.", field="csr", next_step=_NEXT_STEP
        )
    request = _load(der)
    try:
        tls_key = keys.require_tls_key(request.public_key, field="csr.public_key")
    except keys.KeyAlgorithmError as error:
        raise RequestKeyError(error.message, field=error.field, next_step=_NEXT_STEP) from error
    if request.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise RequestKeyError(
            "A certificate request is signed with ECDSA and SHA-256.", field="csr.signature", next_step=_NEXT_STEP
        )
    if request.has_attributes:
        raise RequestExtensionError(
            "A certificate request carries a key only, no extensions or attributes.",
            field="csr.attributes",
            next_step=_NEXT_STEP,
        )
    if not request.is_possessed:
        raise PossessionError(
            "The certificate request is not signed by the key that it carries.",
            field="csr.signature",
            next_step=_NEXT_STEP,
        )
    return VerifiedRequest(tls_key, keys.key_id(tls_key), hashlib.sha256(der).hexdigest())


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What is judged of a request, each read once: the check of its signature is most of the work."""

    public_key: object
    signature_algorithm_oid: x509.ObjectIdentifier
    has_attributes: bool
    is_possessed: bool


def _load(der: bytes) -> _Loaded:
    """Read everything that is judged later, so that only this function can meet a parser's fault."""
    try:
        request = x509.load_der_x509_csr(der)
        loaded = _Loaded(
            public_key=request.public_key(),
            signature_algorithm_oid=request.signature_algorithm_oid,
            has_attributes=bool(len(request.attributes)),
            is_possessed=request.is_signature_valid,
        )
        exact = request.public_bytes(Encoding.DER) == der
    except keys.PARSER_FAULTS as error:
        raise CertificateRequestError(
            f"The bytes are not a readable PKCS#10 request ({type(error).__name__}).", field="csr", next_step=_NEXT_STEP
        ) from None
    if not exact:
        raise CertificateRequestError("The request is not in DER.", field="csr", next_step=_NEXT_STEP)
    return loaded
