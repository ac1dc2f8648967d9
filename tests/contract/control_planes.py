"""The control plane port: over gRPC against the real server, and its audit half in memory."""

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from certs import keys
from certs.csr import build_request
from certs.join_token import split_endpoint
from certs.shell import tls
from certs.shell.signers import generate_tls_key
from certs.verify import root_by_pin
from outpost import issuing, ports
from outpost.rpc import client
from tests.integration.controlplane_client import SECONDS, Running
from tests.unit.controlplane.bed import Log
from tests.unit.delivery.test_witness import WitnessInMemory
from tests.unit.ledger.support import LOG_KEY, ORIGIN

_numbers = itertools.count()


@dataclass
class Outpost:
    """An enrolled outpost and its connection."""

    name: str
    org: str
    key_pem: bytes
    answer: issuing.EnrollmentAnswer
    log: Log
    plane: client.GrpcControlPlane = field(init=False)

    def __post_init__(self) -> None:
        self.plane = self.connect()

    def connect(self, chain: tuple[bytes, ...] = (), key_pem: bytes = b"") -> client.GrpcControlPlane:
        """Another connection, maybe with another certificate."""
        own = tls.TLSIdentity(key_pem or self.key_pem, pem(chain or self.answer.chain))
        credentials = tls.channel_credentials(pem(self.answer.trust_bundle), own)
        return client.GrpcControlPlane(self.answer.sync_endpoint, credentials)


def pem(chain: tuple[bytes, ...]) -> bytes:
    """PEM of DER certificates."""
    return keys.certificates_pem(keys.certificate_from_der(der) for der in chain)


async def enroll(running: Running, org: str = "acme") -> Outpost:
    """Spend a fresh join token through the product's own client."""
    name = f"prod-{next(_numbers)}"
    token = await running.token(org, name)
    host, port = split_endpoint(token.endpoint)
    root = root_by_pin(await asyncio.to_thread(tls.fetch_server_chain, host, port, SECONDS), token.pin)
    key, log = generate_tls_key(), Log("", "op")
    request = issuing.EnrollmentRequest(
        token_org=token.org,
        token_secret=token.secret,
        csr_der=build_request(key),
        audit_log_public_key=log.public_key,
        now_ms=int(time.time() * 1000),
        software_version="0.1.0",
    )
    answer = await client.enroll(token.endpoint, tls.channel_credentials(keys.certificates_pem([root])), request)
    log.origin = f"{answer.trust_domain}/org/{answer.org}/outpost/{answer.outpost_id}"
    log.outpost = answer.outpost_id
    return Outpost(name, org, keys.private_key_pem(key), answer, log)


def hello(boot: str = "0" * 32, held: dict[str, bytes] | None = None) -> ports.Hello:
    """The first message of a stream."""
    return ports.Hello(boot, 1, "0.1.0", "", held or {})


def digests(offer: ports.Offer) -> dict[str, bytes]:
    """What an outpost holds once it has taken an offer."""
    return {file.name: file.sha256 for file in offer.files}


async def whole(plane: ports.ControlPlane, offer: ports.Offer) -> dict[str, bytes]:
    """The bytes of an offer's files; those that did not come inline are fetched."""
    found = {}
    for file in offer.files:
        found[file.name] = file.inline or await plane.fetch(file.sha256, file.size)
        assert hashlib.sha256(found[file.name]).digest() == file.sha256
    return found


@dataclass
class Witnessed:
    """A way to the witness, and a log that it knows the key of."""

    plane: ports.ControlPlane
    log: Log


@contextlib.asynccontextmanager
async def over_grpc(running: Running) -> AsyncIterator[Witnessed]:
    """The real control plane."""
    outpost = await enroll(running)
    yield Witnessed(outpost.plane, outpost.log)
    await outpost.plane.close()


@contextlib.asynccontextmanager
async def in_memory(running: Running) -> AsyncIterator[Witnessed]:
    """The real judge over entries in memory, as tests of delivery use it."""
    yield Witnessed(WitnessInMemory(), Log(ORIGIN, "op-0123456789abcdef", LOG_KEY))


WITNESSES: dict[str, Callable[[Running], AbstractAsyncContextManager[Witnessed]]] = {
    "over gRPC": over_grpc,
    "in memory": in_memory,
}
