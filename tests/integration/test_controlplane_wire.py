"""The control plane over real loopback gRPC: enroll, hello, offer, ack, append, revoke."""

import asyncio
import time
from pathlib import Path

import grpc
import grpc.aio
import pytest
from outpost_wire.v1 import (
    audit_pb2,
    sync_pb2,
    sync_pb2_grpc,
    types_pb2,
)

from certs import keys
from certs.join_token import split_endpoint
from certs.shell.signers import generate_signing_key
from certs.shell.tls import fetch_server_chain
from controlplane.bootstrap.plane import opened
from controlplane.services.defaults import default_policy
from controlplane.services.setup import server_name
from outpost.core.audit.note import NoteVerifier, SignatureType, open_cosigned
from outpost.core.bundle.release import Audience, HighWater
from outpost.sync.tuf import verify
from tests.integration.controlplane_client import SECONDS, Client, Running, channel, ended, read, refusal, running
from tests.unit.controlplane.bed import Log


async def test_the_way_of_an_outpost(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        token = await cp.token()
        client = await Client.enroll(token)
        assert (client.answer.org, client.answer.name, client.answer.join_sequence) == ("acme", "prod", 1)

        call = await client.hello()
        offer = (await read(call)).offer
        offered = await client.contents(offer)
        now_ms = int(time.time() * 1000)
        verified = verify(client.answer.tuf_root, offered, HighWater({}, 0), now_ms, Audience("acme"))
        assert verified.revision == offer.revision == "1.1"
        assert sum(len(file.inline) for file in offer.files) <= 65_536
        await call.write(sync_pb2.SyncUp(ack=sync_pb2.Ack(nonce=offer.nonce, revision="1.1")))
        status = sync_pb2.Status(state="ACTIVE", active_revision="1.1", audit_size=0)
        await call.write(sync_pb2.SyncUp(status=status))

        client.log.grow(300)
        first = await client.append(0, client.log.records[:256], b"")
        assert (first.status, first.known_size, first.cosigned_checkpoint) == (200, 256, b"")
        second = await client.append(256, client.log.records[256:], client.log.checkpoint())
        assert (second.status, second.known_size) == (200, 300)
        witness = NoteVerifier(
            client.answer.witness_name, client.answer.witness_public_key, SignatureType.COSIGNATURE_V1
        )
        log = NoteVerifier(client.log.origin, client.log.public_key)
        cosigned = open_cosigned(second.cosigned_checkpoint, log, witness)
        assert cosigned.signed.checkpoint.size == 300
        gap = await client.append(400, client.log.records[:1], b"")
        assert (gap.status, gap.known_size) == (audit_pb2.WITNESS_STATUS_WRONG_SIZE, 300)
        fork = Log(client.log.origin, client.log.outpost, client.log.key)
        fork.grow(300, version="other")
        refused = await client.append(256, fork.records[256:], fork.checkpoint())
        assert (refused.status, refused.known_size) == (audit_pb2.WITNESS_STATUS_INCONSISTENT, 300)
        root = await client.audit.Root(audit_pb2.RootRequest(origin=client.log.origin, size=300), timeout=SECONDS)
        assert root.root == cosigned.signed.checkpoint.root

        shown = await cp.shown(holds=lambda found: bool(found.delivery and found.delivery.state == "active"))
        assert (shown.outpost.state, shown.status["state"]) == ("active", "ACTIVE")
        assert [each[0] for each in shown.refusals] == [422, 409]
        assert [each.fault for each in await (await cp.plane.ingest()).verify("acme")] == [""]

        started = time.monotonic()
        await cp.plane.administration.revoke("acme", "prod", "stolen")
        status_code, why = await ended(call)
        assert (status_code, why.code, why.fatal) == (grpc.StatusCode.PERMISSION_DENIED, "outpost.revoked", True)
        assert time.monotonic() - started < 2
        assert (await ended(await client.hello()))[1].code == "outpost.revoked"
        client.log.grow(1)
        tail = await client.append(300, client.log.records[300:], client.log.checkpoint())
        assert (tail.status, tail.known_size) == (200, 301)
        await client.channel.close()


async def test_a_publication_by_another_process_reaches_a_connected_outpost(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        first = (await read(call)).offer
        await client.contents(first)
        await call.write(sync_pb2.SyncUp(ack=sync_pb2.Ack(nonce=first.nonce, revision="1.1")))
        policy = default_policy("acme").replace(b'"input":"ALLOW"', b'"input":"BLOCK"')
        started = time.monotonic()
        async with opened(tmp_path / "cp") as beside:
            published = await beside.publisher.publish_policy("acme", policy)
        offer = (await read(call)).offer
        assert time.monotonic() - started < 2
        assert offer.revision == published.revision == "2.2"
        now_ms = int(time.time() * 1000)
        verified = verify(
            client.answer.tuf_root, await client.contents(offer), HighWater({}, 0), now_ms, Audience("acme")
        )
        assert verified.chosen.packs == policy
        await client.channel.close()


async def test_what_an_outpost_holds_is_not_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        offer = (await read(call)).offer
        call.cancel()
        held = {file.name: file.sha256 for file in offer.files}
        call = await client.hello(held)
        again = (await read(call)).offer
        assert (again.revision, list(again.files)) == (offer.revision, [])
        call.cancel()
        call = await client.hello({name: digest for name, digest in held.items() if name != "snapshot.json"})
        missing = (await read(call)).offer
        assert [file.name for file in missing.files if file.inline] == ["snapshot.json"]
        assert len(missing.files) == len(held)
        await client.channel.close()


async def test_a_refused_set_is_kept_with_its_reason_and_only_a_newer_one_is_offered(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        offer = (await read(call)).offer
        stale = sync_pb2.Ack(nonce="0" * 32, revision="9.9")
        await call.write(sync_pb2.SyncUp(ack=stale))
        error = types_pb2.ErrorDetail(code="bundle.self_test", message="a self-test failed", fatal=True)
        nack = sync_pb2.Nack(nonce=offer.nonce, error=error, resource="policy/release-1.json")
        await call.write(sync_pb2.SyncUp(nack=nack))
        await cp.plane.publisher.revoke_key("acme", await a_key(cp))
        newer = (await read(call)).offer
        while newer.revision != "1.3":  # the key's creation and revocation may be offered one after the other
            newer = (await read(call)).offer
        assert newer.nonce != offer.nonce
        error = types_pb2.ErrorDetail(code="bundle.hash", message="not again", fatal=True)
        await call.write(sync_pb2.SyncUp(nack=sync_pb2.Nack(nonce=newer.nonce, error=error, resource="x")))
        await call.done_writing()
        assert await asyncio.wait_for(call.read(), SECONDS) is grpc.aio.EOF
        shown = await cp.shown(holds=lambda found: bool(found.delivery and found.delivery.code == "bundle.hash"))
        word = shown.delivery
        assert word is not None
        assert (word.state, word.code, word.revision) == ("refused", "bundle.hash", "1.3")
        await client.channel.close()


async def a_key(cp: Running) -> str:
    from outpost.core.bundle.access import ClientKey

    key = ClientKey("", "", "alice", "", (), "", "api", "internal", (), 0, 86_400, revoked=False)
    return (await cp.plane.publisher.create_key("acme", key))[1].name


async def test_an_outpost_of_one_org_cannot_fetch_from_another(tmp_path: Path) -> None:
    async with running(tmp_path / "cp", "acme", "globex") as cp:
        acme = await Client.enroll(await cp.token("acme"))
        globex = await Client.enroll(await cp.token("globex"))
        call = await acme.hello()
        offer = (await read(call)).offer
        packs = next(file for file in offer.files if file.name.startswith("policy/packs-"))
        whole = await acme.fetch(packs.sha256)
        assert await acme.fetch(packs.sha256, 100) == whole[100:]
        assert (await refusal(globex.fetch(packs.sha256)))[1].code == "fetch.not_found"
        assert (await refusal(acme.fetch(packs.sha256, len(whole) + 1)))[1].code == "fetch.range"
        foreign = await globex.append(0, [], b"")
        assert foreign.status == 200
        globex.log.origin = acme.log.origin
        acme.log.grow(1)
        stolen = await globex.append(0, acme.log.records, acme.log.checkpoint())
        assert stolen.status == audit_pb2.WITNESS_STATUS_UNKNOWN_ORIGIN
        for each in (acme, globex):
            await each.channel.close()


HELLOS = {
    "no hello first": (sync_pb2.SyncUp(status=sync_pb2.Status()), "sync.protocol"),
    "another protocol": (
        sync_pb2.SyncUp(hello=sync_pb2.Hello(protocol_min=2, protocol_max=3, boot_id="0" * 32)),
        "sync.protocol",
    ),
    "a boot id that is none": (
        sync_pb2.SyncUp(hello=sync_pb2.Hello(protocol_min=1, protocol_max=1, boot_id="x")),
        "wire.invalid",
    ),
    "a held file without a hash": (
        sync_pb2.SyncUp(
            hello=sync_pb2.Hello(
                protocol_min=1, protocol_max=1, boot_id="0" * 32, held=[sync_pb2.HeldFile(name="x", sha256=b"short")]
            )
        ),
        "wire.invalid",
    ),
}


async def test_hellos_out_of_order_or_bounds_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        for name, (message, code) in HELLOS.items():
            call = client.sync.Sync()
            await call.write(message)
            assert (await ended(call))[1].code == code, name
        await client.channel.close()


async def test_a_stop_drains_streams_at_once(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        call = await client.hello()
        await read(call)
        started = time.monotonic()
        await cp.server.stop()
        assert time.monotonic() - started < 1
        assert (await read(call)).WhichOneof("message") == "drain"
        await client.channel.close()


async def test_without_a_certificate_there_is_no_call(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        roots = keys.certificates_pem((await cp.plane.trust()).roots)
        async with channel(cp.ready["grpc"], roots) as bare:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await sync_pb2_grpc.SyncStub(bare).Renew(sync_pb2.RenewRequest(), timeout=2)
            assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_a_log_key_signs_only_its_own_log(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        client.log.grow(2)
        forged = Log(client.log.origin, client.log.outpost, generate_signing_key())
        forged.records = client.log.records
        answer = await client.append(0, client.log.records, forged.checkpoint())
        assert answer.status == audit_pb2.WITNESS_STATUS_BAD_SIGNATURE
        assert (await refusal(client.append(0, [b"{}"], b"")))[1].code == "audit.invalid"
        await client.channel.close()


async def test_a_new_server_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        hosts = cp.plane.settings.hosts
        client = await Client.enroll(await cp.token())
        old = await presented(cp)
        assert await presented(cp) == old
        name, trust = server_name(hosts), await cp.plane.trust()
        _, chain = await cp.plane.store.vault.key_and_certificates(name)
        assert await cp.plane.store.vault.replace(
            await cp.plane.setup._server(hosts, trust.server_issuer, chain[2:]), chain
        )
        cp.server._identity = await cp.plane.setup.server_identity(hosts, trust)
        assert await presented(cp) != old
        await read(await client.hello())
        await client.channel.close()


async def presented(cp: Running) -> bytes:
    host, port = split_endpoint(cp.ready["enroll"])
    return (await asyncio.to_thread(fetch_server_chain, host, port, SECONDS))[0]
