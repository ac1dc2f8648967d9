"""Behind a real nginx that ends the outposts' TLS: its word counts because it proved who it is, and no other's does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio
import pytest
from outpost_wire.v1 import sync_pb2, sync_pb2_grpc

from certs import keys
from certs.csr import build_request
from certs.join_token import JoinToken
from certs.shell.signers import generate_tls_key
from certs.shell.tls import TLSIdentity
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.services.defaults import default_provider
from controlplane.settings import Settings
from tests.fakes import nginx_ingress
from tests.fakes.nginx_ingress import Ingress
from tests.integration.controlplane_client import SECONDS, Client, Running, channel, ended, read, refusal, serving
from tests.integration.test_identity_wire import boot, renewed

ABSENT = bytes(32)


@dataclass
class Edge:
    """A control plane with nginx in front of its listener for outposts."""

    cp: Running
    nginx: Ingress
    direct: str

    async def enrolled(self, name: str) -> Client:
        token: JoinToken = await self.cp.token(name=name)
        return await Client.enroll(token)


@asynccontextmanager
async def edge(folder: Path, *, ingress: bool = True) -> AsyncIterator[Edge]:
    """Outposts are told the address of nginx."""
    port, state, files = nginx_ingress.new_port(), folder / "cp", folder / "nginx"
    nginx_ingress.program()
    settings = Settings(enroll_port=0, grpc_port=0, sync_endpoint=f"127.0.0.1:{port}", ingress=ingress)
    await initialise(state, settings, None)
    async with opened(state) as plane:
        await plane.publisher.create("acme", [default_provider("http://127.0.0.1:9/v1", "provider")])
        files.mkdir()
        await write_files(plane, files)
    async with serving(state) as cp:
        direct = f"127.0.0.1:{cp.ready['listen'][1].rpartition(':')[2]}"
        with nginx_ingress.ingress(files, port, direct) as nginx:
            yield Edge(cp, nginx, direct)


async def write_files(plane: Plane, files: Path) -> None:
    """What the page tells people to put beside nginx."""
    made = {}
    for name in ("ingress", "server"):
        key = generate_tls_key()
        (files / f"{name}.key").write_bytes(keys.private_key_pem(key))
        made[name] = build_request(key)
    (files / "ingress.pem").write_bytes((await plane.ingresses.issue("edge", made["ingress"]))[1])
    (files / "server.pem").write_bytes((await plane.ingresses.issue_server(["127.0.0.1"], made["server"]))[1])
    anchors = (await plane.trust()).anchors
    (files / "roots.pem").write_bytes(keys.certificates_pem(anchors.roots))
    (files / "issuers.pem").write_bytes(keys.certificates_pem((*anchors.roots, *anchors.intermediates)))
    (files / "lists.pem").write_bytes(await plane.authorities.revocation_lists())


async def fetch(client: Client, **headers: str) -> str:
    """Code with which a file that nobody has is refused: of the outpost that is known, or of nobody."""
    call = client.sync.Fetch(
        sync_pb2.FetchRequest(sha256=ABSENT), timeout=SECONDS, metadata=tuple(headers.items()), wait_for_ready=True
    )
    return (await refusal(call.read()))[1].code


async def until_refused(client: Client, code: str) -> None:
    """Ask until a refusal arrives: a replica takes changes up within a second or two."""
    async with asyncio.timeout(SECONDS):
        while await fetch(client) != code:
            await asyncio.sleep(0.05)  # a probe of another process's view


def passed_on(client: Client) -> str:
    leaf = keys.certificates_pem([keys.certificate_from_der(client.answer.chain_der[0])])
    return quote(leaf.decode())


def as_peer(client: Client, endpoint: str, pair: tuple[bytes, bytes]) -> Client:
    """A caller with another certificate, at another address."""
    key_pem, chain_pem = pair
    roots = keys.certificates_pem(keys.certificate_from_der(der) for der in client.answer.trust_bundle_der)
    other = Client(client.answer, client.key_pem, client.log, endpoint)
    other.channel = channel(endpoint, roots, TLSIdentity(key_pem, chain_pem))
    other.sync = sync_pb2_grpc.SyncStub(other.channel)
    return other


async def test_an_outpost_lives_behind_nginx(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        client = await place.enrolled("prod")
        assert client.answer.sync_endpoint == f"127.0.0.1:{place.nginx.port}"
        old = await client.hello(boot=boot(1))
        assert (await read(old)).offer.files is not None
        fresh = await renewed(client)
        new = await fresh.hello(boot=boot(1))
        await read(new)
        assert (await ended(old))[1].code in {"identity.superseded", "sync.replaced"}
        shown = await place.cp.shown(holds=lambda found: found.outpost.join_sequence == 2)
        assert shown.outpost.boot_source == "127.0.0.1"
        await place.cp.plane.administration.revoke("acme", "prod", "stolen")
        assert (await ended(new))[1].code == "outpost.revoked"
        assert await fetch(fresh) == "outpost.revoked"
        for each in (client, fresh):
            await each.channel.close()


async def test_two_outposts_on_one_ingress_are_told_apart(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        one, two = await place.enrolled("one"), await place.enrolled("two")
        streams = [await each.hello(boot=boot(1)) for each in (one, two)]
        for stream in streams:
            await read(stream)
        await place.cp.plane.administration.revoke("acme", "one", "stolen")
        assert (await ended(streams[0]))[1].code == "outpost.revoked"
        assert await fetch(one) == "outpost.revoked"
        assert await fetch(two) == await fetch(two) != "outpost.revoked"
        for each in (one, two):
            await each.channel.close()


async def test_the_header_of_anybody_else_is_nothing(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        good, revoked = await place.enrolled("good"), await place.enrolled("revoked")
        await place.cp.plane.administration.revoke("acme", "revoked", "stolen")
        await until_refused(revoked, "outpost.revoked")
        known = await fetch(good)
        assert known != "outpost.revoked"
        header = {"x-ssl-client-cert": passed_on(revoked)}
        assert await fetch(good, **header) == known  # nginx replaces it
        pair = (revoked.key_pem, keys.certificates_pem([keys.certificate_from_der(revoked.answer.chain_der[0])]))
        thief = as_peer(good, place.direct, pair)
        assert await fetch(thief, **{"x-ssl-client-cert": passed_on(good)}) == "outpost.revoked"
        for each in (good, revoked, thief):
            await each.channel.close()


INGRESS_SAYS = {
    "no certificate": "",
    "no PEM": "-----BEGIN",
    "a certificate twice": "twice",
    "a header of 16 KiB": "A" * 16_384,
}


@pytest.mark.parametrize("what", INGRESS_SAYS)
async def test_an_ingress_that_passes_nonsense_on_is_refused(what: str, tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        client = await place.enrolled("prod")
        files = place.nginx.folder
        ingress = as_peer(
            client, place.direct, ((files / "ingress.key").read_bytes(), (files / "ingress.pem").read_bytes())
        )
        said = INGRESS_SAYS[what]
        told = passed_on(client) * 2 if said == "twice" else said
        try:
            code = await fetch(ingress, **({"x-ssl-client-cert": told} if told else {}))
        except (KeyError, AssertionError):
            code = "refused by gRPC itself"  # metadata beyond its own limit
        assert code in ({"identity.refused"} if len(told) < 16_000 else {"identity.refused", "refused by gRPC itself"})
        assert await fetch(ingress, **{"x-ssl-client-cert": passed_on(client)}) == await fetch(client)
        for each in (client, ingress):
            await each.channel.close()


async def test_an_ingress_that_was_revoked_is_refused(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        client = await place.enrolled("prod")
        known = await fetch(client)
        assert known != "identity.refused"
        await place.cp.plane.ingresses.revoke("edge")
        await until_refused(client, "identity.refused")
        await client.channel.close()


async def test_without_the_setting_an_ingress_is_nobody(tmp_path: Path) -> None:
    async with edge(tmp_path, ingress=False) as place:
        client = await place.enrolled("prod")
        assert await fetch(client) == "identity.refused"
        await client.channel.close()


async def test_nginx_itself_refuses_whom_the_lists_name(tmp_path: Path) -> None:
    async with edge(tmp_path) as place:
        client = await place.enrolled("prod")
        await place.cp.plane.administration.revoke("acme", "prod", "stolen")
        await until_refused(client, "outpost.revoked")  # judged by the control plane
        (place.nginx.folder / "lists.pem").write_bytes(await place.cp.plane.authorities.revocation_lists())
        place.nginx.reload()
        async with asyncio.timeout(SECONDS):
            while True:
                fresh = Client(client.answer, client.key_pem, client.log)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await fresh.sync.Fetch(sync_pb2.FetchRequest(sha256=ABSENT), timeout=SECONDS).read()
                await fresh.channel.close()
                if "400" in (caught.value.details() or ""):  # nginx's own words; until then the control plane's
                    break
                await asyncio.sleep(0.1)  # a probe: nginx starts new workers
        await client.channel.close()
