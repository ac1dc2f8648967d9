"""What `outpost doctor` asks of the way to providers: DNS, TCP, TLS. Nothing is sent but a handshake."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from outpost.cli.doctor_report import Level, Line, ok, printable, until_failure
from outpost.core.bundle.documents import Provider
from outpost.core.program import OrgProgram

CONNECT_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}


class ProviderWay:
    """The way to one provider, step by step. Lines name its host, never the path of its address."""

    def __init__(self, org: str, provider: Provider) -> None:
        address = urlsplit(provider.base_url)
        self._org = org
        self._name = provider.name
        self._host = address.hostname or ""
        self._port = address.port or _PORTS.get(address.scheme, 443)
        self._secured = address.scheme == "https"

    def lines(self) -> Iterator[Line]:
        """One line for each step, up to the first failure."""
        return until_failure([self._resolve, self._connect, *([self._handshake] if self._secured else [])])

    def _say(self, text: str) -> str:
        return f"provider {self._name}: {text}"

    def _fail(self, line_id: str, text: str, code: str, next_step: str) -> Line:
        return Line(line_id, Level.FAIL, self._say(text), self._org, code, next_step)

    def _resolve(self) -> Line:
        try:
            socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return self._fail("OP-PRV-001", f"{self._host} has no address", "network.dns", f"getent hosts {self._host}")
        return ok("OP-PRV-001", self._say(f"{self._host} has an address"), self._org)

    def _connect(self) -> Line:
        where = f"{self._host}:{self._port}"
        try:
            with closing(socket.create_connection((self._host, self._port), CONNECT_SECONDS)):
                return ok("OP-PRV-002", self._say(f"{where} accepts connections"), self._org)
        except OSError as error:
            text = f"no connection to {where}: {error.strerror or 'time-out'}"
            return self._fail("OP-PRV-002", text, "network.tcp", f"let this machine reach TCP {where}")

    def _handshake(self) -> Line:
        """TLS as the gateway speaks it: the system's roots, the name checked."""
        context = ssl.create_default_context()
        try:
            with (
                closing(socket.create_connection((self._host, self._port), CONNECT_SECONDS)) as plain,
                context.wrap_socket(plain, server_hostname=self._host),
            ):
                return ok("OP-PRV-003", self._say("TLS works, and the certificate is its own"), self._org)
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of {self._host} is not believed: {printable(error.verify_message)}"
            step = "if something inspects TLS on the way, exempt this host, or add its CA to the system's roots"
        except OSError as error:
            text = f"no TLS handshake with {self._host}: {printable(error.strerror or 'time-out')}"
            step = f"is {self._host}:{self._port} an https address? what stands on the way?"
        return self._fail("OP-PRV-003", text, "network.tls", step)


def check_providers(program: OrgProgram) -> Iterator[Line]:
    """The way to every provider of an org."""
    for provider in program.providers:
        yield from ProviderWay(program.org, provider).lines()
