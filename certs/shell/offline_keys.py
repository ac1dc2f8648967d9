r"""Keys that are kept far from any server: made, sealed and used by the person who holds them.

A key is Ed25519. Its file is PKCS#8 PEM, which other tools read and make too, or, with a passphrase,
``outpost-offline-key-1\n`` ‖ 16 bytes of salt ‖ 12 bytes of nonce ‖ AES-256-GCM(PEM) under scrypt(passphrase, salt).
Beside it stands the public key, PEM too.

Source: RFC 7914 (scrypt), NIST SP 800-38D, RFC 8410 (Ed25519 in PKCS#8 and SubjectPublicKeyInfo).
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from certs import keys
from certs.errors import KeyMaterialError, KeyStoreError
from certs.shell.private_files import create_private_file, read_private_file
from certs.signer import KeySigner

MIN_PASSPHRASE_BYTES = 12  # shorter ones are guessed, whatever the work for each guess
SCRYPT_N = 2**17  # work for one guess: 128 MiB and about half a second (RFC 7914 §2, OWASP 2023)
_SCRYPT_R, _SCRYPT_P = 8, 1
_SALT_BYTES, _NONCE_BYTES = 16, 12
_MAGIC = b"outpost-offline-key-1\n"
_PEM = b"-----BEGIN "


class PassphraseError(KeyStoreError):
    """A passphrase is missing, too short, or not the one under which the key was sealed."""

    code = "key_store.passphrase"


def create_offline_key(path: Path, passphrase: bytes = b"") -> ed25519.Ed25519PublicKey:
    """Make a key and its file of mode 0600, which must not exist yet.

    Args:
        path: of the private key.
        passphrase: seals the file; empty leaves it readable to whoever has it.

    Raises:
        PassphraseError: shorter than allowed.
        PrivateFileExistsError: the path is taken.
        PrivateFileError: the disk refused.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    pem = keys.private_key_pem(key)
    create_private_file(path, _seal(pem, passphrase) if passphrase else pem)
    return key.public_key()


def load_offline_key(path: Path, passphrase: bytes = b"") -> KeySigner:
    """Read a private key: of this module, or any unencrypted PKCS#8 PEM of an Ed25519 key.

    Raises:
        PassphraseError: the file is sealed and the passphrase is missing or wrong.
        KeyMaterialError: no readable key; KeyAlgorithmError: not Ed25519.
        PrivateFilePermissionError: others may read it; PrivateFileError: absent or unreadable.
    """
    data = read_private_file(path)
    pem = _open(data, passphrase, str(path)) if data.startswith(_MAGIC) else data
    key = keys.private_key_from_pem(pem, field=str(path))
    keys.require_signing_key(key.public_key(), field=str(path))
    return KeySigner(key)


def public_key_pem(key: ed25519.Ed25519PublicKey) -> bytes:
    """PEM of a public key."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def read_public_key(data: bytes, name: str) -> ed25519.Ed25519PublicKey:
    """Read a public key from untrusted PEM.

    Raises:
        KeyMaterialError: no readable public key; KeyAlgorithmError: not Ed25519.
    """
    if len(data) > keys.MAX_PEM_BYTES or not data.startswith(_PEM):
        raise KeyMaterialError(
            "The file holds no PEM public key.", field=name, next_step="Make one: controlplane root key create FILE"
        )
    try:
        key = serialization.load_pem_public_key(data)
    except keys.PARSER_FAULTS:
        raise KeyMaterialError("The file holds no readable PEM public key.", field=name) from None
    return keys.require_signing_key(key, field=name)


def _seal(pem: bytes, passphrase: bytes) -> bytes:
    if len(passphrase) < MIN_PASSPHRASE_BYTES:
        raise PassphraseError(
            f"A passphrase has at least {MIN_PASSPHRASE_BYTES} bytes.",
            field="passphrase",
            next_step="Choose a longer one.",
        )
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    return _MAGIC + salt + nonce + AESGCM(_derived(passphrase, salt)).encrypt(nonce, pem, _MAGIC)


def _open(data: bytes, passphrase: bytes, name: str) -> bytes:
    if not passphrase:
        raise PassphraseError(
            "The key file is sealed by a passphrase.", field=name, next_step="Name its file: --passphrase-file FILE"
        )
    body = data[len(_MAGIC) :]
    salt, nonce, sealed = body[:_SALT_BYTES], body[_SALT_BYTES:][:_NONCE_BYTES], body[_SALT_BYTES + _NONCE_BYTES :]
    try:
        return AESGCM(_derived(passphrase, salt)).decrypt(nonce, sealed, _MAGIC)
    except (InvalidTag, ValueError):
        raise PassphraseError("The passphrase is not the one of this key file.", field=name) from None


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(passphrase)
