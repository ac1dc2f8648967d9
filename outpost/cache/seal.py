"""Sealing of an org's files under the wrapping key.

Slots are encrypted and authenticated: AES-256-GCM, fresh 96-bit nonce, under a key derived for this purpose. What a
file is (outpost, org, role, version, a check value of the wrapping key) stands before it in clear and is authenticated
with it, so that a file of another outpost, org or role does not open, and a changed wrapping key is named. The high
water is readable and carries a MAC under another derived key: an operator may look, an edit shows.

Source: NIST SP 800-38D §8.2.2 (random nonces), RFC 5869 (HKDF), RFC 2104 (HMAC).
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from outpost.cache.errors import CacheTamperedError, ForeignFileError, OtherWrappingKeyError, WrappingKeyError
from outpost.core.bundle.canonical import decode, encode
from outpost.core.errors import BundleError

WRAPPING_KEY_BYTES = 32
NONCE_BYTES = 12  # SP 800-38D §8.2: 96 bits
TAG_BYTES = 16
MAX_LABEL_BYTES = 512  # of the clear head: outpost, org, role and version have fixed, short forms
KEY_CHECK_BYTES = 8  # of a derived key: tells two wrapping keys apart and says nothing about either
_MAGIC = b"outpost-sealed-1\n"
_NEXT_STEP = "Let the outpost fetch a fresh set from the control plane, and find out who changed the file."


@dataclass(frozen=True, slots=True)
class Seal:
    """Seals and opens the files of one org on one outpost.

    Attributes:
        outpost: id of the outpost; a file of another does not open.
        org: id of the org; a file of another does not open.
        wrapping_key: gives the 32 bytes, asked anew each time; what is derived from them is derived once.
        random_bytes: randomness fit for nonces.
    """

    outpost: str
    org: str
    wrapping_key: Callable[[], bytes]
    random_bytes: Callable[[int], bytes]

    def close(self, role: str, version: str, content: bytes) -> bytes:
        """Encrypt a file.

        Raises:
            WrappingKeyError: the key is not 32 bytes.
        """
        label = self._label(role, version)
        nonce = self.random_bytes(NONCE_BYTES)
        sealed = AESGCM(self._key("slot")).encrypt(nonce, content, label)
        return b"".join((_MAGIC, len(label).to_bytes(2, "big"), label, nonce, sealed))

    def open(self, role: str, data: bytes, name: str) -> bytes:
        """Decrypt a file that ``close`` made for the same outpost, org and role.

        Raises:
            CacheTamperedError: anything else.
            WrappingKeyError: the key is not 32 bytes.
        """
        start = len(_MAGIC) + 2
        size = int.from_bytes(data[len(_MAGIC) : start], "big")
        label = data[start : start + size]
        sealed = data[start + size :]
        if not data.startswith(_MAGIC) or size > MAX_LABEL_BYTES or len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise _tampered(name, "it is not a sealed file")
        self._require_label(label, role, name)
        try:
            return AESGCM(self._key("slot")).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], label)
        except InvalidTag:
            raise _tampered(name, "its seal does not hold") from None

    def mac(self, role: str, content: bytes) -> str:
        """Hex HMAC-SHA-256 that binds readable content to outpost, org and role.

        Raises:
            WrappingKeyError: the key is not 32 bytes.
        """
        label = self._label(role, "")
        message = len(label).to_bytes(2, "big") + label + content
        return hmac.new(self._key("mac"), message, hashlib.sha256).hexdigest()

    def _label(self, role: str, version: str) -> bytes:
        return encode(self._head(role, version))

    def _head(self, role: str, version: str) -> dict[str, object]:
        key = self._key("check")[:KEY_CHECK_BYTES].hex()
        return {"key": key, "outpost": self.outpost, "org": self.org, "role": role, "version": version}

    def _require_label(self, label: bytes, role: str, name: str) -> None:
        try:
            found = decode(label, name)
        except BundleError:
            raise _tampered(name, "its head cannot be read") from None
        expected = self._head(role, str(found.get("version")))
        if found == expected:
            return
        if found | {"key": expected["key"]} == expected:
            raise OtherWrappingKeyError(
                f"{name} was sealed under another wrapping key.",
                field=name,
                next_step="Restore the wrapping key, or let the outpost fetch a fresh set from the control plane.",
            )
        raise ForeignFileError(f"{name} belongs to another outpost, org or role.", field=name, next_step=_NEXT_STEP)

    def _key(self, purpose: str) -> bytes:
        wrapping_key = self.wrapping_key()
        if len(wrapping_key) != WRAPPING_KEY_BYTES:
            raise WrappingKeyError(
                f"The wrapping key must have {WRAPPING_KEY_BYTES} bytes.",
                field="wrap.key",
                next_step="Restore the key file, or enroll again.",
            )
        return _derived(wrapping_key, purpose)


@lru_cache(maxsize=16)  # three purposes for each wrapping key of a process, and there is one
def _derived(wrapping_key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), WRAPPING_KEY_BYTES, None, f"outpost/cache/1/{purpose}".encode()).derive(wrapping_key)


def _tampered(name: str, cause: str) -> CacheTamperedError:
    return CacheTamperedError(
        f"{name} cannot be trusted: {cause}.",
        field=name,
        next_step=_NEXT_STEP,
    )
