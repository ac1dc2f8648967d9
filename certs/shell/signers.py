r"""Signers whose keys lie in files, sealed by a key-encryption key; and where new keys and serial numbers come
from.

A key file is ``outpost-key-1\n`` ‖ 12 bytes of nonce ‖ AES-256-GCM(PKCS#8 PEM). The additional data is the
file's name: two key files cannot be exchanged. A stolen file without the key-encryption key is worth nothing;
sealing anew under another such key leaves the signing key as it is.

Source: NIST SP 800-38D; RFC 5958.
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certs import keys
from certs.errors import KeyStoreError
from certs.profiles import SERIAL_BITS
from certs.shell.private_files import create_private_file, read_private_file, replace_private_file
from certs.signer import KeySigner

KEK_BYTES = 32  # AES-256
_MAGIC = b"outpost-key-1\n"
_NONCE_BYTES = 12  # SP 800-38D §8.2; random nonces are good for 2^32 files under one key


class SealError(KeyStoreError):
    """A key file does not open: another key-encryption key, another name, or changed bytes."""

    code = "key_store.seal"


class KekError(KeyStoreError):
    """A key-encryption key has another length."""

    code = "key_store.kek"


def generate_tls_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def generate_signing_key() -> ed25519.Ed25519PrivateKey:
    """A fresh Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def random_serial() -> int:
    """A serial number of 159 bits, the highest set, so that it always has the length that the lint asks for."""
    return secrets.randbits(SERIAL_BITS - 1) | 1 << (SERIAL_BITS - 1)


def create_kek(path: Path) -> bytes:
    """Make a key-encryption key and its file: 32 random bytes.

    Raises:
        PrivateFileExistsError: the path is taken.
        PrivateFileError: the disk refused.
    """
    kek = secrets.token_bytes(KEK_BYTES)
    create_private_file(path, kek)
    return kek


def load_kek(path: Path) -> bytes:
    """Read a key-encryption key.

    Raises:
        KekError: the file has not 32 bytes.
        PrivateFilePermissionError: others may read it.
        PrivateFileError: absent or unreadable.
    """
    return _checked(read_private_file(path), str(path))


def create_key_file(path: Path, private_key: keys.PrivateKey, kek: bytes) -> KeySigner:
    """Seal a new key into a file that must not exist yet.

    Raises:
        PrivateFileExistsError: the path is taken.
        PrivateFileError: the disk refused.
        KekError: the key-encryption key has not 32 bytes.
    """
    create_private_file(path, _seal(path, keys.private_key_pem(private_key), kek))
    return KeySigner(private_key)


def reseal_key_file(path: Path, old_kek: bytes, new_kek: bytes) -> None:
    """Seal a key file under another key-encryption key; the signing key stays.

    Raises:
        SealError: the file does not open under the old one.
        PrivateFileError: the disk refused.
        KekError: a key-encryption key has not 32 bytes.
    """
    replace_private_file(path, _seal(path, _open(path, old_kek), new_kek))


def load_signer(path: Path, kek: bytes) -> KeySigner:
    """Open a key file.

    Raises:
        SealError: another key-encryption key, another name, or changed bytes.
        PrivateFilePermissionError: others may read it.
        PrivateFileError: absent or unreadable.
        KekError: the key-encryption key has not 32 bytes.
        KeyMaterialError: what was sealed is no allowed key.
    """
    return KeySigner(keys.private_key_from_pem(_open(path, kek), field=str(path)))


def _seal(path: Path, pem: bytes, kek: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + nonce + AESGCM(_checked(kek, "kek")).encrypt(nonce, pem, path.name.encode())


def _open(path: Path, kek: bytes) -> bytes:
    sealed = read_private_file(path)
    body = sealed[len(_MAGIC) :]
    if not sealed.startswith(_MAGIC) or len(body) <= _NONCE_BYTES:
        raise SealError("The file is no sealed key.", field=str(path))
    try:
        return AESGCM(_checked(kek, "kek")).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], path.name.encode())
    except InvalidTag:
        raise SealError(
            "The key file does not open: it was sealed under another key or name, or was changed.",
            field=str(path),
            next_step="Check that the file and the key-encryption key belong together.",
        ) from None


def _checked(kek: bytes, field: str) -> bytes:
    if len(kek) != KEK_BYTES:
        raise KekError(f"A key-encryption key has {KEK_BYTES} bytes.", field=field)
    return kek
