"""Certificate requests: a key, and the proof that its sender holds it."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from certs import csr, keys
from certs.shell.signers import generate_signing_key, generate_tls_key
from tests.unit.certs.forge import uri

KEY = generate_tls_key()
Builder = x509.CertificateSigningRequestBuilder


SHA256 = hashes.SHA256()


def made(change: Callable[[Builder], Builder] = lambda b: b, key: object = KEY, hash_: object = SHA256) -> bytes:
    return change(Builder(subject_name=x509.Name([]))).sign(key, hash_).public_bytes(Encoding.DER)


def test_a_request_is_read() -> None:
    der = csr.build_request(KEY)
    request = csr.read_request(der)
    assert request.public_key == KEY.public_key()
    assert request.spki_sha256 == keys.key_id(KEY.public_key())
    assert request.request_sha256 == hashlib.sha256(der).hexdigest()


def test_the_subject_means_nothing() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    der = Builder(subject_name=name).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    assert csr.read_request(der).spki_sha256 == keys.key_id(KEY.public_key())


def swapped_key() -> bytes:
    """The victim's request with another's key in place: the signature no longer fits."""
    other = generate_tls_key().public_key()
    der = made()
    point, other_point = keys.spki_der(KEY.public_key())[-65:], keys.spki_der(other)[-65:]
    assert der.count(point) == 1
    return der.replace(point, other_point)


def flipped_signature() -> bytes:
    der = made()
    return der[:-1] + bytes([der[-1] ^ 1])


BAD = {
    "empty": (lambda: b"", csr.CertificateRequestError),
    "text": (lambda: b"-----BEGIN CERTIFICATE REQUEST-----", csr.CertificateRequestError),
    "too large": (lambda: made() + bytes(csr.MAX_REQUEST_BYTES), csr.RequestTooLargeError),
    "followed by more": (lambda: made() + b"\x00", csr.CertificateRequestError),
    "cut": (lambda: made()[:-1], csr.CertificateRequestError),
    "for a key on P-384": (lambda: made(key=ec.generate_private_key(ec.SECP384R1())), csr.RequestKeyError),
    "for an RSA key": (lambda: made(key=rsa.generate_private_key(65537, 2048)), csr.RequestKeyError),
    "for an Ed25519 key": (lambda: made(key=generate_signing_key(), hash_=None), csr.RequestKeyError),
    "signed with SHA-384": (lambda: made(hash_=hashes.SHA384()), csr.RequestKeyError),
    "with a requested name": (
        lambda: made(lambda b: b.add_extension(x509.SubjectAlternativeName([uri("outpost.internal")]), False)),
        csr.RequestExtensionError,
    ),
    "that asks to be a CA": (
        lambda: made(lambda b: b.add_extension(x509.BasicConstraints(True, None), True)),
        csr.RequestExtensionError,
    ),
    "with a challenge password": (
        lambda: made(lambda b: b.add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"let me in")),
        csr.RequestExtensionError,
    ),
    "for a key that the sender does not hold": (swapped_key, csr.PossessionError),
    "with a changed signature": (flipped_signature, csr.PossessionError),
}


@pytest.mark.parametrize("case", BAD)
def test_a_request_is_refused(case: str) -> None:
    make, error = BAD[case]
    with pytest.raises(error) as refusal:
        csr.read_request(make())
    assert refusal.value.code.startswith("csr.")
    assert refusal.value.next_step


def test_a_key_of_another_curve_makes_no_request() -> None:
    with pytest.raises(keys.KeyAlgorithmError):
        csr.build_request(ec.generate_private_key(ec.SECP384R1()))
