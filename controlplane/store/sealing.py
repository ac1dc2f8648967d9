"""The key-encryption key, and what it seals.

One 32-byte key in a file, the same at every replica, seals every private key that the database holds; other secrets are
derived from it. So a stolen database holds nothing that can be used without that file.

A sealed key is 12 bytes of nonce ‖ AES-256-GCM(PKCS#8 PEM). The additional data says which row it belongs to, so sealed
keys cannot be exchanged.

Source: NIST SP 800-38D §8.2 (random nonces are good for 2^32 keys); RFC 5869 for what is derived.
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certs import keys
from certs.shell import signers
from certs.shell.signers import SealError
from controlplane.store.errors import NotInitialisedError

NONCE_BYTES = 12
DERIVED_BYTES = 32
PEPPER_INFO = b"outpost.controlplane join token pepper 1"
VAULT_DOMAIN = "outpost.vault/1"
ROLE_DOMAIN = "outpost.role-key/1"


class Keyring:
    """The key-encryption key, read when it is first needed.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kek = b""

    @property
    def kek(self) -> bytes:
        """The key itself.

        Raises:
            NotInitialisedError: there is none.
            KeyStoreError: it cannot be used.
        """
        if not self._kek:
            if not self.path.exists():
                raise NotInitialisedError(
                    f"the key-encryption key {self.path} is not there",
                    field="kek_file",
                    next_step="make a control plane: controlplane init; or copy the kek of the first replica here",
                )
            self._kek = signers.load_kek(self.path.resolve())  # a mounted secret is a link to its file
        return self._kek

    def create(self) -> None:
        """Make the key and its file. Raises PrivateFileExistsError."""
        self._kek = signers.create_kek(self.path)

    def derive(self, info: bytes) -> bytes:
        """Another secret of 32 bytes, the same at every replica.

        Args:
            info: what it is for; names its purpose and a version.
        """
        return HKDF(hashes.SHA256(), DERIVED_BYTES, salt=None, info=info).derive(self.kek)

    def pepper(self) -> bytes:
        """Key of the keyed hashes of join tokens, 32 bytes."""
        return self.derive(PEPPER_INFO)

    def seal(self, key: keys.PrivateKey, place: bytes) -> bytes:
        """Seal a private key for a place."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.kek).encrypt(nonce, keys.private_key_pem(key), place)

    def open(self, sealed: bytes, place: bytes, *, name: str) -> keys.PrivateKey:
        """Open a sealed key.

        Args:
            sealed: as ``seal`` made it; untrusted.
            place: whose key it has to be.
            name: of the key, for errors.

        Raises:
            SealError: another key-encryption key, another place, or changed bytes.
        """
        try:
            pem = AESGCM(self.kek).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise SealError(
                "The sealed key does not open: it was sealed under another key-encryption key, or was changed.",
                field=name,
                next_step="Give this replica the kek of the control plane that the database belongs to.",
            ) from None
        return keys.private_key_from_pem(pem, field=name)


def vault_place(name: str) -> bytes:
    """The place of a key in the vault."""
    return "\x00".join((VAULT_DOMAIN, name)).encode()


def role_place(org: str, role: str, number: int) -> bytes:
    """The place of a role's key."""
    return "\x00".join((ROLE_DOMAIN, org, role, str(number))).encode()


def make_folder(path: Path) -> None:
    """Make a folder and its parents, readable by their owner only."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700)
