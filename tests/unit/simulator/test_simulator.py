"""The pretended provider keeps the shapes of the real ones and misbehaves exactly as told."""

import base64
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from outpost.simulator.script import FaultKind, Script, ToolCall, pieces, writes
from outpost.simulator.server import Simulator

MESSAGES: Any = [{"role": "user", "content": "hej"}]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    made = Simulator()
    await made.start()
    yield made
    await made.stop()


async def test_the_openai_client_reads_whole_and_streamed_answers(simulator: Simulator) -> None:
    async with openai.AsyncOpenAI(base_url=simulator.url, api_key="x") as client:
        whole = await client.chat.completions.create(model="m", messages=MESSAGES)
        stream: Any = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        names = [model.id async for model in client.models.list()]
    assert whole.choices[0].message.content == text == "You said: hej"
    assert "gpt-simulated" in names


async def test_the_anthropic_client_reads_texts_and_tool_calls(simulator: Simulator) -> None:
    base = simulator.url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=base, api_key="x") as client:
        whole: Any = await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert whole.content[0].text == "You said: hej"
        async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
            assert "".join([text async for text in stream.text_stream]) == "You said: hej"
        simulator.play(Script(tool_call=ToolCall(name="f", arguments='{"a":1}'), chunk_chars=2))
        async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
            final: Any = await stream.get_final_message()
    assert (final.content[0].name, final.content[0].input) == ("f", {"a": 1})


async def test_the_admin_endpoint_scripts_shows_and_forgets(simulator: Simulator) -> None:
    base = simulator.url.removesuffix("/v1")
    sent = b'{"messages":[{"role":"user","content":"\xc3\xa9"}] }'
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base}/_sim/script", json={"reply": "scripted", "times": 1}) as got:
            assert got.status == 200
        async with session.post(f"{simulator.url}/chat/completions", data=sent) as got:
            assert (await got.json())["choices"][0]["message"]["content"] == "scripted"
        async with session.post(f"{simulator.url}/chat/completions", data=sent) as got:
            assert (await got.json())["choices"][0]["message"]["content"] == "You said: é"
        async with session.get(f"{base}/_sim/requests") as got:
            seen = (await got.json())["requests"]
        assert [base64.b64decode(each["body_base64"]) for each in seen] == [sent, sent]
        assert seen[0]["path"] == "/v1/chat/completions"
        async with session.delete(f"{base}/_sim/requests") as got:
            assert got.status == 200
        assert simulator.seen == []


async def test_an_unknown_script_is_refused_by_field(simulator: Simulator) -> None:
    base = simulator.url.removesuffix("/v1")
    async with aiohttp.ClientSession() as session, session.post(f"{base}/_sim/script", json={"fault": "nap"}) as got:
        assert got.status == 422
        assert (await got.json())["problems"][0]["field"] == "fault"


FAULTS: dict[str, tuple[Script, type[Exception]]] = {
    "reset before the head": (Script(fault=FaultKind.RESET_BEFORE_HEAD), aiohttp.ServerDisconnectedError),
    "reset in the body": (Script(fault=FaultKind.RESET, after_bytes=10), aiohttp.ClientPayloadError),
    "silence in the body": (Script(fault=FaultKind.HANG, after_bytes=10), aiohttp.SocketTimeoutError),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_faults_are_what_they_say(simulator: Simulator, case: str) -> None:
    script, error = FAULTS[case]
    simulator.play(script)
    timeout = aiohttp.ClientTimeout(sock_read=0.3)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(error):
            async with session.post(f"{simulator.url}/chat/completions", data=b"{}") as got:
                await got.read()


def test_cuts_of_text_and_bytes_lose_nothing() -> None:
    text = "abcdefghij"
    assert pieces(text, Script(cuts=(0, 3, 3, 9, 99))) == ["abc", "defghi", "j"]
    assert pieces(text, Script(chunk_chars=4)) == ["abcd", "efgh", "ij"]
    assert pieces("", Script()) == []
    events = [b"12345", b"678"]
    assert writes(events, Script()) == events
    assert writes(events, Script(byte_cuts=(2, 6))) == [b"12", b"3456", b"78"]
    assert writes(events, Script(write_bytes=3)) == [b"123", b"456", b"78"]
    assert all(len(a) == 3 for a, _ in pairwise(writes(events, Script(write_bytes=3))))
