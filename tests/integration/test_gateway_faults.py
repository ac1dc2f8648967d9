"""Providers that fail and clients that leave: each has its own answer, nothing hangs, nothing uninspected passes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from outpost.simulator.script import FaultKind, Script
from tests.unit.gateway.harness import AWS_KEY, EMAIL, KEYS, Stack, rule, stack

AUTH = {"Content-Type": "application/json", "Authorization": f"Bearer {KEYS['main']}"}
HELD = "the key is " + AWS_KEY[:12]  # the end is an open candidate: held back until it is settled


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        made.configure(read_timeout_ms=400)
        yield made


def body(*, stream: bool = False) -> bytes:
    return orjson.dumps({"model": "gpt-x", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})


async def post(outpost: Stack, data: bytes) -> tuple[int, bytes]:
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=AUTH) as got:
        return got.status, await got.read()


def events(data: bytes) -> list[Any]:
    assert data.endswith(b"\n\n")
    return [e[6:] if e == b"data: [DONE]" else orjson.loads(e[6:]) for e in data.split(b"\n\n") if e]


FAULTS: dict[str, tuple[Script, int, str]] = {
    "status 500": (Script(status=500), 502, "provider.status"),
    "status 401, our key is wrong": (Script(status=401), 502, "provider.credentials"),
    "status 429": (Script(status=429), 429, "provider.rate_limited"),
    "status 400": (Script(status=400), 400, "provider.rejected"),
    "a redirect": (Script(fault=FaultKind.REDIRECT), 502, "provider.status"),
    "another content type": (Script(fault=FaultKind.CONTENT_TYPE), 502, "provider.bad_reply"),
    "an oversized head": (Script(fault=FaultKind.OVERSIZED_HEAD), 502, "provider.bad_reply"),
    "silence before the head": (Script(fault=FaultKind.HANG_BEFORE_HEAD), 504, "provider.timeout"),
    "reset before the head": (Script(fault=FaultKind.RESET_BEFORE_HEAD), 502, "provider.reset"),
}
WHOLE_FAULTS: dict[str, tuple[Script, int, str]] = {
    "reset in the body": (Script(fault=FaultKind.RESET, after_bytes=40), 502, "provider.reset"),
    "silence in the body": (Script(fault=FaultKind.HANG, after_bytes=40), 504, "provider.timeout"),
    "half an answer": (Script(fault=FaultKind.TRUNCATED), 502, "provider.bad_reply"),
    "invalid UTF-8": (Script(fault=FaultKind.INVALID_UTF8), 502, "provider.bad_reply"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", FAULTS)
async def test_a_failure_before_the_answer_is_a_status(outpost: Stack, case: str, stream: bool) -> None:
    script, status, code = FAULTS[case]
    outpost.simulator.play(script)
    got, data = await post(outpost, body(stream=stream))
    assert (got, orjson.loads(data)["error"]["code"]) == (status, code)
    finished = (await outpost.records())[-1]
    assert (finished["outcome"], finished["status"]) == ("provider_error", status)
    assert len(outpost.simulator.seen) == 1  # not followed, not repeated


@pytest.mark.parametrize("case", WHOLE_FAULTS)
async def test_a_failure_inside_a_whole_answer_is_a_status(outpost: Stack, case: str) -> None:
    script, status, code = WHOLE_FAULTS[case]
    outpost.simulator.play(script)
    got, data = await post(outpost, body())
    assert (got, orjson.loads(data)["error"]["code"]) == (status, code)


STREAM_FAULTS: dict[str, tuple[Script, str]] = {
    "reset": (Script(reply=HELD, fault=FaultKind.RESET, after_bytes=700), "provider.reset"),
    "silence": (Script(reply=HELD, fault=FaultKind.HANG, after_bytes=700), "provider.timeout"),
    "broken event": (Script(reply=HELD, fault=FaultKind.BROKEN_SSE), "provider.bad_sse"),
    "truncated": (Script(reply=HELD, fault=FaultKind.TRUNCATED), "provider.bad_sse"),
    "invalid UTF-8": (Script(reply=HELD, fault=FaultKind.INVALID_UTF8), "provider.bad_sse"),
}


@pytest.mark.parametrize("case", STREAM_FAULTS)
async def test_a_failure_inside_a_stream_is_its_last_event(outpost: Stack, case: str) -> None:
    script, code = STREAM_FAULTS[case]
    outpost.simulator.play(script)
    status, data = await post(outpost, body(stream=True))
    got = events(data)
    assert status == 200
    assert got[-1] == b"[DONE]"
    assert got[-2]["error"]["code"] == code
    assert AWS_KEY[:4].encode() not in data  # what was held stays held
    assert (await outpost.records())[-1]["outcome"] == "provider_error"


async def test_a_provider_that_is_not_there_is_unreachable(outpost: Stack) -> None:
    outpost.configure(base_url="http://127.0.0.1:9/v1")
    status, data = await post(outpost, body())
    error = orjson.loads(data)["error"]
    assert (status, error["code"]) == (502, "provider.unreachable")
    assert "127.0.0.1" not in error["message"]


async def test_a_provider_error_text_is_not_passed_on(outpost: Stack) -> None:
    outpost.simulator.play(Script(status=400))
    _, data = await post(outpost, body())
    assert b"scripted failure" not in data
    assert b"scripted" not in data  # nor is its code


@pytest.mark.parametrize("cut", range(0, len(AWS_KEY) + 1, 2))
async def test_a_secret_in_a_stream_never_arrives_wherever_it_is_cut(outpost: Stack, cut: int) -> None:
    reply = f"use {AWS_KEY} now"
    outpost.simulator.play(Script(reply=reply, cuts=(4 + cut,), write_bytes=1 + cut))
    _, data = await post(outpost, body(stream=True))
    got = events(data)
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in got[:-2])
    assert text == "use "
    assert got[-2]["error"]["code"] == "policy.blocked"
    assert got[-1] == b"[DONE]"
    records = await outpost.records()
    assert [record["event"] for record in records] == ["request.decided", "stream.finding", "request.finished"]
    assert records[-1]["outcome"] == "blocked"
    assert AWS_KEY not in str(records)


async def test_a_stream_that_policy_wants_whole_is_judged_whole(outpost: Stack) -> None:
    outpost.configure(rules=(rule("twice", "BLOCK", "output", entity_types=["email"], entity_count_min=2),))
    outpost.simulator.play(Script(reply=f"{EMAIL} and again {EMAIL} ."))
    status, data = await post(outpost, body(stream=True))
    assert (status, orjson.loads(data)["error"]["rule"]) == (403, "twice")
    assert EMAIL.encode() not in data
    outpost.simulator.play(Script(reply=f"only {EMAIL} ."))
    status, data = await post(outpost, body(stream=True))
    text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events(data)[:-1])
    assert (status, text) == (200, f"only {EMAIL} .")


async def test_without_a_record_a_stop_still_ends_the_stream_cleanly(outpost: Stack) -> None:
    outpost.simulator.play(Script(reply=f"wait for it {AWS_KEY} ", chunk_chars=2, delay_ms=5))
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=body(stream=True), headers=AUTH) as got:
        first = await got.content.readuntil(b"\n\n")
        await asyncio.to_thread(outpost.ledger.close)
        rest = events(first + await got.read())
    assert (rest[-2]["error"]["code"], rest[-1]) == ("audit.unavailable", b"[DONE]")


async def settled(outpost: Stack) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return await outpost.records()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_client_that_leaves_lets_the_provider_go_and_is_recorded(outpost: Stack, stream: bool) -> None:
    outpost.configure(read_timeout_ms=20_000)
    outpost.simulator.play(Script(fault=FaultKind.HANG, after_bytes=600 if stream else 20))
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session:
        if stream:
            async with session.post(url, data=body(stream=True), headers=AUTH) as got:
                await got.content.readuntil(b"\n\n")
                got.close()
        else:
            asking = asyncio.create_task(session.post(url, data=body(), headers=AUTH))
            while not outpost.simulator.seen:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert (await settled(outpost))[-1]["outcome"] == "client_gone"
    async with asyncio.timeout(10):
        while not outpost.simulator.aborted:
            await asyncio.sleep(0)


async def test_draining_ends_streams_with_an_event_and_refuses_new_requests(outpost: Stack) -> None:
    outpost.configure(read_timeout_ms=20_000)
    outpost.simulator.play(Script(fault=FaultKind.HANG, after_bytes=600))
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=body(stream=True), headers=AUTH) as got:
        first = await got.content.readuntil(b"\n\n")
        await outpost.gateway.drain(0.05)
        rest = events(first + await got.read())
    assert (rest[-2]["error"]["code"], rest[-1]) == ("outpost.stopping", b"[DONE]")
    status, data = await post(outpost, body())
    assert (status, orjson.loads(data)["error"]["code"]) == (503, "outpost.stopping")
    assert "failed" in [record.get("outcome") for record in await settled(outpost)]


async def test_connections_to_the_provider_are_kept(outpost: Stack) -> None:
    for stream in (True, False, True):
        assert (await post(outpost, body(stream=stream)))[0] == 200
    assert len(outpost.simulator.connections) == 1
    assert outpost.simulator.aborted == 0


async def test_draining_answers_requests_that_wait_for_a_provider(outpost: Stack) -> None:
    outpost.configure(read_timeout_ms=20_000)
    outpost.simulator.play(Script(fault=FaultKind.HANG_BEFORE_HEAD))
    asking = asyncio.create_task(post(outpost, body()))
    while not outpost.simulator.seen:
        await asyncio.sleep(0)
    await outpost.gateway.drain(0.05)
    status, data = await asking
    assert (status, orjson.loads(data)["error"]["code"]) == (503, "outpost.stopping")
    assert (await outpost.records())[-1]["outcome"] == "failed"


async def test_a_fault_of_ours_inside_a_stream_ends_it_with_an_event(outpost: Stack) -> None:
    inspector = outpost.gateway.programs.all()[0].inspector
    outpost.simulator.play(Script(reply="one two three four five six", chunk_chars=3, delay_ms=5))
    url = f"{outpost.url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=body(stream=True), headers=AUTH) as got:
        first = await got.content.readuntil(b"\n\n")
        inspector.scanner.open_candidate = None  # type: ignore[assignment]
        rest = events(first + await got.read())
    assert (rest[-2]["error"]["code"], rest[-1]) == ("internal", b"[DONE]")
    assert (await outpost.records())[-1]["outcome"] == "failed"
