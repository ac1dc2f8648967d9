"""Generations of CAs, and certificates of ingresses."""

from collections.abc import Sequence
from typing import Protocol

from certs.keys import PrivateKey
from certs.signer import Signer
from controlplane.domain.authorities import Authority
from controlplane.domain.ingress import IngressCertificate
from controlplane.domain.vault import KeyLabel, VaultEntry


class AuthorityRows(Protocol):
    """Generations of CAs."""

    async def all(self) -> tuple[Authority, ...]:
        """All generations, by kind and number."""
        ...

    async def add(self, authorities: Sequence[Authority], entries: Sequence[VaultEntry], known: int) -> bool:
        """Add generations with their keys, all or none.

        Args:
            authorities: new ones.
            entries: of the vault, named by them.
            known: how many generations there are.

        Returns:
            False when there are others by now; then nothing was added.
        """
        ...

    async def change(self, before: Sequence[Authority], after: Sequence[Authority]) -> bool:
        """Change states.

        Args:
            before: generations as they were read.
            after: those that change.

        Returns:
            False when one of them is not as it was read; then nothing was changed.
        """
        ...

    async def next_list(self, authority: Authority, number: int) -> bool:
        """Note the number of a revocation list before it is signed; false when a higher one was used meanwhile."""
        ...


class Ingresses(Protocol):
    """Certificates of ingresses."""

    async def add(self, certificate: IngressCertificate) -> None:
        """Note a certificate before it is handed out."""
        ...

    async def all(self) -> tuple[IngressCertificate, ...]:
        """All of them, newest first."""
        ...

    async def revoke(self, name: str, now_ms: int) -> int:
        """Revoke every certificate of a name.

        Returns:
            How many there were.
        """
        ...


class KeyMaker(Protocol):
    """Makes the keys of CAs where they shall live: in the vault, or in a token that they never leave."""

    def make(self, name: str) -> tuple[PrivateKey | KeyLabel, Signer]:
        """A fresh P-256 key for an entry of the vault. Blocks. Raises KeyStoreError."""
        ...
