"""A running control plane, and an outpost that speaks the wire by hand."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from outpost_wire.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
    types_pb2,
)

from certs import keys
from certs.csr import build_request
from certs.join_token import JoinToken, parse, split_endpoint
from certs.shell.signers import generate_tls_key
from certs.shell.tls import TLSIdentity, channel_credentials, fetch_server_chain
from certs.verify import TrustAnchors, root_by_pin, verify_server_chain
from controlplane.bootstrap.plane import Plane, initialise, opened
from controlplane.bootstrap.serving import Server
from controlplane.services.administer import OutpostSummary, Terms
from controlplane.services.defaults import default_provider
from controlplane.settings import Settings
from outpost import ports
from outpost.core.bundle.release import SignedSet
from tests.unit.controlplane.bed import Log

SECONDS = 10.0
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


@dataclass
class Running:
    plane: Plane
    server: Server
    ready: dict[str, Any]

    async def token(self, org: str = "acme", name: str = "prod") -> JoinToken:
        door = await self.plane.door()
        return parse((await self.plane.administration.register(org, name, Terms(900_000), door)).token)

    async def shown(
        self, name: str = "prod", org: str = "acme", *, holds: Callable[[OutpostSummary], bool]
    ) -> OutpostSummary:
        """What is known of an outpost, once something holds of it: words of outposts are stored some at a time."""
        async with asyncio.timeout(SECONDS):
            while not holds(found := await self.plane.administration.show(org, name)):
                await asyncio.sleep(0.005)
        return found


@asynccontextmanager
async def running(folder: Path, *orgs: str) -> AsyncIterator[Running]:
    await initialise(folder, Settings(enroll_port=0, grpc_port=0), None)
    async with opened(folder) as plane:
        for org in orgs or ("acme",):
            await plane.publisher.create(org, [default_provider("http://127.0.0.1:9/v1", "provider")])
    async with serving(folder) as started:
        yield started


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Running]:
    """A server on a control plane that is made already."""
    async with opened(folder) as plane:
        server = Server(plane)
        try:
            yield Running(plane, server, dict(await server.start()))
        finally:
            await server.stop()


class Client:
    """A minimal outpost: it enrolls, and speaks the wire by hand."""

    def __init__(self, answer: enrollment_pb2.EnrollResponse, key_pem: bytes, log: Log, endpoint: str = "") -> None:
        self.answer = answer
        self.key_pem = key_pem
        self.log = log
        chain = keys.certificates_pem(keys.certificate_from_der(der) for der in answer.chain_der)
        roots = keys.certificates_pem(keys.certificate_from_der(der) for der in answer.trust_bundle_der)
        self.channel = channel(endpoint or answer.sync_endpoint, roots, TLSIdentity(key_pem, chain))
        self.sync = sync_pb2_grpc.SyncStub(self.channel)
        self.audit = audit_pb2_grpc.AuditStub(self.channel)

    @classmethod
    async def enroll(cls, token: JoinToken) -> "Client":
        host, port = split_endpoint(token.endpoint)
        chain = await asyncio.to_thread(fetch_server_chain, host, port, SECONDS)
        root = root_by_pin(chain, token.pin)
        verify_server_chain(chain, TrustAnchors("outpost.internal", (root,)), int(time.time()))
        key, log = generate_tls_key(), Log("", "op")
        async with channel(token.endpoint, keys.certificates_pem([root])) as bare:
            request = enrollment_pb2.EnrollRequest(
                token_org=token.org,
                token_secret=token.secret,
                csr_der=build_request(key),
                audit_log_public_key=log.public_key,
                now_ms=int(time.time() * 1000),
                software_version="0.1.0",
            )
            answer = await enrollment_pb2_grpc.EnrollmentStub(bare).Enroll(request, timeout=SECONDS)
        log.origin = f"{answer.trust_domain}/org/{answer.org}/outpost/{answer.outpost_id}"
        log.outpost = answer.outpost_id
        return cls(answer, keys.private_key_pem(key), log)

    async def hello(self, held: dict[str, bytes] | None = None, boot: str = "0" * 32, trust_bundle: bytes = b"") -> Any:
        files = [sync_pb2.HeldFile(name=name, sha256=digest) for name, digest in (held or {}).items()]
        hello = sync_pb2.Hello(
            protocol_min=1,
            protocol_max=1,
            software_version="0.1.0",
            boot_id=boot,
            join_sequence=1,
            held=files,
            trust_bundle_sha256=trust_bundle,
        )
        for _ in range(9):
            call = self.sync.Sync()
            # A stream that is refused while hello is being written ends for grpc without the refusal's words.
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(sync_pb2.SyncUp(hello=hello))
                break
        return call

    async def contents(self, offer: sync_pb2.Offer) -> SignedSet:
        """The offered set; what did not come inline is fetched."""
        found: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
        for file in offer.files:
            body = file.inline or await self.fetch(file.sha256)
            assert (len(body), hashlib.sha256(body).digest()) == (file.size, file.sha256)
            found[file.metadata][file.name] = body
        return SignedSet(found[True], found[False])

    async def fetch(self, sha256: bytes, offset: int = 0) -> bytes:
        call = self.sync.Fetch(sync_pb2.FetchRequest(sha256=sha256, offset=offset), timeout=SECONDS)
        return b"".join([chunk.data async for chunk in call])

    async def append(self, first: int, entries: list[bytes], checkpoint: bytes) -> audit_pb2.AppendResponse:
        request = audit_pb2.AppendRequest(origin=self.log.origin, first=first, entries=entries, checkpoint=checkpoint)
        return await self.audit.Append(request, timeout=SECONDS)


def channel(endpoint: str, roots: bytes, identity: TLSIdentity | None = None) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(endpoint, channel_credentials(roots, identity), options=OPTIONS)


async def read(call: Any) -> sync_pb2.SyncDown:
    """The next message, but for the addresses that every stream is told."""
    while True:
        message = await asyncio.wait_for(call.read(), SECONDS)
        assert isinstance(message, sync_pb2.SyncDown), message
        if message.WhichOneof("message") != "endpoints":
            return message


async def heard(session: ports.SyncSession) -> ports.ControlMessage | None:
    """The same from the outpost's own client; None at the end."""
    while isinstance(message := await asyncio.wait_for(session.receive(), SECONDS), ports.Endpoints):
        pass
    return message


async def read_offer(call: Any) -> sync_pb2.Offer:
    """The next offer; what else is told of meanwhile is passed over."""
    while True:
        message = await read(call)
        if message.WhichOneof("message") == "offer":
            return message.offer


async def refusal(call: Any) -> tuple[grpc.StatusCode, types_pb2.ErrorDetail]:
    """How a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, SECONDS)
    return detail(caught.value)


def detail(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, types_pb2.ErrorDetail]:
    found = types_pb2.ErrorDetail()
    found.ParseFromString(dict(error.trailing_metadata() or ())["outpost-error-bin"])
    assert error.details() == found.code
    return error.code(), found


async def ended(call: Any) -> tuple[grpc.StatusCode, types_pb2.ErrorDetail]:
    """How a stream ended; messages before its end are read and dropped."""

    async def to_the_end() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    return await refusal(to_the_end())
