"""Roots that change and leaves that travel alone, over real TLS."""

import asyncio
import time

import grpc
import pytest

from certs import keys
from certs.adoption import adopt_roots
from certs.shell import tls
from certs.shell.dev import Hierarchy, create_hierarchy
from certs.shell.tls import TLSIdentity
from certs.verify import ChainUntrustedError, TrustAnchors, verify_outpost_chain
from tests.unit.certs.forge import ORG, OUTPOST
from tests.unit.certs.shell.whoami import TIMEOUT_SECONDS, ask, serving


@pytest.fixture(scope="module")
def now() -> int:
    return int(time.time())


@pytest.fixture(scope="module")
def old(now: int) -> Hierarchy:
    return create_hierarchy(now)


@pytest.fixture(scope="module")
def new(now: int) -> Hierarchy:
    return create_hierarchy(now)


def pem(*hierarchies: Hierarchy) -> bytes:
    return b"".join(h.roots_pem for h in hierarchies)


def alone(h: Hierarchy, now: int) -> TLSIdentity:
    """An outpost that shows its leaf only."""
    leaf = h.outpost(ORG, OUTPOST, now)
    return TLSIdentity(leaf.key_pem, keys.certificates_pem(leaf.chain[:1]))


def crossed(new: Hierarchy, old: Hierarchy, now: int) -> TLSIdentity:
    """A server after the root changed: leaf, issuing CA, new root, and the old root's word for it."""
    server = new.server(now)
    return TLSIdentity(server.key_pem, keys.certificates_pem((*server.chain, new.cross(old, now))))


async def test_a_leaf_travels_alone_to_a_server_that_knows_the_issuing_cas(
    old: Hierarchy, new: Hierarchy, now: int
) -> None:
    issuers = (old.outposts.certificate, new.outposts.certificate)
    known = pem(old, new) + keys.certificates_pem(issuers)
    anchors = TrustAnchors(old.trust_domain, (old.root.certificate, new.root.certificate), issuers)
    async with serving(tls.server_mtls_credentials(new.server(now).tls, known)) as port:
        for h in (old, new):
            answer = await ask(port, tls.channel_credentials(pem(new), alone(h, now)))
            chain = [bytes.fromhex(part.decode()) for part in answer.split()]
            assert len(chain) == 1
            assert verify_outpost_chain(chain, anchors, now).spiffe_id.outpost == OUTPOST


async def test_a_leaf_alone_is_turned_away_where_its_issuing_ca_is_not_known(
    old: Hierarchy, new: Hierarchy, now: int
) -> None:
    for known in (pem(old), pem(old, new) + keys.certificates_pem((new.outposts.certificate,))):
        async with serving(tls.server_mtls_credentials(new.server(now).tls, known)) as port:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(port, tls.channel_credentials(pem(new), alone(old, now)))


async def test_a_handshake_believes_an_issuing_ca_without_its_root_and_the_verifier_does_not(
    old: Hierarchy, new: Hierarchy, now: int
) -> None:
    """gRPC accepts partial chains: whoever drops a root has to drop its issuing CAs, too, or handshakes go on."""
    issuers = (old.outposts.certificate, new.outposts.certificate)
    known = pem(new) + keys.certificates_pem(issuers)
    async with serving(tls.server_mtls_credentials(new.server(now).tls, known)) as port:
        answer = await ask(port, tls.channel_credentials(pem(new), alone(old, now)))
    chain = [bytes.fromhex(part.decode()) for part in answer.split()]
    with pytest.raises(ChainUntrustedError):
        verify_outpost_chain(chain, TrustAnchors(old.trust_domain, (new.root.certificate,), issuers), now)


async def test_a_cross_certificate_disturbs_nobody_who_believes_the_new_root(
    old: Hierarchy, new: Hierarchy, now: int
) -> None:
    async with serving(tls.server_credentials(crossed(new, old, now))) as port:
        for believed in ((new,), (old, new), (new, old)):
            assert await ask(port, tls.channel_credentials(pem(*believed))) == b"chain.malformed"


async def test_who_slept_through_the_rotation_connects_after_adopting_the_new_root(
    old: Hierarchy, new: Hierarchy, now: int
) -> None:
    async with serving(tls.server_credentials(crossed(new, old, now))) as port:
        with pytest.raises(grpc.aio.AioRpcError):  # no library follows the cross-certificate by itself
            await ask(port, tls.channel_credentials(pem(old)))
        chain = await asyncio.to_thread(tls.fetch_server_chain, "127.0.0.1", port, TIMEOUT_SECONDS)
        roots = adopt_roots(chain, [old.root.certificate], now, old.trust_domain)
        assert await ask(port, tls.channel_credentials(keys.certificates_pem(roots))) == b"chain.malformed"
