"""What a restored control plane remembers."""

from typing import Protocol

from controlplane.domain.restorations import Restoration, RestoredOrg


class Restorations(Protocol):
    """Restores of this control plane."""

    async def add(self, restoration: Restoration) -> None:
        """Note one."""
        ...

    async def all(self) -> tuple[Restoration, ...]:
        """All, newest first."""
        ...


class RestoredRow(Protocol):
    """What one org remembers of the newest restore."""

    async def get(self) -> RestoredOrg | None:
        """It, or None when it never was restored."""
        ...

    async def put(self, restored: RestoredOrg) -> None:
        """Replace it."""
        ...
