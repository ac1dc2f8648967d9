"""The control plane over gRPC: the adapter behind ``ports.ControlPlane``."""

import asyncio
import hashlib
from collections.abc import AsyncIterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import grpc
import grpc.aio
from outpost_wire.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
    types_pb2,
)

from outpost import issuing, ports
from outpost.core.errors import PeerError
from outpost.rpc import codec

NOT_TAKEN = ports.Taken()
UNARY_TIMEOUT_SECONDS = 10.0
OPEN_SECONDS = 30.0  # from Hello to the first sign of the control plane, which may be busy with a herd
FETCH_TIMEOUT_SECONDS = 120.0  # 64 MiB at 5 Mbit/s
MAX_MESSAGE_BYTES = 20 * 1024 * 1024  # one tile: 256 records of 64 KiB, and room
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # without it a dead connection lives 60 s
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_retries", 0),  # retries are ours: typed, with jitter
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),  # a new certificate means a new connection
    ("grpc.enable_http_proxy", 0),
)


class FetchError(PeerError):
    """Fetched bytes are not those of the hash."""

    code = "fetch.mismatch"
    fatal = True  # asked again, the same server would send the same


class FetchOverrunError(FetchError):
    """More bytes come than were announced; reading stopped there."""

    code = "fetch.overrun"


@contextmanager
def _typed(endpoint: str) -> Iterator[None]:
    """What calls raise, as errors of ours.

    A connection that was closed under a call shows as a cancellation that nobody asked for; passed on, it would end
    the caller's task in silence.

    Raises:
        ControlPlaneRefusedError: typed refusal.
        ControlPlaneUnreachableError: no connection, broken, or closed by us.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise codec.error_from_rpc(error, endpoint) from error
    except (asyncio.InvalidStateError, grpc.aio.UsageError) as error:
        raise codec.ControlPlaneUnreachableError("the connection to the control plane is closed") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise codec.ControlPlaneUnreachableError("the connection to the control plane is closed") from None


async def enroll(
    endpoint: str, credentials: grpc.ChannelCredentials, request: issuing.EnrollmentRequest
) -> issuing.EnrollmentAnswer:
    """Spend a join token.

    Args:
        endpoint: host:port of the enrollment listener.
        credentials: server TLS with the pinned root.
        request: token, CSR and public key of the audit log.

    Raises:
        ControlPlaneRefusedError: typed refusal.
        ControlPlaneUnreachableError: no connection.
    """
    async with grpc.aio.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)  # type: ignore[no-untyped-call]
        with _typed(endpoint):
            answer = await stub.Enroll(codec.enroll_request(request), timeout=UNARY_TIMEOUT_SECONDS)
    return codec.enrollment_answer(answer)


class GrpcRecoveryDesk:
    """``ports.RecoveryDesk`` over one channel with server TLS."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials) -> None:
        self._endpoint = endpoint
        self._channel = grpc.aio.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS)
        self._stub = enrollment_pb2_grpc.EnrollmentStub(self._channel)  # type: ignore[no-untyped-call]

    async def challenge(self, org: str, outpost_id: str) -> issuing.Challenge:
        """A nonce for a recovery."""
        request = enrollment_pb2.ChallengeRequest(org=org, outpost_id=outpost_id)
        with _typed(self._endpoint):
            answer = await self._stub.Challenge(request, timeout=UNARY_TIMEOUT_SECONDS)
        return issuing.Challenge(answer.nonce, answer.now_ms)

    async def recover(self, request: issuing.RecoveryRequest) -> issuing.RenewalAnswer:
        """The next certificate for a proof of the bound key."""
        with _typed(self._endpoint):
            answer = await self._stub.Recover(codec.recovery_request(request), timeout=UNARY_TIMEOUT_SECONDS)
        return codec.recovery_answer(answer)

    async def close(self) -> None:
        """Let the connection go."""
        await self._channel.close()


class GrpcSyncSession:
    """One open sync stream."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[sync_pb2.SyncUp, sync_pb2.SyncDown]", endpoint: str) -> None:
        self._call = call
        self._endpoint = endpoint
        self._writing = asyncio.Lock()
        self._first: object = None  # a message that came while the stream was opened

    async def send(self, message: sync_pb2.SyncUp) -> None:
        """Write one message; grpc allows one writer at a time."""
        with _typed(self._endpoint):
            async with self._writing:
                await self._call.write(message)

    async def opened(self) -> None:
        """Wait for the first message: whoever is refused learns it here, with the connection still good.

        Raises:
            ControlPlaneRefusedError: typed refusal.
            ControlPlaneUnreachableError: no answer in time.
        """
        with _typed(self._endpoint):
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    self._first = await self._call.read()
            except TimeoutError:
                self._call.cancel()
                raise codec.ControlPlaneUnreachableError(
                    f"the control plane at {self._endpoint} does not answer", next_step="it is tried again by itself"
                ) from None

    async def receive(self) -> ports.ControlMessage | None:
        """The next message that this version knows, or None at the end."""
        with _typed(self._endpoint):
            while True:
                message, self._first = self._first, None
                if message is None:
                    message = await self._call.read()
                if not isinstance(message, sync_pb2.SyncDown):
                    return None  # grpc.aio.EOF
                known = codec.control_message(message)
                if known is not None:
                    return known

    async def ack(self, nonce: str, revision: str, activated_ms: int, taken: ports.Taken = NOT_TAKEN) -> None:
        """The offer is active."""
        ack = sync_pb2.Ack(
            nonce=nonce,
            revision=revision,
            activated_ms=activated_ms,
            downloaded_ms=taken.downloaded_ms,
            release=taken.release,
        )
        await self.send(sync_pb2.SyncUp(ack=ack))

    async def nack(
        self, nonce: str, error: Mapping[str, str | bool], resource: str, taken: ports.Taken = NOT_TAKEN
    ) -> None:
        """The offer was refused."""
        detail = types_pb2.ErrorDetail(
            code=str(error["code"])[:64],
            message=str(error["message"])[:512],
            field=str(error["field"])[:128],
            next_step=str(error["next"])[:256],
            fatal=bool(error["fatal"]),
        )
        nack = sync_pb2.Nack(
            nonce=nonce,
            error=detail,
            resource=resource[:128],
            downloaded=taken.downloaded_ms > 0,
            release=taken.release,
        )
        await self.send(sync_pb2.SyncUp(nack=nack))

    async def status(self, heartbeat: ports.Heartbeat) -> None:
        """Tell how we are."""
        await self.send(codec.heartbeat(heartbeat))

    async def give_back(self, sha256: bytes, body: bytes) -> None:
        """Send a file of the set in force."""
        for part in codec.returned_parts(sha256, body):
            await self.send(part)

    def cancel(self) -> None:
        """End the stream from our side."""
        self._call.cancel()


async def fetched(chunks: AsyncIterable[sync_pb2.FetchChunk], sha256: bytes, size: int, body: bytearray) -> bytes:
    """Put chunks together; nothing longer than announced is read.

    Args:
        chunks: as they come, untrusted.
        sha256: of the whole file.
        size: of the whole file, bytes.
        body: what came before; chunks are added to it.

    Raises:
        FetchError: other length or hash.
        DeltaError: a packed chunk is damaged.
    """
    async for chunk in chunks:
        body += codec.chunk_bytes(chunk)
        if len(body) > size:
            raise FetchOverrunError(f"a file is longer than the {size} bytes that were announced")
    if len(body) != size or hashlib.sha256(body).digest() != sha256:
        raise FetchError(f"a fetched file of {len(body)} bytes is not the one that was announced ({size} bytes)")
    return bytes(body)


class GrpcControlPlane:
    """``ports.ControlPlane`` over one mTLS channel; after a renewal a new object is made."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials) -> None:
        self._endpoint = endpoint
        self._channel = grpc.aio.secure_channel(endpoint, credentials, options=CHANNEL_OPTIONS)
        self._sync = sync_pb2_grpc.SyncStub(self._channel)  # type: ignore[no-untyped-call]
        self._audit = audit_pb2_grpc.AuditStub(self._channel)  # type: ignore[no-untyped-call]

    async def open(self, hello: ports.Hello) -> GrpcSyncSession:
        """Open the stream and say hello."""
        with _typed(self._endpoint):
            session = GrpcSyncSession(self._sync.Sync(), self._endpoint)
        await session.send(codec.hello(hello))
        await session.opened()
        return session

    async def fetch(self, sha256: bytes, size: int, part: bytearray | None = None) -> bytes:
        """Bytes of a file, from the end of ``part`` on; nothing longer than announced is read.

        Raises:
            FetchError: other length or hash.
            DeltaError: a packed chunk is damaged.
        """
        body = bytearray() if part is None else part
        request = sync_pb2.FetchRequest(sha256=sha256, offset=len(body), zstd=True)
        with _typed(self._endpoint):
            call = self._sync.Fetch(request, timeout=FETCH_TIMEOUT_SECONDS)
            try:
                return await fetched(call, sha256, size, body)
            finally:
                call.cancel()  # nothing, unless there was more to come

    async def renew(self, request: issuing.RenewalRequest) -> issuing.RenewalAnswer:
        """Fresh key, fresh leaf."""
        with _typed(self._endpoint):
            answer = await self._sync.Renew(codec.renewal_request(request), timeout=UNARY_TIMEOUT_SECONDS)
        return codec.renewal_answer(answer)

    async def append(self, origin: str, first: int, entries: Sequence[bytes], checkpoint: bytes) -> ports.AppendAnswer:
        """Deliver entries of one tile."""
        request = audit_pb2.AppendRequest(origin=origin, first=first, entries=entries, checkpoint=checkpoint)
        with _typed(self._endpoint):
            return codec.append_answer(await self._audit.Append(request, timeout=UNARY_TIMEOUT_SECONDS))

    async def root(self, origin: str, size: int) -> tuple[int, bytes]:
        """Root of the witness's tree at ``size``."""
        with _typed(self._endpoint):
            answer = await self._audit.Root(
                audit_pb2.RootRequest(origin=origin, size=size), timeout=UNARY_TIMEOUT_SECONDS
            )
        return answer.known_size, answer.root

    async def close(self) -> None:
        """Let the connection go."""
        await self._channel.close()
