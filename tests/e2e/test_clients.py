"""The official clients, unchanged but for base URL and key (what the spine must show, 2 and 3)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.conftest import CARD, EMAIL, LISTED_MODEL, SECRET, Site, make_site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("clients")
    async with make_site(folder) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    await site.script()
    await site.seen()
    async with openai.AsyncOpenAI(base_url=site.base_url, api_key=site.key) as made:
        yield made


def ask(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


async def streamed(client: openai.AsyncOpenAI, text: str) -> str:
    stream = await client.chat.completions.create(**ask(text), stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


@pytest.mark.asyncio(loop_scope="module")
class TestClients:
    async def test_an_allowed_chat_is_answered(self, site: Site, client: openai.AsyncOpenAI) -> None:
        reply = await client.chat.completions.with_raw_response.create(**ask("hello"))
        assert "hello" in (reply.parse().choices[0].message.content or "")
        assert reply.headers["x-request-id"]
        assert reply.headers["x-policy-action"] == "ALLOW"
        seen = await site.seen()
        assert len(seen) == 1
        assert site.key not in json.dumps(seen)

    async def test_an_allowed_chat_is_streamed(self, site: Site, client: openai.AsyncOpenAI) -> None:
        assert "hello there" in await streamed(client, "hello there")

    async def test_a_tool_call_comes_through(self, site: Site, client: openai.AsyncOpenAI) -> None:
        await site.script(tool_call={"name": "get_weather", "arguments": '{"city": "Paris"}'})
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
        reply = await client.chat.completions.create(**ask("weather?"), tools=tools)  # type: ignore[call-overload]
        call = reply.choices[0].message.tool_calls[0].function
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})

    async def test_a_secret_in_a_tool_call_is_withheld(self, site: Site, client: openai.AsyncOpenAI) -> None:
        await site.script(tool_call={"name": "send", "arguments": json.dumps({"key": SECRET})})
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.chat.completions.create(**ask("send it"))
        assert SECRET not in str(refused.value)

    async def test_a_card_is_refused_and_the_provider_sees_nothing(
        self, site: Site, client: openai.AsyncOpenAI
    ) -> None:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.chat.completions.create(**ask(f"my card is {CARD}"))
        body = refused.value.body
        assert isinstance(body, dict)
        assert body["rule"]
        assert body["request_id"]
        assert body["code"] == "policy.blocked"
        assert refused.value.response.headers["x-should-retry"] == "false"
        assert await site.seen() == []

    async def test_emails_are_replaced_and_put_back(self, site: Site, client: openai.AsyncOpenAI) -> None:
        reply = await client.chat.completions.create(**ask(f"write to {EMAIL}"))
        assert EMAIL in (reply.choices[0].message.content or "")
        seen = await site.seen()
        assert EMAIL not in seen[0]["body"]
        assert "[EMAIL_1]" in seen[0]["body"]

    async def test_emails_are_put_back_into_a_stream(self, site: Site, client: openai.AsyncOpenAI) -> None:
        assert EMAIL in await streamed(client, f"write to {EMAIL}")
        assert EMAIL not in (await site.seen())[0]["body"]

    async def test_a_doubled_key_is_refused(self, site: Site, client: openai.AsyncOpenAI) -> None:
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"a","content":"b"}]}'
        status, answer = await site.post(body)
        assert (status, answer["error"]["code"]) == (400, "body.duplicate_key")
        assert await site.seen() == []

    async def test_models_are_listed(self, client: openai.AsyncOpenAI) -> None:
        assert [model.id async for model in client.models.list()] == [LISTED_MODEL]  # the route's glob is no model

    @pytest.mark.parametrize("unit", ["characters", "bytes"])
    async def test_a_streamed_secret_never_arrives_wherever_it_is_cut(
        self, site: Site, client: openai.AsyncOpenAI, unit: str
    ) -> None:
        text = f"The token is {SECRET} and that is all."
        start = text.index(SECRET)
        for cut in range(start, start + len(SECRET) + 1, 1 if unit == "characters" else 5):
            cuts = {"cuts": [cut]} if unit == "characters" else {"byte_cuts": list(range(cut, 4000, 7))}
            await site.script(reply=text, times=1, **cuts)
            raw = await self.raw_stream(site)
            assert SECRET[:5] not in raw, cut
            assert raw.rstrip().endswith("data: [DONE]")
            assert '"error"' in raw

    async def raw_stream(self, site: Site) -> str:
        import aiohttp

        headers = {"Authorization": f"Bearer {site.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            body = {**ask("tell me"), "stream": True}
            async with session.post(f"{site.base_url}/chat/completions", json=body) as reply:
                assert reply.status == 200
                return (await reply.read()).decode()
