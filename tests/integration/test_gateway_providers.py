"""A provider that is away or refuses our key: whose fault it is, what to do, and that nothing of the provider shows."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from outpost.gateway import probes
from outpost.simulator.script import FaultKind, Script
from tests.unit.gateway.harness import KEYS, ORG, Stack, stack


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


async def ask(outpost: Stack, *, stream: bool = False) -> tuple[int, str, bytes]:
    """Status, x-should-retry and body of a chat."""
    sent = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEYS['main']}"}) as session:
        url = f"{outpost.url}/chat/completions"
        async with session.post(url, json=sent) as response:
            return response.status, response.headers.get("x-should-retry", ""), await response.read()


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() == event]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_the_provider_refuses_is_named_by_its_file(
    status: int, outpost: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    outpost.simulator.play(Script(status=status))
    seen, retry, data = await ask(outpost)
    error = orjson.loads(data)["error"]
    assert (seen, retry, error["code"]) == (502, "false", "provider.credentials")
    assert f"provider sim answered {status}" in error["message"]
    assert "check the file secrets/sim-key" in error["message"]
    assert "script" not in error["message"]
    (line,) = lines(caplog, "provider.failed")
    assert (line["provider"], line["host"], line["code"]) == ("sim", "127.0.0.1", "provider.credentials")
    assert "provider-secret" not in str(line)


async def test_an_unreachable_provider_is_logged_by_name_and_host_only(
    outpost: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    outpost.configure(base_url="http://127.0.0.1:9/private/v1")
    status, retry, _ = await ask(outpost)
    assert (status, retry) == (502, "")
    (line,) = lines(caplog, "provider.failed")
    assert (line["provider"], line["host"], line["code"]) == ("sim", "127.0.0.1", "provider.unreachable")
    assert "private" not in str(line)
    assert lines(caplog, "request.failed") == []


async def test_a_stream_that_breaks_is_logged_too(outpost: Stack, caplog: pytest.LogCaptureFixture) -> None:
    outpost.simulator.play(Script(reply="one two three " * 20, chunk_chars=8, fault=FaultKind.RESET, after_bytes=900))
    status, _, _ = await ask(outpost, stream=True)
    assert status == 200
    assert [line["provider"] for line in lines(caplog, "provider.failed")] == ["sim"]


async def test_a_rejected_request_is_the_caller_s_and_is_not_logged(
    outpost: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    outpost.simulator.play(Script(status=400))
    status, retry, data = await ask(outpost)
    assert (status, retry) == (400, "false")
    assert "script" not in orjson.loads(data)["error"]["message"]
    assert lines(caplog, "provider.failed") == []


SECRETS = {"that is missing": (None, "secret.missing"), "that is empty": (b"\n", "secret.empty")}


@pytest.mark.parametrize("what", SECRETS)
async def test_a_provider_key(what: str, outpost: Stack, caplog: pytest.LogCaptureFixture) -> None:
    content, code = SECRETS[what]
    path = outpost.folder / "secrets" / "sim-key"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert (await probes.readiness(outpost.gateway)).orgs[ORG]["provider_keys"] == code
    status, retry, data = await ask(outpost)
    error = orjson.loads(data)["error"]
    assert (status, retry, error["code"]) == (503, "false", code)
    assert str(outpost.folder) not in error["message"]
    (line,) = lines(caplog, "request.failed")
    assert (line["code"], line["next"]) == (code, f"write it to {path}, mode 0600")
    path.write_bytes(b"provider-secret")
    assert (await probes.readiness(outpost.gateway)).orgs[ORG]["provider_keys"] == "ok"
