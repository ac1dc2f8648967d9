"""`outpost demo`: the main job end to end, on this machine only, with everything real but the provider."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from outpost.cli.stack import PROBE_SECONDS, Stack, stack, wait_ready
from outpost.cli.status import ask
from outpost.core.errors import InternalError, OutpostError

ORG = "demo"
LOCK = "lock"
COSIGNED_SECONDS = 20.0
MIN_RECORDS = 8  # five requests: three decided and finished, two refused or blocked, and the start
# A test number of the card industry and a made-up key, in pieces so that no scanner takes this file for a leak.
CARD = "4111" + " 1111" * 3
SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
EMAIL = "ada.lovelace@example.org"


class DemoFolderError(OutpostError):
    """The demo's folder is in use or cannot be written."""

    code = "settings.demo_folder"


class DemoFailedError(InternalError):
    """A step of the demo did not show what it must."""

    code = "demo.failed"


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".demo"), show_default=True, help="where it works"
)
@click.option("--keep-running", is_flag=True, help="serve until Ctrl-C, to try your own client")
def demo(folder: Path, *, keep_running: bool) -> None:
    """Show everything once: control plane, outpost, pretended provider, five requests, an audited log.

    Example: outpost demo
    """
    try:
        with _claimed(folder.absolute()) as claimed:
            asyncio.run(_demo(claimed, keep_running=keep_running))
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[Path]:
    """An empty folder that no other demo works in.

    Raises:
        DemoFolderError: another demo runs there, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DemoFolderError(
            f"the demo's folder cannot be written: {error.strerror}", field=str(folder), next_step="--folder ELSEWHERE"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for entry in folder.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield folder
    except BlockingIOError as error:
        raise DemoFolderError(
            "another demo runs in this folder", field=str(folder), next_step="stop it, or --folder ELSEWHERE"
        ) from error
    finally:
        os.close(descriptor)


async def _demo(folder: Path, *, keep_running: bool) -> None:
    show = _Printer()
    async with stack(folder) as running:
        outpost = await _set_up(running, show)
        await _requests(outpost, show)
        await _audit(running, show)
        if keep_running:
            _invite(outpost)
            await asyncio.Event().wait()
    show.line("stopped", "every process has ended; state, logs and audit stay in " + _short(folder))
    click.echo("\nTry next")
    program = _program()
    click.echo(f"  {program} demo --keep-running        keep it up, then point your own client at it")
    click.echo(f"  {program} verify-audit --state {_short(folder / 'outpost')}    prove the log again, offline")
    click.echo("  docs/first-hour.md: your own policy and your own key, in 12 commands")


def _program() -> str:
    """How this program is called from here: by name when the shell finds it, else by path."""
    own = Path(sys.executable).with_name("outpost")
    found = shutil.which("outpost")
    return "outpost" if found is not None and Path(found).samefile(own) else _short(own)


@dataclass(frozen=True, slots=True)
class _Outpost:
    url: str
    key: str
    provider_admin: str


class _Printer:
    """One line per step, with the time it took."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def line(self, step: str, what: str) -> None:
        """Print a finished step."""
        now = time.monotonic()
        click.echo(f"  ✓ {step:<18}{what}  ({now - self._at:.2f} s)")
        self._at = now


async def _set_up(running: Stack, show: _Printer) -> _Outpost:
    provider = await running.start_provider()
    show.line("provider", f"{provider}, pretended")
    await running.start_controlplane()
    ready = running.programs["controlplane"].ready
    show.line("control plane", f"enrollment {ready['enroll']}, outposts {ready['grpc']}, embedded database")
    await running.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
    key = await running.create_key(ORG)
    show.line("org", f"{ORG}: signed configuration and one client key, kept as a hash")
    await running.enroll(ORG)
    secrets = running.outpost_state() / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "provider").write_text("sk-demo")
    show.line("enrolled", "keys were made by the outpost; only a certificate request travelled")
    program = await running.start_outpost()
    await wait_ready(program.ready["url"])
    show.line("outpost", f"{program.ready['url']}, configuration verified, canary blocked")
    return _Outpost(str(program.ready["url"]), key, provider.removesuffix("/v1"))


async def _requests(outpost: _Outpost, show: _Printer) -> None:
    import aiohttp

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {outpost.key}"}) as session:
        client = _Client(outpost, session)
        for step in (_hello, _card, _email, _leak, _tampered):
            show.line(*await step(client))


class _Client:
    """A client that looks at both ends: what it got, and what the provider saw."""

    def __init__(self, outpost: _Outpost, session: Any) -> None:
        self._outpost = outpost
        self._session = session

    async def chat(self, text: str, **options: Any) -> tuple[int, str]:
        """One chat completion; status and raw answer."""
        body = {"model": "gpt-demo", "messages": [{"role": "user", "content": text}], **options}
        return await self.post(json.dumps(body).encode())

    async def post(self, body: bytes) -> tuple[int, str]:
        """Raw bytes as a chat completion."""
        headers = {"Content-Type": "application/json"}
        url = f"{self._outpost.url}/v1/chat/completions"
        async with self._session.post(url, data=body, headers=headers) as reply:
            return reply.status, await reply.text()

    async def script(self, script: dict[str, Any]) -> None:
        """Tell the provider how to behave."""
        async with self._session.post(f"{self._outpost.provider_admin}/_sim/script", json=script) as reply:
            reply.raise_for_status()

    async def seen(self) -> list[dict[str, Any]]:
        """What the provider saw since it was last asked."""
        async with self._session.get(f"{self._outpost.provider_admin}/_sim/requests") as reply:
            seen: list[dict[str, Any]] = (await reply.json())["requests"]
        async with self._session.delete(f"{self._outpost.provider_admin}/_sim/requests"):
            return seen


Step = Callable[[_Client], Awaitable[tuple[str, str]]]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise DemoFailedError(what, next_step="outpost doctor; the logs lie in the demo's folder")


async def _hello(client: _Client) -> tuple[str, str]:
    status, _ = await client.chat("hello")
    _require(status == 200 and len(await client.seen()) == 1, f"a harmless prompt was answered with {status}")
    return "request 1", '"hello" → 200 allowed'


async def _card(client: _Client) -> tuple[str, str]:
    status, text = await client.chat(f"my card is {CARD}")
    _require(status == 403 and not await client.seen(), f"a card number was answered with {status}")
    error = json.loads(text)["error"]
    return "request 2", f'"my card is 4111 …" → 403, rule {error["rule"]}; the provider was not called'


async def _email(client: _Client) -> tuple[str, str]:
    status, text = await client.chat(f"write to {EMAIL}")
    seen = await client.seen()
    _require(status == 200 and len(seen) == 1 and EMAIL not in seen[0]["body"], "an e-mail address left the outpost")
    _require(EMAIL in text, "the e-mail address was not put back into the answer")
    return "request 3", '"write to ada…" → 200; the provider saw [EMAIL_1], you got the address back'


async def _leak(client: _Client) -> tuple[str, str]:
    await client.script({"reply": f"the token is {SECRET} ok", "cuts": list(range(1, 60, 3)), "times": 1})
    status, text = await client.chat("tell me", stream=True)
    await client.seen()
    _require(status == 200 and "ghp_" not in text and "[DONE]" in text, "a streamed secret reached the client")
    return "request 4", "the provider streams a secret in pieces → not one byte of it arrives"


async def _tampered(client: _Client) -> tuple[str, str]:
    body = b'{"model":"gpt-demo","messages":[{"role":"user","content":"a","content":"b"}]}'
    status, text = await client.post(body)
    code = json.loads(text)["error"]["code"]
    _require(status == 400 and not await client.seen(), f"a doubled key was answered with {status}")
    return "request 5", f"a body with a doubled key → 400 {code}"


async def _audit(running: Stack, show: _Printer) -> None:
    state = str(running.outpost_state())
    await _cosigned(running)
    out = json.loads(await running.command("outpost", "verify-audit", "--state", state, "--output", "json"))
    log = out["logs"][0]
    show.line(
        "audit", f"{log['records']} records verified with public keys only, {log['cosigned']} cosigned by the witness"
    )


async def _cosigned(running: Stack) -> None:
    """Wait until the control plane has cosigned what the requests left in the log."""
    state = running.outpost_state()
    async with asyncio.timeout(COSIGNED_SECONDS):
        while True:
            org = (await asyncio.to_thread(ask, state))["orgs"][ORG]
            if org["audit_cosigned"] >= MIN_RECORDS:
                return
            await asyncio.sleep(PROBE_SECONDS)


def _invite(outpost: _Outpost) -> None:
    click.echo("\nThe demo keeps running. Point any OpenAI client at it:")
    click.echo(f"  export OPENAI_BASE_URL={outpost.url}/v1 OPENAI_API_KEY={outpost.key}")
    click.echo("Ctrl-C stops everything.")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
