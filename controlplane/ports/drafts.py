"""Configuration that waits for signatures."""

from typing import Protocol


class Drafts(Protocol):
    """Configuration that waits for signatures of keys that are elsewhere; one draft for each org."""

    def keep(self, org: str, data: bytes) -> None:
        """Keep a draft in the place of an older one."""
        ...

    def get(self, org: str) -> bytes | None:
        """The draft that waits."""
        ...

    def drop(self, org: str) -> None:
        """Forget it: it was published, or is not wanted any more."""
        ...
