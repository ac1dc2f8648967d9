"""Refusals that take as long for one cause as for another.

Equal work is done for every cause before a stranger is refused. What is left are microseconds: a row that is read or
not, a page that is in memory or not. They vanish behind one moment at which all refusals are given.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.domain.errors import ControlPlaneError
from controlplane.ports.world import Clock

REFUSED_AFTER_SECONDS = 0.02  # ten times the work before a refusal, on one busy core


@asynccontextmanager
async def refused_evenly(clock: Clock) -> AsyncIterator[None]:
    """Give a refusal from within not before its moment; what succeeds is not held up."""
    began = clock.monotonic()
    try:
        yield
    except ControlPlaneError:
        await asyncio.sleep(REFUSED_AFTER_SECONDS - (clock.monotonic() - began))
        raise
