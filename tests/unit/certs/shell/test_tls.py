"""Handshakes over loopback: who gets in, and the first meeting by a pin."""

import asyncio
import socket
import ssl
import threading
import time
from pathlib import Path

import grpc
import pytest

from certs import keys
from certs.shell import tls
from certs.shell.dev import Hierarchy, Leaf, create_hierarchy
from certs.shell.tls import TLSIdentity
from certs.verify import (
    MAX_CHAIN_CERTIFICATES,
    ChainError,
    ChainFormatError,
    root_by_pin,
    verify_outpost_chain,
    verify_server_chain,
)
from tests.unit.certs.forge import ORG, OUTPOST
from tests.unit.certs.shell.whoami import TIMEOUT_SECONDS, ask, serving


@pytest.fixture(scope="module")
def now() -> int:
    return int(time.time())


@pytest.fixture(scope="module")
def live(now: int) -> Hierarchy:
    """Real libraries read the real clock, so this hierarchy is of today."""
    return create_hierarchy(now)


async def test_an_outpost_is_seen_with_its_chain(live: Hierarchy, now: int) -> None:
    leaf = live.outpost(ORG, OUTPOST, now)
    async with serving(tls.server_mtls_credentials(live.server(now).tls, live.roots_pem)) as port:
        for host in ("localhost", "127.0.0.1"):
            answer = await ask(port, tls.channel_credentials(live.roots_pem, leaf.tls), host)
            chain = [bytes.fromhex(part.decode()) for part in answer.split()]
            assert chain == list(leaf.chain_der)
            assert verify_outpost_chain(chain, live.anchors, now).spiffe_id.outpost == OUTPOST


async def test_a_caller_without_certificate_reaches_the_enrollment_listener_only(live: Hierarchy, now: int) -> None:
    server = live.server(now).tls
    async with serving(tls.server_credentials(server)) as port:
        assert await ask(port, tls.channel_credentials(live.roots_pem)) == b"chain.malformed"
    async with serving(tls.server_mtls_credentials(server, live.roots_pem)) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, tls.channel_credentials(live.roots_pem))


async def test_strangers_are_turned_away_on_both_sides(live: Hierarchy, now: int) -> None:
    other = create_hierarchy(now)
    async with serving(tls.server_mtls_credentials(live.server(now).tls, live.roots_pem)) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, tls.channel_credentials(live.roots_pem, other.outpost(ORG, OUTPOST, now).tls))
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, tls.channel_credentials(other.roots_pem, live.outpost(ORG, OUTPOST, now).tls))


async def test_an_outpost_cannot_play_the_server(live: Hierarchy, now: int) -> None:
    leaf = live.outpost(ORG, OUTPOST, now)
    async with serving(tls.server_credentials(leaf.tls)) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, tls.channel_credentials(live.roots_pem))


async def test_the_first_meeting_by_a_pin(live: Hierarchy, now: int) -> None:
    server = live.server(now)
    async with serving(tls.server_credentials(server.tls)) as port:
        for host in ("127.0.0.1", "localhost"):
            chain = await asyncio.to_thread(tls.fetch_server_chain, host, port, TIMEOUT_SECONDS)
            assert chain == server.chain_der
        root = root_by_pin(chain, live.pin)
        assert verify_server_chain(chain, live.anchors, now).spiffe_id.trust_domain == live.trust_domain
        assert await ask(port, tls.channel_credentials(keys.certificates_pem([root]))) == b"chain.malformed"


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_a_server_that_stays_silent_costs_the_timeout_only() -> None:
    with listener() as silent, pytest.raises(tls.ServerUnreachableError) as refusal:
        tls.fetch_server_chain("127.0.0.1", silent.getsockname()[1], 0.2)
    assert not refusal.value.fatal


def test_a_closed_port_and_a_bad_name_are_unreachable() -> None:
    with listener() as closed:
        port = closed.getsockname()[1]
    for host in ("127.0.0.1", "a..b", "x" * 64 + ".invalid"):
        with pytest.raises(tls.ServerUnreachableError):
            tls.fetch_server_chain(host, port, 1.0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x16\x03\x03\xff\xff" + bytes(70000)])
def test_a_server_that_speaks_no_tls_is_unreachable(answer: bytes) -> None:
    with listener() as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                try:
                    connection.sendall(answer)
                except OSError:
                    return  # the client has gone already, as it should

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(tls.ServerUnreachableError):
            tls.fetch_server_chain("127.0.0.1", server.getsockname()[1], TIMEOUT_SECONDS)
        thread.join()


def test_no_roots_is_an_error_and_not_the_public_roots() -> None:
    with pytest.raises(ChainFormatError):
        tls.channel_credentials(b"")
    with pytest.raises(ChainFormatError):
        tls.client_context(b"no certificate")


def test_a_private_key_is_not_shown(live: Hierarchy, now: int) -> None:
    leaf = live.outpost(ORG, OUTPOST, now)
    assert "PRIVATE" not in repr(leaf.tls) + repr(leaf)


def written(folder: Path, leaf: Leaf) -> tuple[Path, Path]:
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(leaf.tls.chain_pem)
    key.write_bytes(leaf.tls.key_pem)
    return chain, key


def test_contexts_for_http_speak_tls_1_2_or_newer(live: Hierarchy, now: int, tmp_path: Path) -> None:
    server = tls.server_context(*written(tmp_path, live.server(now)))
    client = tls.client_context(live.roots_pem)
    assert server.minimum_version is client.minimum_version is ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    theirs = server.wrap_bio(outgoing, incoming, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (ours, theirs):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    assert done == {ours, theirs}
    assert ours.version() == "TLSv1.3"


def test_a_key_that_is_not_the_certificates_makes_no_context(live: Hierarchy, now: int, tmp_path: Path) -> None:
    chain, key = written(tmp_path, live.server(now))
    key.write_bytes(live.server(now).tls.key_pem)
    with pytest.raises(ChainError):
        tls.server_context(chain, key)
    with pytest.raises(ChainError):
        tls.server_context(chain, tmp_path / "absent")


def test_a_peer_chain_is_bounded(live: Hierarchy, now: int) -> None:
    leaves = [live.outpost(ORG, OUTPOST, now).issued.certificate for _ in range(MAX_CHAIN_CERTIFICATES + 1)]
    context = {"x509_pem_cert": [keys.certificates_pem(leaves[:1])]}
    most = tls.peer_chain(context | {"x509_pem_cert_chain": [keys.certificates_pem(leaves[:-1])]})
    assert len(most) == MAX_CHAIN_CERTIFICATES
    with pytest.raises(ChainFormatError):
        tls.peer_chain(context | {"x509_pem_cert_chain": [keys.certificates_pem(leaves)]})
    with pytest.raises(keys.CertificateFormatError):
        tls.peer_chain({"x509_pem_cert": [b"rubbish"]})


def test_a_tls_identity_reads_as_given() -> None:
    assert TLSIdentity(b"key", b"chain").chain_pem == b"chain"


def test_host_port_and_cause_stand_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(tls.ServerUnreachableError, match=rf"with 127\.0\.0\.1:{port}: connection refused\."):
            tls.fetch_server_chain("127.0.0.1", port, 5)
    with pytest.raises(tls.ServerUnreachableError, match=r"with no-such\.invalid:8443: the name was not found\."):
        tls.fetch_server_chain("no-such.invalid", 8443, 5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(tls.ServerUnreachableError, match=rf"127\.0\.0\.1:{port}: timed out\."):
            tls.fetch_server_chain("127.0.0.1", port, 0.05)
