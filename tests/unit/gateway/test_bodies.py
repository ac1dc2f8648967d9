"""Bodies that drip are cut off in time; metrics have a listener of their own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from outpost.core.errors import RequestError
from outpost.gateway import server
from outpost.gateway.bodies import read_body
from tests.unit.gateway.harness import stack


async def test_a_body_that_drips_is_cut_off() -> None:
    async def handler(request: web.Request) -> web.Response:
        try:
            await read_body(request, 1_000, 0.05)
        except RequestError as error:
            return web.Response(text=error.code)
        return web.Response(text="read")

    app = web.Application()
    app.router.add_post("/", handler)
    never = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with TestServer(app) as listening, aiohttp.ClientSession() as session:
        async with session.post(listening.make_url("/"), data=dripping()) as got:
            assert await got.text() == "body.timeout"
        async with session.post(listening.make_url("/"), data=b"{}") as got:
            assert await got.text() == "read"


async def test_metrics_and_probes_have_a_listener_of_their_own(tmp_path: Path) -> None:
    async with (
        stack(tmp_path) as outpost,
        TestServer(server.metrics_app(outpost.gateway)) as listening,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(listening.make_url("/metrics")) as got:
            assert got.headers["Content-Type"].startswith("text/plain")
            assert "outpost_canary_blocked" in await got.text()
        async with session.get(listening.make_url("/readyz")) as got:
            assert got.status == 200
        async with session.get(outpost.url.removesuffix("/v1") + "/metrics") as got:
            assert got.status == 404
