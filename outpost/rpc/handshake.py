"""What certificates a server shows, before anything of it is believed: needed to find the root that a join token pins.

Nothing is sent to the server beyond the TLS handshake.
"""

import asyncio
import select
import socket
import time

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from outpost.rpc.codec import ControlPlaneUnreachableError

TIMEOUT_SECONDS = 10.0
MAX_CERTIFICATES = 8  # leaf, issuing CA, root, and room for an interceptor's chain, which is then named


async def presented_chain(host: str, port: int) -> tuple[bytes, ...]:
    """DER certificates of the server at host:port, leaf first, not verified.

    Raises:
        ControlPlaneUnreachableError: no connection or no TLS.
    """
    return await asyncio.to_thread(_handshake, host, port)


def _handshake(host: str, port: int) -> tuple[bytes, ...]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as plain:
            connection = SSL.Connection(context, plain)
            connection.set_tlsext_host_name(host.encode("idna"))
            connection.set_alpn_protos([b"h2"])
            connection.set_connect_state()
            _drive(connection, plain)
            chain = connection.get_peer_cert_chain(as_cryptography=True) or []
            return tuple(item.public_bytes(Encoding.DER) for item in chain[:MAX_CERTIFICATES])
    except (OSError, SSL.Error, UnicodeError) as error:
        raise ControlPlaneUnreachableError(
            f"no TLS connection to {host}:{port}",
            field="endpoint",
            next_step="check that `controlplane serve` runs there and that nothing blocks the port",
        ) from error


def _drive(connection: SSL.Connection, plain: socket.socket) -> None:
    """The handshake on a socket with a time-out, which OpenSSL sees as non-blocking."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([plain], [], [], left)[0]:
                raise TimeoutError("no TLS handshake in time") from None
        else:
            return
