"""Identities over real loopback gRPC: renewal, clones, recovery, orders to wipe, CAs that change under live streams."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from outpost_wire.v1 import enrollment_pb2, enrollment_pb2_grpc, sync_pb2

from certs import keys, recover
from certs.csr import build_request
from certs.join_token import split_endpoint
from certs.shell.signers import generate_tls_key
from certs.shell.tls import fetch_server_chain
from controlplane.domain.authorities import AuthorityKind
from controlplane.domain.errors import ControlPlaneError
from outpost.core.bundle.lock import read_lock
from tests.integration.controlplane_client import (
    SECONDS,
    Client,
    Running,
    channel,
    detail,
    ended,
    read,
    refusal,
    running,
)

ROOT, OUTPOSTS, SERVERS = AuthorityKind.ROOT, AuthorityKind.OUTPOSTS, AuthorityKind.SERVERS


def boot(counter: int, chance: str = "0") -> str:
    return f"{counter:08x}" + chance * 24


async def code_of(call: Any) -> str:
    return (await ended(call))[1].code


async def lively(call: Any) -> Any:
    """A holder that lives: it answers whatever it is asked, then waits for the end."""
    message = await read(call)
    assert list(message.offer.files) == []
    await call.write(sync_pb2.SyncUp(ack=sync_pb2.Ack(nonce=message.offer.nonce, revision="")))
    return call


async def dead(call: Any) -> Any:
    """Bytes of a start that is gone: nobody answers."""
    await call.done_writing()
    return call


async def renewed(client: Client, sequence: int = 1, **changes: Any) -> Client:
    """The client with its next certificate."""
    key = generate_tls_key()
    request = sync_pb2.RenewRequest(csr_der=build_request(key), join_sequence=sequence, boot_id=boot(1), **changes)
    return after(client, key, await client.sync.Renew(request, timeout=SECONDS))


def after(client: Client, key: ec.EllipticCurvePrivateKey, told: Any) -> Client:
    answer = enrollment_pb2.EnrollResponse()
    answer.CopyFrom(client.answer)
    del answer.chain_der[:], answer.trust_bundle_der[:]
    answer.chain_der.extend(told.chain_der)
    answer.trust_bundle_der.extend(told.trust_bundle_der)
    return Client(answer, keys.private_key_pem(key), client.log)


async def row(cp: Running) -> Any:
    return (await cp.plane.administration.show("acme", "prod")).outpost


async def test_the_first_use_of_a_new_certificate_retires_the_old_one(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        old = await client.hello(boot=boot(1))
        await read(old)
        fresh = await renewed(client)
        new = await fresh.hello(boot=boot(1))
        await read(new)
        assert await code_of(old) in {"identity.superseded", "sync.replaced"}
        status, why = await ended(await dead(await client.hello(boot=boot(1))))
        assert (status, why.code, why.fatal) == (grpc.StatusCode.PERMISSION_DENIED, "identity.superseded", False)
        assert (await row(cp)).state.value == "active"
        for each in (client, fresh):
            await each.channel.close()


async def test_a_reconnect_of_one_start_is_no_clone(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        half_open = await client.hello(boot=boot(1))
        await read(half_open)
        again = await client.hello(boot=boot(1))
        await read(again)
        status, why = await ended(half_open)
        assert (status, why.code, why.fatal) == (grpc.StatusCode.UNAVAILABLE, "sync.replaced", False)
        assert (await row(cp)).state.value == "active"
        await client.channel.close()


async def test_late_bytes_of_earlier_starts_lock_nobody(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        await read(await client.hello(boot=boot(9)))
        for counter in (1, 5, 8, 5):
            assert await code_of(await dead(await client.hello(boot=boot(counter)))) == "identity.superseded"
        assert (await row(cp)).state.value == "active"
        await client.channel.close()


Clone = Callable[[Client], Awaitable[str]]


async def earlier_start(client: Client) -> str:
    await read(await client.hello(boot=boot(2)))
    return await code_of(await lively(await client.hello(boot=boot(1))))


async def copied_start(client: Client) -> str:
    await read(await client.hello(boot=boot(1)))
    return await code_of(await client.hello(boot=boot(1, "1")))


async def retired_certificate(client: Client) -> str:
    fresh = await renewed(client)
    await read(await fresh.hello(boot=boot(1)))
    return await code_of(await lively(await client.hello(boot=boot(1))))


async def retired_renewal(client: Client) -> str:
    fresh = await renewed(client)
    await read(await fresh.hello(boot=boot(1)))
    return (await refusal(renewed(client)))[1].code


async def second_key(client: Client) -> str:
    await renewed(client)
    return (await refusal(renewed(client)))[1].code


CLONES: dict[str, Clone] = {
    "identity.earlier_start": earlier_start,
    "identity.copied_start": copied_start,
    "identity.retired_certificate": retired_certificate,
    "identity.retired_certificate by a renewal": retired_renewal,
    "identity.second_key": second_key,
}


@pytest.mark.parametrize("trace", CLONES)
async def test_a_clone_locks_both_at_once_and_the_alert_names_both_addresses(trace: str, tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        live = await client.hello(boot=boot(1))
        await read(live)
        started = time.monotonic()
        assert await CLONES[trace](client) == "identity.locked"
        outpost = await row(cp)
        assert (outpost.state.value, outpost.alert) == ("locked", trace.split(maxsplit=1)[0])
        assert outpost.alert_sources == ("127.0.0.1", "127.0.0.1")
        assert await code_of(live) in {"identity.locked", "identity.superseded", "sync.replaced"}
        assert time.monotonic() - started < 5
        status, why = await ended(await client.hello(boot=boot(1)))
        assert (status, why.code, why.fatal) == (grpc.StatusCode.PERMISSION_DENIED, "identity.locked", True)
        assert (await refusal(renewed(client)))[1].code == "identity.locked"
        client.log.grow(1)
        tail = await client.append(0, client.log.records, client.log.checkpoint())
        assert (tail.status, tail.known_size) == (200, 1)
        await client.channel.close()


async def recovered(cp: Running, client: Client, key: ec.EllipticCurvePrivateKey, **changes: Any) -> Any:
    """Challenge and Recover by hand."""
    roots = keys.certificates_pem(keys.certificate_from_der(der) for der in client.answer.trust_bundle_der)
    org, outpost_id = changes.get("org", "acme"), changes.get("outpost_id", client.answer.outpost_id)
    sequence = changes.pop("sequence", 1)
    async with channel(cp.ready["enroll"], roots) as bare:
        stub = enrollment_pb2_grpc.EnrollmentStub(bare)
        asked = await stub.Challenge(enrollment_pb2.ChallengeRequest(org=org, outpost_id=outpost_id), timeout=SECONDS)
        csr = build_request(key)
        claim = recover.RecoverClaim(org, outpost_id, asked.nonce, csr, sequence, boot(1))
        held = keys.private_key_from_pem(client.key_pem)
        assert isinstance(held, ec.EllipticCurvePrivateKey)
        values: dict[str, Any] = {
            "org": org,
            "outpost_id": outpost_id,
            "nonce": asked.nonce,
            "csr_der": csr,
            "join_sequence": sequence,
            "serial": f"{keys.certificate_from_der(client.answer.chain_der[0]).serial_number:x}",
            "proof": held.sign(recover.recover_message(claim), ec.ECDSA(hashes.SHA256())),
            "boot_id": boot(1),
        }
        return await stub.Recover(enrollment_pb2.RecoverRequest(**{**values, **changes}), timeout=SECONDS)


async def test_a_recovery_over_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        key = generate_tls_key()
        told = await recovered(cp, client, key)
        assert (told.join_sequence, list(told.issuer_der)) == (2, [told.chain_der[1]])
        assert abs(told.now_ms - time.time() * 1000) < 60_000
        assert list(told.sync_endpoints)[:1] == [cp.ready["grpc"]]
        fresh = after(client, key, told)
        await read(await fresh.hello(boot=boot(1)))
        for each in (client, fresh):
            await each.channel.close()


STRANGERS: dict[str, dict[str, Any]] = {
    "an org that is not here": {"org": "nobody"},
    "an outpost that is not here": {"outpost_id": "op-" + "0" * 16},
    "another org's outpost": {"org": "globex"},
    "another proof": {"proof": b"x"},
    "another serial": {"serial": "77"},
}


async def test_refused_recoveries_cannot_be_told_apart(tmp_path: Path) -> None:
    async with running(tmp_path / "cp", "acme", "globex") as cp:
        client = await Client.enroll(await cp.token())
        answers = set()
        for changes in STRANGERS.values():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await recovered(cp, client, generate_tls_key(), **changes)
            error = caught.value
            shown = sorted(
                (key, bytes(value)) for key, value in error.trailing_metadata() or () if isinstance(value, bytes)
            )
            answers.add((error.code(), error.details(), tuple(shown), str(error.initial_metadata())))
        assert len(answers) == 1
        assert detail(caught.value)[1].code == "recover.refused"
        await client.channel.close()


async def test_an_order_to_wipe_reaches_a_live_stream_and_whoever_connects_later(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        live = await client.hello(boot=boot(1))
        await read(live)
        await cp.plane.locks.order("acme", "prod")
        lock = (await read(live)).lock
        assert read_lock(lock.order).outpost == client.answer.outpost_id
        assert len(lock.signatures) == 1
        live.cancel()  # the order was lost on its way
        later = await client.hello(boot=boot(1))
        assert (await read(later)).lock == lock
        assert (await row(cp)).is_order_out
        await later.write(sync_pb2.SyncUp(status=sync_pb2.Status(state="LOCKED")))
        assert await code_of(later) == "identity.locked"
        assert not (await row(cp)).is_order_out
        await client.channel.close()


async def test_the_word_of_one_holder_does_not_keep_the_order_from_another(tmp_path: Path) -> None:
    """A thief says at once that he obeys; the machine that comes later is sent the order as before."""
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        await cp.plane.locks.order("acme", "prod")
        locks = []
        for counter in (1, 2, 3):
            holder = await client.hello(boot=boot(counter))
            locks.append((await read(holder)).lock)
            await holder.write(sync_pb2.SyncUp(status=sync_pb2.Status(state="LOCKED")))
            assert await code_of(holder) == "identity.locked"
            assert not (await row(cp)).is_order_out
        assert locks[0].order
        assert locks == [locks[0]] * 3
        await client.channel.close()


async def test_an_order_is_confirmed_on_the_live_stream(tmp_path: Path) -> None:
    async with running(tmp_path / "cp") as cp:
        client = await Client.enroll(await cp.token())
        live = await client.hello(boot=boot(1))
        await read(live)
        await cp.plane.locks.order("acme", "prod")
        assert (await read(live)).WhichOneof("message") == "lock"
        await live.write(sync_pb2.SyncUp(status=sync_pb2.Status(state="LOCKED")))
        assert await code_of(live) == "identity.locked"
        assert not (await row(cp)).is_order_out
        await client.channel.close()


async def test_roots_change_under_a_connected_outpost(tmp_path: Path) -> None:
    """Prepare, activate, taint, retire, with one outpost that is told at each step what it has to do."""
    async with running(tmp_path / "cp") as cp:
        old = await shown(cp)
        client = await Client.enroll(await cp.token())
        first = await client.hello(boot=boot(1), trust_bundle=digest(client))
        await read(first)
        await cp.plane.authorities.prepare(ROOT, None)
        assert await rotation(first) == "rotate_now"
        with pytest.raises(ControlPlaneError) as caught:
            await cp.plane.authorities.activate(ROOT)
        assert caught.value.code == "authority.in_use"
        second = await renewed(client)
        assert len(second.answer.trust_bundle_der) == 2
        stream = await second.hello(boot=boot(1), trust_bundle=digest(second))
        await read(stream)
        await report(cp, stream, second)
        await cp.plane.authorities.activate(ROOT)
        await until(lambda: changed(cp, old))
        chain = await shown(cp)
        assert len(chain) == 4
        await cp.plane.authorities.taint(ROOT)
        assert await rotation(stream) == "rotate_now"
        with pytest.raises(ControlPlaneError):
            await cp.plane.authorities.retire(ROOT)
        third = await renewed(second, 2)  # over the connection that stands
        assert third.answer.chain_der[1] != second.answer.chain_der[1]
        stream = await third.hello(boot=boot(1), trust_bundle=digest(third))
        await read(stream)
        await report(cp, stream, third)
        await cp.plane.authorities.retire(ROOT)
        await until(lambda: only_new_is_believed(cp))
        fourth = await renewed(third, 3)
        assert len(fourth.answer.trust_bundle_der) == 1
        await read(await fourth.hello(boot=boot(1), trust_bundle=digest(fourth)))
        for each in (client, second, third, fourth):
            await each.channel.close()


async def test_another_process_changes_cas_and_a_server_takes_it_up_within_a_second(tmp_path: Path) -> None:
    from controlplane.bootstrap.plane import opened

    async with running(tmp_path / "cp") as cp:
        before = await shown(cp)
        async with opened(tmp_path / "cp") as beside:
            await beside.authorities.prepare(SERVERS, None)
            started = time.monotonic()
            await beside.authorities.activate(SERVERS)
        await until(lambda: changed(cp, before))
        assert time.monotonic() - started < 2
        client = await Client.enroll(await cp.token())
        await read(await client.hello(boot=boot(1)))
        await client.channel.close()


def digest(client: Client) -> bytes:
    from certs.adoption import trust_bundle_digest

    return trust_bundle_digest([keys.certificate_from_der(der) for der in client.answer.trust_bundle_der])


async def rotation(call: Any) -> str:
    while (message := await read(call)).WhichOneof("message") not in ("rotate_now",):
        assert message.WhichOneof("message") in ("offer", "endpoints")
    return "rotate_now"


async def report(cp: Running, call: Any, client: Client) -> None:
    """Say in a heartbeat whom we believe, and wait until that is stored."""
    status = sync_pb2.Status(state="ACTIVE", trust_bundle_sha256=digest(client), now_ms=1)
    await call.write(sync_pb2.SyncUp(status=status))

    async def stored() -> bool:
        status = (await cp.plane.administration.show("acme", "prod")).status
        return status.get("trust_bundle") == digest(client).hex()

    await until(stored)


async def shown(cp: Running) -> tuple[bytes, ...]:
    host, port = split_endpoint(cp.ready["enroll"])
    return await asyncio.to_thread(fetch_server_chain, host, port, SECONDS)


async def changed(cp: Running, before: tuple[bytes, ...]) -> bool:
    return (await shown(cp))[0] != before[0]


async def only_new_is_believed(cp: Running) -> bool:
    return len(cp.server._trust().roots) == 1


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await holds():
            await asyncio.sleep(0.02)
