"""The least that aiohttp can do as a gateway: check a key, pass bytes. One process, uvloop. PORT UPSTREAM KEY"""

import asyncio
import hmac
import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

PORT, UPSTREAM, KEY = int(sys.argv[1]), sys.argv[2].rstrip("/"), f"Bearer {sys.argv[3]}".encode()
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer up"}


async def main() -> None:
    """Serve for ever."""
    connector = TCPConnector(limit=0, ttl_dns_cache=300)
    async with ClientSession(
        connector=connector, cookie_jar=DummyCookieJar(), timeout=ClientTimeout(total=None), auto_decompress=False
    ) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), KEY):
                return web.Response(status=401)
            body = await request.read()
            async with session.post(UPSTREAM + request.path_qs, data=body, headers=HEADERS) as up:
                if up.content_length is not None:
                    return web.Response(body=await up.read(), status=up.status, content_type="application/json")
                answer = web.StreamResponse(status=up.status, headers={"Content-Type": up.headers["Content-Type"]})
                await answer.prepare(request)
                async for piece in up.content.iter_any():
                    await answer.write(piece)
                await answer.write_eof()
                return answer

        app = web.Application(client_max_size=32 << 20)
        app.router.add_post("/{tail:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", PORT, backlog=1024).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
