"""A control plane whose CA keys lie in a PKCS#11 token (SoftHSM): made there, enrolled, renewed and rotated with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pkcs11
import pytest
from outpost_wire.v1 import sync_pb2

from certs.csr import build_request
from certs.shell.signers import generate_tls_key
from controlplane.bootstrap.plane import initialise, opened
from controlplane.domain.authorities import AuthorityKind
from controlplane.domain.vault import KeyKind
from controlplane.services.defaults import default_provider
from controlplane.settings import FILE_NAME, Settings
from controlplane.store.errors import KeyKindError
from tests.fakes.softhsm import SoftHSM, softhsm
from tests.integration.controlplane_client import SECONDS, Client, Running, read, refusal, serving
from tests.integration.test_identity_wire import after, boot, renewed


def settings_of(token: SoftHSM) -> Settings:
    place = token.place()
    return Settings(
        enroll_port=0,
        grpc_port=0,
        pkcs11_module=str(place.module),
        pkcs11_token=place.token,
        pkcs11_pin_file=str(place.pin_file),
    )


@asynccontextmanager
async def made(folder: Path, settings: Settings) -> AsyncIterator[Running]:
    await initialise(folder, settings, None)
    async with opened(folder) as plane:
        await plane.publisher.create("acme", [default_provider("http://127.0.0.1:9/v1", "provider")])
    async with serving(folder) as started:
        yield started


async def kinds(cp: Running) -> dict[str, str]:
    async with cp.plane.store._engine.registry(write=False) as session:
        rows = await session.fetch("SELECT name, kind FROM vault ORDER BY name")
    return {str(name): str(kind) for name, kind in rows}


async def test_ca_keys_never_leave_the_token(tmp_path: Path) -> None:
    hsm, state = softhsm(), tmp_path / "cp"
    async with made(state, settings_of(hsm)) as cp:
        assert {name: kind for name, kind in (await kinds(cp)).items() if name.startswith("ca/")} == dict.fromkeys(
            ("ca/issuing-outposts", "ca/issuing-servers", "ca/root"), KeyKind.PKCS11.value
        )
        client = await Client.enroll(await cp.token())
        await read(await client.hello(boot=boot(1)))
        client = await renewed(client)
        await read(await client.hello(boot=boot(1)))
        before = client.answer.chain_der[1]
        for kind in (AuthorityKind.ROOT, AuthorityKind.OUTPOSTS):
            await cp.plane.authorities.prepare(kind, None)
            await cp.plane.authorities.activate(kind, force=True)
            await cp.plane.authorities.taint(kind)
        client = await renewed(client, 2)
        assert client.answer.chain_der[1] != before
        await cp.plane.authorities.retire(AuthorityKind.ROOT, force=True)
        assert len(await cp.plane.authorities.revocation_lists()) > 0
        made_here = {name for name, kind in (await kinds(cp)).items() if kind == KeyKind.PKCS11.value}
        assert {"ca/root/2", "ca/issuing-outposts/2", "ca/issuing-outposts/3"} < made_here
        await client.channel.close()
    async with serving(state) as again:  # the token is opened anew
        client = await Client.enroll(await again.token(name="second"))
        await read(await client.hello(boot=boot(1)))
        await client.channel.close()


async def test_a_token_that_is_pulled_is_told_and_comes_back(tmp_path: Path) -> None:
    hsm = softhsm()
    async with made(tmp_path / "cp", settings_of(hsm)) as cp:
        client = await Client.enroll(await cp.token())
        live = await client.hello(boot=boot(1))
        await read(live)
        key = generate_tls_key()
        ask = sync_pb2.RenewRequest(csr_der=build_request(key), join_sequence=1, boot_id=boot(1))
        with hsm.pulled():
            _, why = await refusal(client.sync.Renew(ask, timeout=SECONDS))
            assert (why.code, why.fatal) == ("internal", False)  # what the token said is in our log, not on the wire
        pkcs11.lib(str(hsm.module)).reinitialize()  # SoftHSM looks for tokens only then
        fresh = after(client, key, await client.sync.Renew(ask, timeout=SECONDS))
        await read(await fresh.hello(boot=boot(1)))
        for each in (client, fresh):
            await each.channel.close()


async def test_a_control_plane_without_its_tokens_settings_says_so(tmp_path: Path) -> None:
    hsm, state = softhsm(), tmp_path / "cp"
    await initialise(state, settings_of(hsm), None)
    path = state / FILE_NAME
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "pkcs11" not in line) + "\n")
    async with opened(state) as plane:
        with pytest.raises(KeyKindError) as caught:
            await plane.trust()
    assert caught.value.next_step
