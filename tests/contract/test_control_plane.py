"""What an outpost may rely on when it speaks to its control plane: every answer whole, every refusal typed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from outpost_wire.v1 import sync_pb2_grpc

from certs import keys
from certs.csr import build_request
from certs.shell import tls
from certs.shell.dev import create_hierarchy
from certs.shell.signers import generate_tls_key
from outpost import issuing, ports
from outpost.core.audit.merkle import CompactRange, leaf_hash
from outpost.rpc import client, codec
from tests.contract.control_planes import WITNESSES, Outpost, digests, enroll, hello, pem, whole
from tests.integration.controlplane_client import SECONDS, Running, heard, running
from tests.unit.controlplane.bed import START_MS, Log

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder: Path = tmp_path_factory.mktemp("contract")
    async with running(folder / "cp", "acme", "globex") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def outpost(cp: Running) -> AsyncIterator[Outpost]:
    made = await enroll(cp)
    yield made
    await made.plane.close()


async def offered(session: ports.SyncSession) -> ports.Offer:
    message = await heard(session)
    assert isinstance(message, ports.Offer)
    return message


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Ask the other side, which tells nobody when it is done, until the answer is yes."""
    async with asyncio.timeout(SECONDS):
        while not await question():
            await asyncio.sleep(0.01)


async def test_an_offer_is_whole_and_its_answer_is_kept(cp: Running, outpost: Outpost) -> None:
    session = await outpost.plane.open(hello())
    offer = await offered(session)
    files = await whole(outpost.plane, offer)
    assert {"timestamp.json", "snapshot.json", "policy/release-1.json", "access/keys.json"} <= set(files)
    assert sum(len(file.inline) for file in offer.files) <= 65_536
    await session.ack(offer.nonce, offer.revision, START_MS)

    async def active() -> bool:
        shown = await cp.plane.administration.show("acme", outpost.name)
        return shown.delivery is not None and shown.delivery.state == "active"

    await until(active)


async def test_a_refusal_of_an_offer_is_kept_with_its_code(cp: Running, outpost: Outpost) -> None:
    session = await outpost.plane.open(hello())
    offer = await offered(session)
    error: dict[str, str | bool] = {
        "code": "bundle.hash",
        "message": "no",
        "field": "x" * 999,
        "next": "",
        "fatal": True,
    }
    await session.nack(offer.nonce, error, "policy/release-1.json")

    async def refused() -> bool:
        delivery = (await cp.plane.administration.show("acme", outpost.name)).delivery
        return delivery is not None and (delivery.state, delivery.code) == ("refused", "bundle.hash")

    await until(refused)


async def test_what_is_held_already_is_not_sent_again(outpost: Outpost) -> None:
    first = await offered(await outpost.plane.open(hello()))
    again = await offered(await outpost.plane.open(hello("1" * 32, digests(first))))
    assert (again.revision, again.files) == (first.revision, ())


async def test_a_heartbeat_is_kept(cp: Running, outpost: Outpost) -> None:
    session = await outpost.plane.open(hello())
    await offered(session)
    await session.status(
        ports.Heartbeat(
            now_ms=START_MS,
            state="ACTIVE",
            functions={"audit": "audit.disk", "policy": "ok"},
            active_revision="1.1",
            certificate_expires_ms=1,
            audit_size=7,
            audit_cosigned=5,
            tiers=(1,),
            workers=2,
            workers_ready=1,
            software_version="0.1.0",
        )
    )

    async def kept() -> bool:
        status = (await cp.plane.administration.show("acme", outpost.name)).status
        return bool(status) and (status["state"], status["audit_size"], status["workers_ready"]) == ("ACTIVE", 7, 1)

    await until(kept)


async def test_a_revocation_ends_the_stream_with_its_code(cp: Running, outpost: Outpost) -> None:
    session = await outpost.plane.open(hello())
    await offered(session)
    await cp.plane.administration.revoke("acme", outpost.name, "stolen")
    with pytest.raises(codec.ControlPlaneRefusedError) as refused:
        await heard(session)
    assert (refused.value.remote_code, refused.value.remote_fatal) == ("outpost.revoked", True)
    assert refused.value.as_dict()["code"] == "outpost.revoked"


# fetch


async def test_a_fetched_file_is_the_one_that_was_announced(outpost: Outpost) -> None:
    offer = await offered(await outpost.plane.open(hello()))
    for file in offer.files:
        body = await outpost.plane.fetch(file.sha256, file.size)
        assert hashlib.sha256(body).digest() == file.sha256


async def test_a_fetch_reads_no_more_than_was_announced(outpost: Outpost) -> None:
    offer = await offered(await outpost.plane.open(hello()))
    file = max(offer.files, key=lambda each: each.size)
    with pytest.raises(client.FetchOverrunError):
        await outpost.plane.fetch(file.sha256, file.size - 1)
    with pytest.raises(client.FetchError):
        await outpost.plane.fetch(file.sha256, file.size + 1)


async def test_a_fetch_goes_on_where_it_broke(outpost: Outpost) -> None:
    offer = await offered(await outpost.plane.open(hello()))
    file = max(offer.files, key=lambda each: each.size)
    body = await outpost.plane.fetch(file.sha256, file.size)
    for had in (1, file.size - 1, file.size):
        part = bytearray(body[:had])
        assert await outpost.plane.fetch(file.sha256, file.size, part) == body
    spoilt = bytearray(len(body) - 1)
    with pytest.raises(client.FetchError):
        await outpost.plane.fetch(file.sha256, file.size, spoilt)


async def test_files_of_another_org_are_not_found(cp: Running, outpost: Outpost) -> None:
    other = await enroll(cp, "globex")
    theirs = await offered(await other.plane.open(hello()))
    await other.plane.close()
    ours = await offered(await outpost.plane.open(hello()))
    file = next(file for file in theirs.files if file.sha256 not in digests(ours).values())
    with pytest.raises(codec.ControlPlaneRefusedError) as refused:
        await outpost.plane.fetch(file.sha256, file.size)
    assert refused.value.remote_code == "fetch.not_found"


# renew


def asked(csr_der: bytes, sequence: int) -> issuing.RenewalRequest:
    return issuing.RenewalRequest(csr_der, sequence, "0" * 32)


async def test_a_renewal_gives_a_chain_for_the_fresh_key_that_works(outpost: Outpost) -> None:
    key = generate_tls_key()
    renewed = await outpost.plane.renew(asked(build_request(key), outpost.answer.join_sequence))
    assert keys.certificate_from_der(renewed.chain[0]).public_key() == key.public_key()
    told = (renewed.trust_bundle, renewed.join_sequence, renewed.issuers)
    assert told == (outpost.answer.trust_bundle, outpost.answer.join_sequence + 1, outpost.answer.issuers)
    fresh = outpost.connect(renewed.chain, keys.private_key_pem(key))
    await offered(await fresh.open(hello()))
    await fresh.close()


RENEWALS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a request that is none": (lambda: b"\x30\x00", 1, "csr."),
    "an empty request": (lambda: b"", 1, "csr."),
    "a request over the bound": (lambda: bytes(5000), 1, "csr."),
    "another join sequence": (lambda: build_request(generate_tls_key()), 7, "identity.conflict"),
    "a join sequence of 64 bits": (lambda: build_request(generate_tls_key()), 2**64 - 1, "wire.invalid"),
}


@pytest.mark.parametrize("what", RENEWALS)
async def test_a_renewal_is_refused_for(what: str, outpost: Outpost) -> None:
    make, sequence, code = RENEWALS[what]
    with pytest.raises(codec.ControlPlaneRefusedError) as refused:
        await outpost.plane.renew(asked(make(), sequence))
    assert refused.value.remote_code.startswith(code)


# connections


async def test_nobody_there_is_unreachable_and_not_fatal(outpost: Outpost) -> None:
    credentials = tls.channel_credentials(pem(outpost.answer.trust_bundle), None)
    plane = client.GrpcControlPlane("127.0.0.1:1", credentials)
    for attempt in (
        plane.open(hello()),
        plane.root("origin", 0),
        plane.fetch(bytes(32), 1),
        plane.renew(asked(b"", 1)),
    ):
        with pytest.raises(codec.ControlPlaneUnreachableError) as failed:
            await asyncio.wait_for(attempt, SECONDS)
        assert failed.value.fatal is False
    await plane.close()


async def test_a_server_under_another_root_is_not_spoken_to(outpost: Outpost) -> None:
    other = create_hierarchy(START_MS // 1000, "outpost.internal")
    own = tls.TLSIdentity(outpost.key_pem, pem(outpost.answer.chain))
    plane = client.GrpcControlPlane(outpost.answer.sync_endpoint, tls.channel_credentials(other.roots_pem, own))
    with pytest.raises(codec.ControlPlaneUnreachableError):
        await asyncio.wait_for(plane.root("origin", 0), SECONDS)
    await plane.close()


async def test_a_closed_connection_refuses_typed(outpost: Outpost) -> None:
    session = await outpost.plane.open(hello())
    await offered(session)
    await outpost.plane.close()
    with pytest.raises(codec.ControlPlaneUnreachableError):
        await heard(session)
    with pytest.raises(codec.ControlPlaneUnreachableError):
        await session.ack("n", "1.1", 1)
    for attempt in (
        lambda: outpost.plane.open(hello()),
        lambda: outpost.plane.root("origin", 0),
        lambda: outpost.plane.append("origin", 0, [], b""),
        lambda: outpost.plane.fetch(bytes(32), 1),
        lambda: outpost.plane.renew(asked(b"", 1)),
    ):
        with pytest.raises(codec.ControlPlaneUnreachableError):
            await asyncio.wait_for(attempt(), SECONDS)


class Rude(sync_pb2_grpc.SyncServicer):
    """A server that refuses with a detail of its own making."""

    def __init__(self, detail: bytes) -> None:
        self._detail = detail

    async def Renew(self, request: object, context: "grpc.aio.ServicerContext[object, object]") -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no", ((codec.ERROR_KEY, self._detail),))


RUDE: dict[str, bytes] = {
    "no message": b"\xff\xff\xff",
    "cut in the middle": b"\x0a\x40abc",
    "text that is not UTF-8": b"\x0a\x02\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("what", RUDE)
async def test_a_refusal_stays_a_refusal_whose_detail_is(what: str) -> None:
    server = grpc.aio.server()
    sync_pb2_grpc.add_SyncServicer_to_server(Rude(RUDE[what]), server)  # type: ignore[no-untyped-call]
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    await server.start()
    plane = client.GrpcControlPlane(f"127.0.0.1:{port}", grpc.local_channel_credentials())
    with pytest.raises(codec.ControlPlaneRefusedError) as refused:
        await plane.renew(asked(b"", 1))
    assert refused.value.fatal is True
    assert refused.value.as_dict()["code"] == "controlplane.refused"
    await plane.close()
    await server.stop(0)


# audit, on every adapter

witnesses = pytest.mark.parametrize("way", WITNESSES)


def root_of(log: Log, size: int) -> bytes:
    return CompactRange().extend(leaf_hash(record) for record in log.records[:size]).root()


@witnesses
async def test_entries_are_taken_tile_by_tile_and_the_newest_head_is_cosigned(way: str, cp: Running) -> None:
    async with WITNESSES[way](cp) as witnessed:
        plane, log = witnessed.plane, witnessed.log
        log.grow(300)
        assert await plane.append(log.origin, 0, log.records[:256], b"") == ports.AppendAnswer(200, 256, b"")
        answer = await plane.append(log.origin, 256, log.records[256:], log.checkpoint())
        assert (answer.status, answer.known_size) == (200, 300)
        assert answer.cosigned_checkpoint.startswith(log.checkpoint())
        for size in (0, 1, 255, 256, 257, 300):
            assert await plane.root(log.origin, size) == (300, root_of(log, size))
        assert await plane.root(log.origin, 301) == (300, b"")


@witnesses
async def test_the_same_entries_again_are_taken_once(way: str, cp: Running) -> None:
    async with WITNESSES[way](cp) as witnessed:
        plane, log = witnessed.plane, witnessed.log
        log.grow(10)
        first = await plane.append(log.origin, 0, log.records, log.checkpoint())
        again = await plane.append(log.origin, 0, log.records, log.checkpoint())
        assert (first.known_size, again.known_size, again.status) == (10, 10, 200)
        assert await plane.root(log.origin, 10) == (10, root_of(log, 10))


Upload = Callable[[Log], tuple[int, list[bytes], bytes]]


def _fork(log: Log) -> tuple[int, list[bytes], bytes]:
    other = Log(log.origin, log.outpost, log.key)
    other.grow(20, version="other")
    return 0, other.records, other.checkpoint()


def _stranger(log: Log) -> tuple[int, list[bytes], bytes]:
    other = Log(log.origin, log.outpost)
    other.records = log.records
    return 20, [], other.checkpoint()


def _rollback(log: Log) -> tuple[int, list[bytes], bytes]:
    return 10, log.records[10:15], log.checkpoint(15, bytes(32))


REFUSED: dict[str, tuple[Upload, set[int]]] = {
    "a gap before them": (lambda log: (30, log.records[:1], b""), {409}),
    "other entries under the same numbers": (_fork, {422}),
    "a head of another key": (_stranger, {403}),
    "another root at a smaller size": (_rollback, {409, 422}),
}


@witnesses
@pytest.mark.parametrize("what", REFUSED)
async def test_the_witness_refuses_entries_with(what: str, way: str, cp: Running) -> None:
    upload, statuses = REFUSED[what]
    async with WITNESSES[way](cp) as witnessed:
        plane, log = witnessed.plane, witnessed.log
        log.grow(20)
        await plane.append(log.origin, 0, log.records, log.checkpoint())
        answer = await plane.append(log.origin, *upload(log))
        assert answer.status in statuses
        assert (answer.known_size, answer.cosigned_checkpoint) == (20, b"")
        assert await plane.root(log.origin, 20) == (20, root_of(log, 20))
