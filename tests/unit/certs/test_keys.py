"""Keys and certificates as bytes."""

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from certs import keys
from certs.shell.dev import Hierarchy
from certs.shell.signers import generate_signing_key, generate_tls_key
from certs.signer import KeySigner

# RFC 8410 §10.1: an Ed25519 public key.
RFC_8410_SPKI = bytes.fromhex(
    "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
)


def test_a_key_id_is_the_hash_of_the_spki() -> None:
    key = keys.signing_key_from_raw(RFC_8410_SPKI[-32:])
    assert keys.spki_der(key) == RFC_8410_SPKI
    assert keys.key_id(key) == hashlib.sha256(RFC_8410_SPKI).hexdigest()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_raw_key_has_32_bytes(size: int) -> None:
    with pytest.raises(keys.KeyMaterialError):
        keys.signing_key_from_raw(bytes(size))


def test_each_purpose_has_one_algorithm() -> None:
    tls, signing = generate_tls_key().public_key(), generate_signing_key().public_key()
    assert keys.require_tls_key(tls) is tls
    assert keys.require_signing_key(signing) is signing
    for refused in (signing, ec.generate_private_key(ec.SECP384R1()).public_key(), "key", None):
        with pytest.raises(keys.KeyAlgorithmError):
            keys.require_tls_key(refused)
    with pytest.raises(keys.KeyAlgorithmError):
        keys.require_signing_key(tls)


def test_private_keys_read_back() -> None:
    for key in (generate_tls_key(), generate_signing_key()):
        pem = keys.private_key_pem(key)
        assert keys.private_key_from_pem(pem).public_key() == key.public_key()


def encrypted() -> bytes:
    encryption = serialization.BestAvailableEncryption(b"password")
    return generate_tls_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def unencrypted(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption())


RUBBISH = b"-----BEGIN " + b"PRIVATE KEY-----\nAAAA\n-----END " + b"PRIVATE KEY-----"
BAD_PRIVATE_KEYS = {
    "empty": (lambda: b"", keys.KeyMaterialError),
    "rubbish": (lambda: RUBBISH, keys.KeyMaterialError),
    "encrypted": (encrypted, keys.KeyMaterialError),
    "RSA": (lambda: unencrypted(rsa.generate_private_key(65537, 2048)), keys.KeyAlgorithmError),
    "on P-384": (lambda: unencrypted(ec.generate_private_key(ec.SECP384R1())), keys.KeyAlgorithmError),
    "too large": (lambda: bytes(keys.MAX_PEM_BYTES + 1), keys.KeyMaterialError),
}


@pytest.mark.parametrize("case", BAD_PRIVATE_KEYS)
def test_a_private_key_is_refused(case: str) -> None:
    make, error = BAD_PRIVATE_KEYS[case]
    with pytest.raises(error):
        keys.private_key_from_pem(make())


def test_lists_of_certificates_read_back(hierarchy: Hierarchy) -> None:
    listed = [hierarchy.root.certificate, hierarchy.outposts.certificate]
    assert list(keys.certificates_from_pem(keys.certificates_pem(listed))) == listed


def test_lists_of_certificates_are_bounded(hierarchy: Hierarchy) -> None:
    one = keys.certificates_pem([hierarchy.root.certificate])
    for pem in (b"", b"no certificate", one * 9, one + bytes(keys.MAX_PEM_BYTES), one[:-40]):
        with pytest.raises(keys.CertificateFormatError):
            keys.certificates_from_pem(pem)


def test_ed25519_signs_and_its_signature_confirms() -> None:
    key = generate_signing_key()
    signature = KeySigner(key).sign(b"message")
    key.public_key().verify(signature, b"message")
    assert KeySigner(key).public_key() == key.public_key()
