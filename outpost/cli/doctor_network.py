"""What `outpost doctor` asks of the network: DNS, TCP, TLS, identity, mTLS, RPC. It stops at the first failure."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing

from certs import keys
from certs.errors import TrustError
from certs.join_token import split_endpoint
from certs.shell import tls
from certs.verify import TrustAnchors, verify_server_chain
from outpost.cli.doctor_report import Level, Line, failed, ok, printable, until_failure
from outpost.core.errors import OutpostError
from outpost.paths import OrgPaths
from outpost.rpc.client import GrpcControlPlane
from outpost.sync import identity as identities

CONNECT_SECONDS = 5.0
FINGERPRINT_CHARS = 16  # hex digits of a key id shown to people
_LOOK_AT_IDENTITY = "look at the identity group; is this outpost still listed: `controlplane outpost show NAME`"


class ControlLink:
    """The way from one org's identity to its control plane, step by step.

    Args:
        paths: files of the org.
        identity: of the org.
        now: Unix seconds, for the judgement of chains.
    """

    def __init__(self, paths: OrgPaths, identity: identities.Identity, now: int) -> None:
        self._leaf_file = paths.identity / identities.LEAF
        self._identity = identity
        self._now = now
        self._org = identity.enrollment.org
        self._endpoint = identity.enrollment.sync_endpoint
        self._host, self._port = "", 0

    def lines(self) -> Iterator[Line]:
        """One line for each step, up to the first failure; none is taken where files travel."""
        if not self._identity.enrollment.endpoints:
            yield ok("OP-NET-001", "no network leads to the control plane: files travel (outpost airgap)", self._org)
            return
        yield from until_failure((self._resolve, self._connect, self._judge, self._mutual, self._call))

    def _fail(self, line_id: str, message: str, code: str, next_step: str) -> Line:
        return Line(line_id, Level.FAIL, message, self._org, code, next_step)

    def _resolve(self) -> Line:
        try:
            self._host, self._port = split_endpoint(self._endpoint)
            found = {entry[4][0] for entry in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)}
        except TrustError as error:
            return failed("OP-NET-001", error, self._org)
        except OSError as error:
            message = f"{self._host} has no address: {error.strerror}"
            return self._fail("OP-NET-001", message, "network.dns", f"getent hosts {self._host}")
        return ok("OP-NET-001", f"{self._host} has {len(found)} address{'es' if len(found) > 1 else ''}", self._org)

    def _connect(self) -> Line:
        try:
            with closing(socket.create_connection((self._host, self._port), CONNECT_SECONDS)):
                return ok("OP-NET-002", f"{self._endpoint} accepts connections", self._org)
        except OSError as error:
            message = f"no connection to {self._endpoint}: {error.strerror or 'time-out'}"
            hint = f"let this machine reach TCP {self._endpoint}; is `controlplane serve` running there?"
            return self._fail("OP-NET-002", message, "network.tcp", hint)

    def _judge(self) -> Line:
        """The chain that the server shows, judged as the agent judges it; a middle box is named."""
        told = self._identity.enrollment
        try:
            chain = tls.fetch_server_chain(self._host, self._port, CONNECT_SECONDS)
        except TrustError as error:
            return failed("OP-NET-003", error, self._org)
        try:
            roots = keys.certificates_from_pem(self._identity.trust_bundle_pem, field=identities.TRUST_BUNDLE)
            verify_server_chain(chain, TrustAnchors(told.trust_domain, roots), self._now)
        except TrustError as error:
            seen = _seen(chain)
            expected = ", ".join(sorted(_fingerprint(keys.certificate_der(root)) for root in roots))
            message = (
                f"the server at {self._endpoint} is not this outpost's control plane: {error.message}"
                f" expected root key {expected}; seen {seen}"
            )
            hint = f"if something inspects TLS on the way, exempt {self._endpoint}; there is no switch to skip this"
            return self._fail("OP-NET-004", message, error.code, hint)
        return ok("OP-NET-004", "the server is the control plane that this outpost was enrolled with", self._org)

    def _mutual(self) -> Line:
        """A handshake with our own certificate: accepted once the server speaks HTTP/2 behind it."""
        try:
            context = tls.client_context(self._identity.trust_bundle_pem)
            context.set_alpn_protocols(["h2"])
            context.load_cert_chain(self._leaf_file)
            with (
                closing(socket.create_connection((self._host, self._port), CONNECT_SECONDS)) as plain,
                context.wrap_socket(plain, server_hostname=self._host) as secured,
            ):
                protocol = secured.selected_alpn_protocol()
                accepted = bool(secured.recv(1))
        except TrustError as error:
            return failed("OP-NET-005", error, self._org)
        except (ssl.SSLError, OSError) as error:
            message = f"the handshake with our own certificate fails: {_reason(error)}"
            return self._fail("OP-NET-005", message, "network.mtls", _LOOK_AT_IDENTITY)
        if protocol != "h2":
            message = "something between here and the control plane does not pass HTTP/2 through"
            return self._fail("OP-NET-005", message, "network.alpn", f"exempt {self._endpoint} from proxies")
        if not accepted:  # some servers refuse a certificate without saying so
            message = "the control plane closed the connection after it saw our certificate"
            return self._fail("OP-NET-005", message, "network.mtls", _LOOK_AT_IDENTITY)
        return ok("OP-NET-005", "mTLS and HTTP/2 work end to end", self._org)

    def _call(self) -> Line:
        try:
            known = asyncio.run(self._ask())
        except (OutpostError, TrustError) as error:
            return failed("OP-NET-006", error, self._org)
        return ok("OP-NET-006", f"the control plane answers; it holds {known} audit records of this outpost", self._org)

    async def _ask(self) -> int:
        identity = tls.TLSIdentity(self._identity.key_pem, self._identity.chain_pem)
        credentials = tls.channel_credentials(self._identity.trust_bundle_pem, identity)
        plane = GrpcControlPlane(self._endpoint, credentials)
        try:
            return (await plane.root(self._identity.origin, 0))[0]
        finally:
            await plane.close()


def check_network(paths: OrgPaths, now: int) -> Iterator[Line]:
    """Every step to the control plane of one org; nothing when there is no readable identity."""
    try:
        identity = identities.load(paths.identity)
    except (OutpostError, TrustError):
        return  # the identity group names it
    yield from ControlLink(paths, identity, now).lines()


def _fingerprint(der: bytes) -> str:
    certificate = keys.certificate_from_der(der)
    return keys.key_id(keys.require_tls_key(certificate.public_key()))[:FINGERPRINT_CHARS]


def _seen(chain: tuple[bytes, ...]) -> str:
    """Who issued the top of a chain; the name is the peer's own word."""
    try:
        top = keys.certificate_from_der(chain[-1])
        return f'"{printable(top.issuer.rfc4514_string())}"'
    except (TrustError, ValueError):
        return "an unreadable certificate"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return printable(error.reason or type(error).__name__)
    return error.strerror or "time-out"
