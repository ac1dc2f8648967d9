"""Signed sets of one org, and the keys that sign them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from certs.signer import Signer
from controlplane.domain.offers import SignedRelease
from controlplane.domain.records import Delivery


class Releases(Protocol):
    """Signed sets of one org; a stored set never changes."""

    async def add(self, release: SignedRelease, contents: Mapping[str, bytes]) -> None:
        """Store a set: its files by name, with their exact bytes."""
        ...

    async def newest(self) -> SignedRelease | None:
        """The set with the highest number."""
        ...

    async def contents(self, release: SignedRelease) -> Mapping[str, bytes]:
        """All files of a set by name."""
        ...

    async def holding(self, name: str) -> SignedRelease | None:
        """The newest set with a file of this name."""
        ...

    async def size_of(self, sha256: bytes) -> int | None:
        """Size of a stored file of any set, or None."""
        ...

    async def part(self, sha256: bytes, offset: int, size: int) -> bytes:
        """At most ``size`` bytes of a stored file from ``offset``."""
        ...

    async def keep_deliveries(self, words: Sequence[Delivery]) -> None:
        """Keep the newest word of each outpost, many at once; of two words of one outpost in here the later counts.

        A word about an older set than the stored one says nothing any more, nor does one about the same set that was
        said earlier, whichever replica stores it when; but that a set took effect goes before its offer, whatever the
        times say. One that only says again, after a reconnect, that the same set is active, does not take the place of
        what was said when it became so.
        """
        ...

    async def forgive(self, outpost_id: str) -> bool:
        """Let an outpost's newest word be that it was made the offer which it refused.

        Returns:
            Whether it had refused one.
        """
        ...

    async def refusals(self, number: int) -> Mapping[str, str]:
        """Outposts whose newest word is that they refused this set, with the code of the refusal."""
        ...

    async def deliveries(self) -> tuple[Delivery, ...]:
        """The newest word of each outpost."""
        ...


class RoleKeys(Protocol):
    """Signing keys of one org's roles; private halves never leave the adapter."""

    async def create(self, role: str, number: int) -> Signer:
        """Make one more Ed25519 key of a role; the one that is there when it was made before."""
        ...

    async def all(self) -> Mapping[str, tuple[Signer, ...]]:
        """Keys that are at hand by role, each role's by number; a role without any is not named."""
        ...
