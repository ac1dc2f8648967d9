"""The two listeners: enrollment with server TLS, outposts with mTLS.

Every argument below was measured: without ``max_pending_requests`` 648 of 1,000 outposts lost calls, without the ping
time-out a dead connection lives 60 s, without ``so_reuseport`` 0 two servers share a port silently.
"""

import socket
from collections.abc import Callable, Sequence

import grpc
import grpc.aio
from outpost_wire.v1 import audit_pb2_grpc, enrollment_pb2_grpc

from certs.shell.tls import TLSIdentity
from controlplane.domain.errors import ConfigurationError
from controlplane.rpc.calls import AuditService, EnrollmentService
from controlplane.rpc.interceptor import ErrorInterceptor
from controlplane.rpc.sync import SyncService, handlers

MAX_UPLOAD_BYTES = 20 * 1024 * 1024  # one tile: 256 entries of 64 KiB, and room
MAX_ENROLLMENT_BYTES = 64 * 1024  # a request has less than 5 KiB
OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 16),  # of one connection: one sync stream, uploads, fetches
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_allowed_incoming_connections", 20_000),  # four times the largest fleet that was measured
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # outposts ping every 10 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    # Memory of an idle connection, and work for what is not used here.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.enable_channelz", 0),
    ("grpc.http2.hpack_table_size.decoder", 0),
    ("grpc.http2.hpack_table_size.encoder", 0),
    ("grpc.tsi.max_frame_size", 2048),
)
STOP_GRACE_SECONDS = 1.5  # for calls that run; streams are told to end first

Identity = Callable[[], TLSIdentity]


class ListenError(ConfigurationError):
    """An address that cannot be listened on."""

    code = "listen.failed"


async def start_enrollment(service: EnrollmentService, identity: Identity, address: str) -> tuple[grpc.aio.Server, int]:
    """Listen for strangers. Raises ListenError."""
    server = _server(MAX_ENROLLMENT_BYTES)
    enrollment_pb2_grpc.add_EnrollmentServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    return await _start(server, address, credentials(identity, lambda: b""))


async def start_outposts(
    services: tuple[SyncService, AuditService], identity: Identity, client_roots: Callable[[], bytes], address: str
) -> tuple[grpc.aio.Server, int]:
    """Listen for outposts. Raises ListenError."""
    server = _server(MAX_UPLOAD_BYTES)
    server.add_generic_rpc_handlers(handlers(services[0]))
    audit_pb2_grpc.add_AuditServicer_to_server(services[1], server)  # type: ignore[no-untyped-call]
    return await _start(server, address, credentials(identity, client_roots))


def credentials(identity: Identity, client_roots: Callable[[], bytes]) -> grpc.ServerCredentials:
    """Credentials that take up a new server certificate, and new roots for clients, with the next handshake.

    Args:
        identity: the certificate in force; asked at each handshake, under a lock, so it only looks at memory.
        client_roots: PEM of what clients must be under, asked likewise; empty when clients have no certificate.
    """
    given = [(identity(), client_roots())]

    def configuration(current: TLSIdentity, roots: bytes) -> grpc.ServerCertificateConfiguration:
        pair = [(current.key_pem, current.chain_pem)]
        return grpc.ssl_server_certificate_configuration(pair, root_certificates=roots or None)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        current = identity(), client_roots()
        if current[0] is given[0][0] and current[1] is given[0][1]:
            return None  # a new configuration would invalidate session tickets
        given[0] = current
        return configuration(*current)

    return grpc.dynamic_ssl_server_credentials(
        configuration(*given[0]),
        fetch,  # type: ignore[arg-type]  # None is allowed: it keeps the old configuration
        require_client_authentication=bool(given[0][1]),
    )


def _server(max_receive_bytes: int) -> grpc.aio.Server:
    sizes = (
        ("grpc.max_receive_message_length", max_receive_bytes),
        ("grpc.max_send_message_length", MAX_UPLOAD_BYTES),
    )
    return grpc.aio.server(interceptors=(ErrorInterceptor(),), options=(*OPTIONS, *sizes))


async def _start(
    server: grpc.aio.Server, address: str, server_credentials: grpc.ServerCredentials
) -> tuple[grpc.aio.Server, int]:
    require_free(address)
    try:
        port = server.add_secure_port(address, server_credentials)
    except RuntimeError as error:
        raise _listen_error(address, "the system refused") from error
    await server.start()
    return server, port


def require_free(address: str) -> None:
    """Bind and let go: gRPC tells no cause, and writes lines of its own when it cannot bind.

    Raises:
        ListenError: the address is in use, not this machine's, or not allowed.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise _listen_error(address, error.strerror or "the system refused") from error


def _listen_error(address: str, cause: str) -> ListenError:
    return ListenError(
        f"{address} cannot be listened on: {cause}",
        field="listen",
        next_step="free the port, or change enroll_port and grpc_port (or listen) in controlplane.toml",
    )
