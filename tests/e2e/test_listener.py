"""The listener as clients and strangers meet it: TLS beyond loopback, slow or odd requests, a stop in midstream."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from outpost.cli.stack import Program, stack, wait_ready
from tests.e2e.conftest import CARD, ORG, Site, install, outcome
from tests.fakes.impatient import PATIENCE_SECONDS

STOP_BOUND_SECONDS = 5.0  # from SIGTERM to the end of every process, a stream being open
CUT_BOUND_SECONDS = 10.0
ANSWER_PAUSE_MS = 200
LONG_ANSWER = "All is well. " * 200
GOOD = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Everything but the outpost runs."""
    async with stack(tmp_path_factory.mktemp("listener") / "site") as running:
        yield (await install(running, ORG))[ORG]


def own_address() -> str:
    """An address of this machine that others could reach, or loopback where there is none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address that nobody has
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


@contextlib.asynccontextmanager
async def run(site: Site, *arguments: str) -> AsyncIterator[tuple[Site, Program]]:
    """The outpost, by a program and its options; stopped at the end."""
    state = ("--state", str(site.stack.outpost_state()), "--port", "0", "--metrics-port", "0")
    program = await site.stack.start("outpost", *arguments, *state)
    try:
        yield replace(site, url=program.ready["url"]), program
    finally:
        await program.stop()


def strict_client(site: Site) -> ssl.SSLContext:
    """What a careful client makes of the outpost's own CA file; strict as newer Pythons are by default."""
    context = ssl.create_default_context(cafile=str(site.stack.outpost_state() / "listener" / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.asyncio(loop_scope="module")
class TestTLS:
    async def test_beyond_loopback_it_speaks_tls_and_nothing_else(self, site: Site, tmp_path: Path) -> None:
        address = own_address()
        settings = tmp_path / "outpost.toml"
        settings.write_text("tls = true\n" if address == "127.0.0.1" else "")
        arguments = ("outpost", "run", "--host", address, "--workers", "1", "--config", str(settings))
        async with run(site, *arguments) as (secured, _):
            assert secured.url.startswith(f"https://{address}:")
            context = strict_client(site)
            await wait_ready(secured.url, tls=context)
            body, headers = json.loads(GOOD), {"Authorization": f"Bearer {site.key}"}
            chat = "/v1/chat/completions"
            async with aiohttp.ClientSession(headers=headers) as session:
                async with session.post(f"{secured.url}{chat}", json=body, ssl=context) as reply:
                    assert reply.status == 200
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await session.post(f"{secured.url}{chat}", json=body)
                with pytest.raises(aiohttp.ClientError):
                    await session.post(f"{secured.url.replace('https', 'http')}{chat}", json=body)
            assert len(await site.seen()) == 1

    async def test_clear_text_beyond_loopback_is_refused_at_the_start(self, site: Site, tmp_path: Path) -> None:
        settings = tmp_path / "outpost.toml"
        settings.write_text("tls = false\n")
        status, out, errors = await outcome(
            *("outpost", "run", "--host", "0.0.0.0", "--port", "0", "--metrics-port", "0"),
            *("--config", str(settings), "--state", str(site.stack.outpost_state())),
        )
        assert (status, out) == (8, "")
        assert "settings." in errors
        assert "where: tls" in errors


@pytest.mark.asyncio(loop_scope="module")
class TestStop:
    async def test_a_stop_in_midstream_ends_the_stream_properly_and_in_time(self, site: Site) -> None:
        async with run(site, "outpost", "run", "--workers", "1") as (serving, program):
            await wait_ready(serving.url)
            await serving.script(reply=LONG_ANSWER, delay_ms=ANSWER_PAUSE_MS, times=1)
            headers = {"Authorization": f"Bearer {site.key}"}
            url, body = f"{serving.base_url}/chat/completions", {**json.loads(GOOD), "stream": True}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(url, json=body) as reply,
            ):
                first = await reply.content.readline()
                assert first.startswith(b"data: ")
                began = time.monotonic()
                stopping = asyncio.create_task(program.stop())
                rest = await reply.content.read()
                events = [line for line in (first + rest).splitlines() if line]
                assert await stopping == 0
                took = time.monotonic() - began
            assert took <= STOP_BOUND_SECONDS
            assert events[-1] == b"data: [DONE]"
            error = json.loads(events[-2].removeprefix(b"data: "))["error"]
            assert error["code"] == "outpost.stopping"
            assert error["request_id"] == reply.headers["X-Request-Id"]


def request(key: str, *extra: bytes, length: bool = True, body: bytes = GOOD, end: bytes = b"\r\n") -> bytes:
    """A request by hand: correct but for the lines that are added."""
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"Host: outpost", b"Authorization: Bearer " + key.encode()]
    lines += [b"Content-Type: application/json", *extra, b"Connection: close"]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return end.join(lines) + end + end + body


CODED = b"Transfer-Encoding: chunked"
ODDITIES: dict[str, tuple[tuple[bytes, ...], dict[str, object]]] = {
    "two hosts": ((b"Host: elsewhere",), {}),
    "a length and a coding": ((CODED,), {"body": CHUNKED}),
    "a coding and a length of zero": ((CODED, b"Content-Length: 0"), {"length": False, "body": CHUNKED}),
    "two different lengths": ((b"Content-Length: 5",), {}),
    "one length twice": ((b"Content-Length: %d" % len(GOOD),), {}),
    "a list of lengths": ((b"Content-Length: %d, %d" % (len(GOOD), len(GOOD)),), {"length": False}),
    "a length with a sign": ((b"Content-Length: +%d" % len(GOOD),), {"length": False}),
    "two codings": ((CODED, b"Transfer-Encoding: identity"), {"length": False, "body": CHUNKED}),
    "an unknown coding": ((b"Transfer-Encoding: xchunked",), {"length": False, "body": CHUNKED}),
    "chunked twice": ((b"Transfer-Encoding: chunked, chunked",), {"length": False, "body": CHUNKED}),
    "a space before the colon": ((b"Transfer-Encoding : chunked",), {"body": CHUNKED}),
    "a folded header": ((b"X-Folded: a\r\n b",), {}),
    "lines that end in a bare LF": ((), {"end": b"\n"}),
    "a NUL in a header": ((b"X-Odd: a\0b",), {}),
    "a CR in a header": ((b"X-Odd: a\rb",), {}),
    "a chunk size in another notation": ((CODED,), {"length": False, "body": b"0x" + CHUNKED}),
    "a header of 20 kB": ((b"X-Long: " + b"a" * 20_000,), {}),
    "two thousand headers": (tuple(b"X-%d: a" % number for number in range(2_000)), {}),
    "two keys": ((b"Authorization: Bearer " + b"op_acme_" + b"A" * 43,), {}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(site: Site) -> AsyncIterator[Site]:
    """An outpost that waits a second where the real one waits for a minute."""
    async with run(site, "tests.fakes.impatient", "run", "--workers", "0") as (serving, _):
        await wait_ready(serving.url)
        yield serving


async def connected(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(site.url.rsplit(":", 1)[1]))


async def answered(site: Site, sent: bytes) -> tuple[int, bytes]:
    """Status and body of whatever comes back until the connection is closed."""
    reader, writer = await connected(site)
    writer.write(sent)
    async with asyncio.timeout(CUT_BOUND_SECONDS):
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        raw = await reader.read()
    writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.mark.asyncio(loop_scope="module")
class TestStrangers:
    async def test_the_request_is_served_without_an_oddity(self, impatient: Site) -> None:
        await impatient.seen()
        assert (await answered(impatient, request(impatient.key)))[0] == 200
        assert (await answered(impatient, request(impatient.key, CODED, length=False, body=CHUNKED)))[0] == 200
        assert len(await impatient.seen()) == 2

    @pytest.mark.parametrize("oddity", ODDITIES)
    async def test_what_two_servers_could_read_differently_is_refused(self, impatient: Site, oddity: str) -> None:
        extra, changes = ODDITIES[oddity]
        await impatient.seen()
        status, _ = await answered(impatient, request(impatient.key, *extra, **changes))  # type: ignore[arg-type]
        assert status == (401 if oddity == "two keys" else 400)
        assert await impatient.seen() == []

    async def test_nothing_is_smuggled_behind_a_refused_request(self, impatient: Site) -> None:
        await impatient.seen()
        odd = request(impatient.key, CODED, body=b"0\r\n\r\n")
        status, body = await answered(impatient, odd + request(impatient.key))
        assert status == 400
        assert b"HTTP/1." not in body
        assert await impatient.seen() == []

    async def test_a_head_that_does_not_end_is_cut(self, impatient: Site) -> None:
        took, raw = await dripped(impatient, request(impatient.key).split(b"Content-Type")[0], b"X-More: a\r\n")
        assert raw == b""
        assert PATIENCE_SECONDS * 0.9 <= took <= CUT_BOUND_SECONDS

    async def test_a_body_that_does_not_end_is_answered_and_cut(self, impatient: Site) -> None:
        await impatient.seen()
        head = request(impatient.key, b"Content-Length: 5000", length=False, body=b"").replace(
            b"Connection: close", b"X: y"
        )
        took, raw = await dripped(impatient, head, b" ")
        assert raw.startswith(b"HTTP/1.1 408 ")
        assert json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["code"] == "body.timeout"
        assert PATIENCE_SECONDS * 0.9 <= took <= CUT_BOUND_SECONDS
        assert await impatient.seen() == []

    async def test_slow_clients_keep_nobody_waiting(self, impatient: Site) -> None:
        slow = [asyncio.create_task(dripped(impatient, b"POST /v1/chat/completions HTTP/1.1\r\n", b"X: y\r\n"))]
        slow += [asyncio.create_task(dripped(impatient, b"", b"P")) for _ in range(50)]
        began = time.monotonic()
        assert (await impatient.chat("hello"))[0] == 200
        assert (await impatient.chat(f"my card is {CARD}"))[0] == 403
        assert not any(task.done() for task in slow) or time.monotonic() - began >= PATIENCE_SECONDS * 0.9
        await asyncio.gather(*slow)


async def dripped(site: Site, start: bytes, drop: bytes) -> tuple[float, bytes]:
    """Send a beginning and then drop by drop; seconds until the other side closed, and what it said."""
    reader, writer = await connected(site)
    began = time.monotonic()
    writer.write(start)

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(PATIENCE_SECONDS / 10)

    dripping = asyncio.create_task(drip())
    raw = b""
    try:
        async with asyncio.timeout(CUT_BOUND_SECONDS + 1):
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    raw += piece
    finally:
        dripping.cancel()
        writer.close()
    return time.monotonic() - began, raw
