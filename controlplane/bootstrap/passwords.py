"""Passwords under argon2id, hashed in threads, four at a time: a flood of sign-ins costs what four sign-ins cost."""

import asyncio
import secrets
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import ARGON2_VERSION, Type

# OWASP Password Storage Cheat Sheet: argon2id with 19 MiB, 2 passes, 1 lane.
MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
HASH_BYTES: Final = 32
SALT_BYTES: Final = 16  # RFC 9106 §3.1: 16 bytes are recommended
AT_ONCE: Final = 4  # 4 × 19 MiB of memory at most


class Argon2Passwords:
    """Adapter of ``ports.Passwords``."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(PASSES, MEMORY_KIB, LANES, HASH_BYTES, SALT_BYTES, type=Type.ID)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        salt, digest = (_encoded(secrets.token_bytes(size)) for size in (SALT_BYTES, HASH_BYTES))
        self._nobodys = f"$argon2id$v={ARGON2_VERSION}$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"

    @property
    def nobodys(self) -> str:
        """Random bytes in the form of a hash: no password is known to have it, and checking one takes as long."""
        return self._nobodys

    async def hash(self, password: str) -> str:
        """Encode a password."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def matches(self, encoded: str, password: str) -> bool:
        """Whether it is the one that was encoded."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._matches, encoded, password)

    def is_outdated(self, encoded: str) -> bool:
        """Whether today's parameters are others."""
        return self._hasher.check_needs_rehash(encoded)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)

    def _matches(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (Argon2Error, InvalidHashError):
            return False


def _encoded(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode()
