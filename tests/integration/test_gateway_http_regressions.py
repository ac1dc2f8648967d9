"""Bytes that are no HTTP, and expectations: the answer is ours and repeats nothing of what came."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from tests.unit.gateway.harness import KEYS, Stack, stack

KEY = KEYS["main"]
BODY = b'{"model":"gpt-x","messages":[{"role":"user","content":"hello"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.fixture
async def outpost(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack(tmp_path) as made:
        yield made


async def send(outpost: Stack, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", outpost.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


def lengths(*sizes: int) -> bytes:
    return b"".join(b"Content-Length: %d\r\n" % size for size in sizes)


AUTH = f"Authorization: Bearer {KEY}\r\n".encode()
MALFORMED: dict[str, bytes] = {
    "a blank before the colon": HEAD + f"Authorization : Bearer {KEY}\r\n\r\n".encode(),
    "a control in a name": HEAD + f"A\x01b: {KEY}\r\n\r\n".encode(),
    "a key instead of a request": KEY.encode() + b"\r\n\r\n",
    "two lengths": HEAD + AUTH + lengths(len(BODY), 5) + b"\r\n" + BODY,
    "a length and chunks": HEAD + AUTH + lengths(5) + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a line beyond every bound": b"GET /" + KEY.encode() * 400 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_no_http_is_answered_without_repeating_it(outpost: Stack, case: str) -> None:
    head, _, body = (await send(outpost, MALFORMED[case])).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].endswith(b"400 Bad Request")
    assert orjson.loads(body)["error"]["code"] == "http.malformed"
    assert KEY.encode() not in head + body
    assert b"aiohttp" not in head
    assert outpost.seen() == []


async def test_an_expectation_that_cannot_be_met_is_not_repeated(outpost: Stack) -> None:
    answer = await send(outpost, HEAD + AUTH + lengths(len(BODY)) + f"Expect: {KEY}\r\n\r\n".encode() + BODY)
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b'"http.expectation"' in answer
    assert KEY.encode() not in answer
    assert outpost.seen() == []


async def test_the_usual_expectation_is_met(outpost: Stack) -> None:
    answer = await send(outpost, HEAD + AUTH + lengths(len(BODY)) + b"Expect: 100-continue\r\n\r\n" + BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert len(outpost.seen()) == 1
