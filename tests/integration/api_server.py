"""The admin API on a real socket with real TLS, over the bed of the unit tests."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from certs.keys import certificates_pem
from certs.shell.tls import client_context, identity_context
from controlplane.web.api.dispatch import Rates
from controlplane.web.api.http import ApiHandler, start
from tests.unit.controlplane.admin_bed import AdminBed, admin_bed
from tests.unit.controlplane.bed import Chance

CA_FILE = "ca.pem"  # below the folder of a site


@dataclass
class Site:
    """A listening API."""

    bed: AdminBed
    port: int
    tls: ssl.SSLContext
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def raw(self, request: bytes, seconds: float = 10.0) -> bytes:
        """Bytes to the server; what comes back until it closes, or until the time is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            writer.write(request)
            await writer.drain()
            try:
                return await asyncio.wait_for(reader.read(1 << 20), seconds)
            except TimeoutError:
                return b""
        finally:
            writer.close()

    async def call(self, method: str, path: str, token: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)


@asynccontextmanager
async def api_site(folder: Path, *orgs: str, rates: Rates | None = None) -> AsyncIterator[Site]:
    """A control plane whose API listens on a free port."""
    # Its clock stands still, but begins now: TLS looks at the time itself.
    async with admin_bed(folder, *orgs, rates=rates, now_ms=time.time_ns() // 1_000_000) as bed:
        identity = await bed.setup.server_identity(("127.0.0.1",), bed.board.current)
        handler = ApiHandler(bed.dispatcher, lambda: Chance().token_bytes(12).hex())
        runner, port = await start(handler, "127.0.0.1", 0, identity_context(identity))
        roots = certificates_pem(bed.board.current.roots)
        (folder / CA_FILE).write_bytes(roots)
        tls = client_context(roots)
        try:
            async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=tls, timeout=30) as client:
                yield Site(bed, port, tls, client)
        finally:
            await runner.cleanup()


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document = json.loads(response.content)
    assert document["status"] == response.status_code
    return response.status_code, document["code"]
