"""An installation under attack: what it serves, says and records."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from controlplane.bootstrap.plane import Plane
from outpost.cli.stack import ProgramError
from outpost.cli.status import ask
from outpost.core.bundle.access import ClientKey
from outpost.core.errors import OutpostError
from outpost.ledger.reader import LogReader
from outpost.paths import StatePaths
from tests.e2e.conftest import CARD, ORG, Site

DEADLINE_SECONDS = 30.0  # of anything that another process has to do; a busy machine needs a few
LOOK_SECONDS = 0.05  # between two looks
DAY_SECONDS = 24 * 3600

T = TypeVar("T")


async def until(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Look at another process again and again until it has come so far.

    Raises:
        AssertionError: it did not in time.
    """
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (found := await look()) is None:
                await asyncio.sleep(LOOK_SECONDS)
            return found
    except TimeoutError:
        raise AssertionError(f"in {DEADLINE_SECONDS} s it did not happen: {what}") from None


class Besieged:
    """One outpost, seen from outside."""

    def __init__(self, site: Site, plane: Plane) -> None:
        self.site = site
        self.plane = plane

    @property
    def folder(self) -> Path:
        """Everything that the outpost keeps about its org."""
        return StatePaths(self.site.stack.outpost_state()).org(ORG).folder

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """A probe of the listener."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.site.url}{path}") as reply:
            return reply.status, await reply.json()

    async def serves(self) -> dict[str, Any]:
        """What the last good set makes of a harmless prompt and of a card, and by which revision."""
        harmless, _ = await self.site.chat("What is the capital of France?")
        card, refusal = await self.site.chat(f"my card is {CARD}")
        _, health = await self.get("/health")
        return {
            "harmless": harmless,
            "card": card,
            "why": refusal["error"]["code"],
            "by": health["orgs"][ORG]["revision"],
            "told": (await self.status())["revision"],
        }

    async def status(self) -> dict[str, Any]:
        """What `outpost status` says of the org; empty while the outpost does not answer or knows nothing yet."""
        try:
            answer = await asyncio.to_thread(ask, self.site.stack.outpost_state())
        except OutpostError:
            return {}
        return dict(answer["orgs"].get(ORG, {}))

    async def in_state(self, *states: str) -> dict[str, Any]:
        """Wait for a state; returns what status says then."""

        async def look() -> dict[str, Any] | None:
            told = await self.status()
            return told if told.get("state") in states else None

        return await until(f"state {' or '.join(states)}", look)

    async def active(self, revision: str) -> dict[str, Any]:
        """Wait for a revision to be active."""

        async def look() -> dict[str, Any] | None:
            told = await self.status()
            return told if told.get("revision") == revision else None

        return await until(f"revision {revision}", look)

    def records(self) -> list[dict[str, Any]]:
        """The audit log up to its newest checkpoint."""
        reader = LogReader(StatePaths(self.site.stack.outpost_state()).org(ORG).audit)
        return [json.loads(entry) for entry in reader.entries(0, reader.tree_size())]

    async def recorded(self, what: str, wanted: Callable[[list[dict[str, Any]]], T | None]) -> T:
        """Wait until the audit log shows something."""

        async def look() -> T | None:
            return wanted(await asyncio.to_thread(self.records))

        return await until(what, look)

    async def publish(self, name: str) -> str:
        """Sign a new set, as the operator would: one more client key. Returns the revision."""
        now_s = self.plane.clock.now_ms() // 1000
        blank = ClientKey(
            "", "", name, "", (), "", "api", "internal", (), now_s - 60, now_s + DAY_SECONDS, revoked=False
        )
        _, _, published = await self.plane.publisher.create_key(ORG, blank)
        return published.revision

    async def stop(self) -> None:
        """Stop the outpost."""
        if await self.site.stack.programs["outpost"].stop() != 0:
            raise ProgramError("the outpost did not end well")
