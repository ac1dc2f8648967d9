"""Keys and certificates of the control plane itself."""

from collections.abc import Sequence
from typing import Protocol

from cryptography import x509

from certs.signer import Signer
from controlplane.domain.vault import VaultEntry


class Vault(Protocol):
    """A key or certificate chain for each name. Private halves are sealed, and leave it only for TLS."""

    async def lay(self, entries: Sequence[VaultEntry]) -> None:
        """Put the first entries into an empty vault, all or none. Raises VaultLaidError: it is not empty."""
        ...

    async def keep(self, entry: VaultEntry) -> None:
        """Add an entry. Raises VaultTakenError: the name is taken."""
        ...

    async def replace(self, entry: VaultEntry, before: Sequence[x509.Certificate]) -> bool:
        """Put an entry in place of the one whose certificates are ``before``, or of none when that is empty.

        Returns:
            False when another process was faster; then nothing was changed.
        """
        ...

    async def signer(self, name: str) -> Signer:
        """The key of a name. Raises NotInitialisedError: there is none; KeyStoreError: it does not open."""
        ...

    async def in_modules(self) -> tuple[str, ...]:
        """Names of keys that lie in a key module, and so are nowhere else."""
        ...

    async def certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """A certificate with its issuers. Raises NotInitialisedError: there is none."""
        ...

    async def find_certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """The same; empty when there is none."""
        ...

    async def key_and_certificates(self, name: str) -> tuple[bytes, tuple[x509.Certificate, ...]]:
        """A private key as PEM in clear, which TLS must have, and its chain, of one moment. Raises as ``signer``."""
        ...
