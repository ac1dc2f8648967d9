"""Small secrets at rest, closed under keys that are derived from the key-encryption key.

A closed secret is a magic line, 12 bytes of nonce and AES-256-GCM; the additional data says what it is for, so that
none can be put in another's place. Source: NIST SP 800-38D; RFC 5869.
"""

import hmac
import secrets
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certs.shell.signers import SealError
from controlplane.store.sealing import Keyring

MAGIC: Final = b"outpost-seal-1\n"
NONCE_BYTES: Final = 12  # SP 800-38D §8.2
SEAL_INFO: Final = b"outpost.controlplane seal 1"
MARK_INFO: Final = b"outpost.controlplane mark 1"


class KekSeal:
    """Adapter of ``ports.admin.Seal``.

    Args:
        keyring: has the key-encryption key.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = AESGCM(keyring.derive(SEAL_INFO))
        self._mark_key = keyring.derive(MARK_INFO)

    def close(self, purpose: str, plain: bytes) -> bytes:
        """Encrypt."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return MAGIC + nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, purpose: str, closed: bytes) -> bytes:
        """Decrypt."""
        body = closed[len(MAGIC) :]
        try:
            if closed.startswith(MAGIC):
                return self._cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError):
            pass  # the same answer as for what was never closed by us
        raise SealError(
            "a stored secret does not open: it was closed under another key or for something else, or was changed",
            field=purpose.partition("/")[0],
            next_step="restore the key-encryption key that belongs to this database",
        )

    def mark(self, purpose: str, data: bytes) -> bytes:
        """A keyed digest."""
        head = purpose.encode()
        return hmac.new(self._mark_key, len(head).to_bytes(4, "big") + head + data, sha256).digest()
