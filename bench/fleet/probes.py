"""Calls beside the agent's own: how soon a replica refuses an outpost that was revoked at another."""

import asyncio
import time
from dataclasses import replace

from outpost.bootstrap import agents
from outpost.core.errors import OutpostError
from outpost.sync import identity as identities

ABSENT = bytes(32)  # the hash of no file
PROBE_SECONDS = 10.0
PAUSE_SECONDS = 0.02  # between two calls
REVOKED = "outpost.revoked"


async def until_revoked(dialer: agents.Dialer, identity: identities.Identity, endpoint: str) -> float | None:
    """Call one replica again and again; the moment when it said that the outpost is revoked, None when it did not."""
    told = replace(identity.enrollment, sync_endpoint=endpoint, sync_endpoints=(endpoint,))
    plane = dialer.connect(replace(identity, enrollment=told), 0)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            while True:
                try:
                    await plane.fetch(ABSENT, 0)
                except OutpostError as error:
                    if error.as_dict()["code"] == REVOKED:
                        return time.monotonic()
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        return None
    finally:
        await plane.close()
