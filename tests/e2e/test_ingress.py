"""A whole installation behind a real nginx, made with the commands of docs/ingress.md."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from outpost.cli.stack import Stack, free_port, stack, wait_ready
from tests.e2e.conftest import CARD, ORG, Site, until
from tests.fakes import nginx_ingress

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=ignored")


async def files_of_the_page(running: Stack, files: Path) -> None:
    """What an operator makes for nginx, by the commands that the page names."""
    files.mkdir()
    for name in ("ingress", "server"):
        made = ("-keyout", str(files / f"{name}.key"), "-out", str(files / f"{name}.csr"))
        subprocess.run(["openssl", "req", "-new", *EC, *made], check=True, capture_output=True)
    face = ("--server", "--host", "127.0.0.1")
    for name, options in (("ingress", ()), ("server", face)):
        place = ("--csr", str(files / f"{name}.csr"), "--out", str(files / f"{name}.pem"))
        await running.controlplane("ingress", "issue", "edge", *options, *place)
    exported = ("--out-roots", str(files / "roots.pem"), "--out-issuers", str(files / "issuers.pem"))
    await running.controlplane("ca", "export", *exported)
    await running.controlplane("ca", "crl", "--out", str(files / "lists.pem"))


@asynccontextmanager
async def behind_nginx(folder: Path) -> AsyncIterator[tuple[Site, nginx_ingress.Ingress]]:
    """An outpost that serves, and reaches its control plane through nginx only."""
    nginx_ingress.program()
    port, backend = free_port(), free_port()
    async with stack(folder) as running:
        ports = ("--enroll-port", str(free_port()), "--grpc-port", str(backend))
        await running.controlplane("init", *ports, "--ingress", "--sync-endpoint", f"127.0.0.1:{port}")
        await files_of_the_page(running, folder / "nginx")
        provider = await running.start_provider()
        await running.start_controlplane()
        with nginx_ingress.ingress(folder / "nginx", port, f"127.0.0.1:{backend}") as nginx:
            await running.controlplane("org", "create", ORG, "--single-person", "--provider-url", provider)
            key = await running.create_key(ORG)
            await running.enroll(ORG)
            secrets = running.outpost_state() / "secrets"
            secrets.mkdir(mode=0o700)
            (secrets / "provider").write_text("sk-simulated")
            program = await running.start_outpost("outpost", "--workers", "1")
            url = str(program.ready["url"])
            await wait_ready(url)
            yield Site(running, url, key, provider.removesuffix("/v1")), nginx
            await running.stop()


async def test_an_outpost_lives_behind_nginx_and_is_revoked(tmp_path: Path) -> None:
    async with behind_nginx(tmp_path) as (site, _):
        assert (await site.chat("hello"))[0] == 200
        assert (await site.chat(f"my card is {CARD}"))[0] == 403

        async def delivered() -> Any:
            return await site.audited() or None

        assert await until(delivered)
        await site.stack.controlplane("outpost", "revoke", "outpost", "--org", ORG, "--yes")

        async def told() -> Any:
            return (await site.status()).get("functions", {}).get("control_link") == "outpost.revoked" or None

        assert await until(told)
