"""An installation under attack: what it serves, says and records."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from controlplane.bootstrap.plane import Plane
from outpost.cli.status import ask
from outpost.core.bundle.access import ClientKey
from outpost.core.errors import OutpostError
from outpost.ledger.reader import LogReader
from outpost.paths import StatePaths
from tests.e2e.conftest import CARD, Site

DEADLINE_SECONDS = 30.0  # of anything that another process has to do; a busy machine needs a few
LOOK_SECONDS = 0.05  # between two looks
DAY_SECONDS = 24 * 3600
SERVED = {"harmless": 200, "card": 403, "why": "policy.blocked"}  # what a good set makes of two prompts

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


async def new_key(plane: Plane, org: str) -> tuple[str, str]:
    """A client key of an org; returns its text and the revision that has it."""
    now_s = plane.clock.now_ms() // 1000
    name = f"key-{plane.chance.token_bytes(4).hex()}"
    blank = ClientKey("", "", name, "", (), "", "api", "internal", (), now_s - 60, now_s + DAY_SECONDS, revoked=False)
    text, _, published = await plane.publisher.create_key(org, blank)
    return text, published.revision


@dataclass(frozen=True, slots=True)
class Besieged:
    """One org on a running outpost, seen from outside.

    Attributes:
        site: the installation; knows where the outpost listens now.
        plane: the control plane's state, opened beside or instead of the running one.
        org: the org.
        key: a client key of the org.
    """

    site: Site
    plane: Plane
    org: str
    key: str

    @property
    def folder(self) -> Path:
        """Everything that the outpost keeps about the org."""
        return StatePaths(self.site.stack.outpost_state()).org(self.org).folder

    async def chat(self, text: str) -> tuple[int, dict[str, Any]]:
        """One question, by the client of this org."""
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        return await self.site.post(json.dumps(body).encode(), Authorization=f"Bearer {self.key}")

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """A probe of the listener."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.site.url}{path}") as reply:
            return reply.status, await reply.json()

    async def serves(self) -> dict[str, Any]:
        """What the last good set makes of a harmless prompt and of a card, and by which revision."""
        harmless, _ = await self.chat("What is the capital of France?")
        card, refusal = await self.chat(f"my card is {CARD}")
        _, health = await self.get("/health")
        return {
            "harmless": harmless,
            "card": card,
            "why": refusal["error"]["code"],
            "by": health["orgs"][self.org]["revision"],
            "told": (await self.status())["revision"],
        }

    async def status(self) -> dict[str, Any]:
        """What `outpost status` says of the org; empty while the outpost does not answer or knows nothing yet."""
        try:
            answer = await asyncio.to_thread(ask, self.site.stack.outpost_state())
        except OutpostError:
            return {}
        return dict(answer["orgs"].get(self.org, {}))

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
        reader = LogReader(StatePaths(self.site.stack.outpost_state()).org(self.org).audit)
        return [json.loads(entry) for entry in reader.entries(0, reader.tree_size())]

    async def recorded(self, what: str, wanted: Callable[[list[dict[str, Any]]], T | None]) -> T:
        """Wait until the audit log shows something."""

        async def look() -> T | None:
            return wanted(await asyncio.to_thread(self.records))

        return await until(what, look)

    async def newest(self) -> str:
        """Revision of the newest set that was signed."""
        async with self.plane.store.for_org(self.org).read() as transaction:
            newest = await transaction.releases.newest()
        assert newest is not None
        return newest.revision

    async def publish(self) -> str:
        """Sign a new set, as the operator would: one more client key. Returns the revision."""
        return (await new_key(self.plane, self.org))[1]
