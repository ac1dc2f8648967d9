"""TLS for gRPC and for HTTP listeners, and how an outpost fetches a chain that it can only judge by a pin.

gRPC speaks TLS 1.2 and 1.3 and offers no way to look at a chain before it is believed. Therefore enrollment
goes in two steps: ``fetch_server_chain`` takes the chain from a handshake that believes nobody and says
nothing; ``certs.verify.root_by_pin`` and ``verify_server_chain`` judge it; the call itself then goes through
a channel that believes only that root.
"""

import ipaddress
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection, gaierror, socket

import grpc
from OpenSSL import SSL, crypto

from certs import keys
from certs.errors import ChainError, TrustError
from certs.verify import MAX_CHAIN_CERTIFICATES, ChainFormatError

MAX_HANDSHAKE_BYTES = 65536  # a server's flight with the largest chain has less than 20 KiB
_RECEIVE_BYTES = 16384  # one TLS record, RFC 8446 §5.1
_ALPN = b"h2"  # gRPC servers refuse a client that does not offer it


class ServerUnreachableError(TrustError):
    """A server did not complete a TLS handshake in time."""

    code = "tls.unreachable"
    fatal = False


@dataclass(frozen=True, slots=True)
class TLSIdentity:
    """A private key with its chain, both PEM.

    Args:
        key_pem: unencrypted PKCS#8, never shown.
        chain_pem: leaf first, then its issuers; the root too on the enrollment listener.
    """

    key_pem: bytes = field(repr=False)
    chain_pem: bytes


def server_credentials(identity: TLSIdentity) -> grpc.ServerCredentials:
    """For a listener whose callers have no certificate yet."""
    return grpc.ssl_server_credentials([(identity.key_pem, identity.chain_pem)])


def server_mtls_credentials(identity: TLSIdentity, client_roots_pem: bytes) -> grpc.ServerCredentials:
    """For a listener whose callers must show a certificate under the given roots.

    The handshake does not check what the certificate is for: pass ``peer_chain`` to
    ``verify_outpost_chain`` before anything is believed.

    Args:
        identity: of the server.
        client_roots_pem: roots, and the issuing CAs that callers need not send. gRPC believes each of them by
            itself (it accepts partial chains): drop a root's issuing CAs with it.
    """
    return grpc.ssl_server_credentials(
        [(identity.key_pem, identity.chain_pem)], root_certificates=client_roots_pem, require_client_auth=True
    )


def channel_credentials(roots_pem: bytes, identity: TLSIdentity | None = None) -> grpc.ChannelCredentials:
    """For a client that believes only the given roots, with its own certificate or without."""
    if not roots_pem:  # gRPC would silently fall back to the public roots
        raise ChainFormatError("A channel needs at least one root.", field="trust_bundle")
    if identity is None:
        return grpc.ssl_channel_credentials(roots_pem)
    return grpc.ssl_channel_credentials(roots_pem, identity.key_pem, identity.chain_pem)


def peer_chain(auth_context: Mapping[str, Sequence[bytes]]) -> tuple[bytes, ...]:
    """The chain that a gRPC client presented, as DER, leaf first: untrusted until ``verify_outpost_chain`` accepts it.

    Args:
        auth_context: of the servicer's context.

    Raises:
        ChainFormatError: no certificate, or too many.
        CertificateFormatError: unreadable.
    """
    pems = [*auth_context.get("x509_pem_cert", ()), *auth_context.get("x509_pem_cert_chain", ())]
    if not pems:
        raise ChainFormatError("The peer showed no certificate.", field="chain")
    found: list[bytes] = []
    for certificate in keys.certificates_from_pem(b"\n".join(pems)):
        der = keys.certificate_der(certificate)
        if der not in found:  # whether the chain repeats the leaf differs between versions of gRPC
            found.append(der)
    if len(found) > MAX_CHAIN_CERTIFICATES:
        raise ChainFormatError(f"A chain has at most {MAX_CHAIN_CERTIFICATES} certificates.", field="chain")
    return tuple(found)


def server_context(chain_file: Path, key_file: Path) -> ssl.SSLContext:
    """For an HTTP listener: TLS 1.2 or newer.

    Raises:
        ChainError: the files are unreadable or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(chain_file, key_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ChainError(
            f"The listener's certificate and key cannot be used ({type(error).__name__}).",
            field=str(chain_file),
            next_step="Check that both files exist, are PEM and belong together.",
        ) from error
    return context


def identity_context(identity: TLSIdentity) -> ssl.SSLContext:
    """For an HTTP listener whose key is not in a file: TLS 1.2 or newer.

    Raises:
        ChainError: key and chain do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    replace_identity(context, identity)
    return context


def replace_identity(context: ssl.SSLContext, identity: TLSIdentity) -> None:
    """Let a listener show another key and chain from its next handshake on.

    OpenSSL's Python binding reads files only; this one has no name and lies in memory.

    Raises:
        ChainError: key and chain do not belong together.
    """
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity.chain_pem + b"\n" + identity.key_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ChainError(
            f"The listener's certificate and key cannot be used ({type(error).__name__}).", field="server"
        ) from error
    finally:
        os.close(descriptor)


def client_context(roots_pem: bytes) -> ssl.SSLContext:
    """For an HTTP client that believes only the given roots: TLS 1.2 or newer, host names checked.

    Raises:
        ChainFormatError: no readable root.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=roots_pem.decode("ascii"))
    except (OSError, ValueError):
        raise ChainFormatError("The trust bundle holds no readable root.", field="trust_bundle") from None
    return context


def fetch_server_chain(host: str, port: int, timeout_seconds: float) -> tuple[bytes, ...]:
    """Take the chain that a server presents, without believing it and without sending anything but a handshake.

    Blocks; call it from a thread. The result is untrusted.

    Args:
        host: DNS name or address.
        port: TCP port.
        timeout_seconds: for connection and handshake together; looking up a name is not bounded by it.

    Returns:
        DER, leaf first, as sent.

    Raises:
        ServerUnreachableError: refused, timed out, or no TLS server.
        ChainFormatError: no chain, or more than five certificates.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        connection = _client(host)
        with closing(create_connection((host, port), timeout_seconds)) as transport:
            _handshake(connection, transport, deadline)
    except (OSError, SSL.Error, UnicodeError) as error:
        raise ServerUnreachableError(
            f"No TLS handshake with {host}:{port}: {_in_words(error)}.",
            field="endpoint",
            next_step="Check host, port and firewall; the listener must be the control plane's enrollment port.",
        ) from error
    chain = connection.get_peer_cert_chain() or []
    if not 0 < len(chain) <= MAX_CHAIN_CERTIFICATES:
        raise ChainFormatError(f"A chain has 1 to {MAX_CHAIN_CERTIFICATES} certificates.", field="chain")
    return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in chain)


def _in_words(error: Exception) -> str:
    """What kept a handshake from happening, for people."""
    if isinstance(error, gaierror | UnicodeError):
        return "the name was not found"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionResetError):
        return "the server closed the connection"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "the server does not speak TLS"


def _client(host: str) -> SSL.Connection:
    """A client in memory that believes everybody, on purpose: the caller judges the chain by its pin."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([_ALPN])
    context.set_verify(SSL.VERIFY_NONE)
    connection = SSL.Connection(context)
    connection.set_connect_state()
    if not _is_address(host):
        connection.set_tlsext_host_name(host.encode("idna"))
    return connection


def _handshake(connection: SSL.Connection, transport: socket, deadline: float) -> None:
    """Carry a handshake between OpenSSL's memory and a socket, within bounds of time and size."""
    received = 0
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            _send_pending(connection, transport)
        remaining = deadline - time.monotonic()
        if remaining <= 0 or received > MAX_HANDSHAKE_BYTES:
            raise TimeoutError
        transport.settimeout(remaining)
        data = transport.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError
        received += len(data)
        connection.bio_write(data)


def _send_pending(connection: SSL.Connection, transport: socket) -> None:
    try:
        transport.sendall(connection.bio_read(_RECEIVE_BYTES))
    except SSL.WantReadError:
        return  # nothing to send


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
