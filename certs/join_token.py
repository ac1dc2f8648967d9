"""Join tokens: one line of text that lets an outpost enroll once.

``ojt1.<base64url of canonical JSON {"endpoint","name","org","pin","secret"}>``, no padding. Org, endpoint and
the pin of the root CA stand in clear, so that an outpost knows whom to call and whom to believe; the server
keeps only an HMAC of the secret. One token has one text: whatever does not encode back to the same text is
refused, so duplicate fields, white space and other spellings cannot hide.

Token and secret are untrusted on arrival and must never reach a log: neither ``repr`` nor any error shows
them.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import re
from dataclasses import dataclass, field

from certs import spiffe
from certs.errors import IdentityError, TokenError

PREFIX = "ojt1."
SECRET_BYTES = 32  # 256 bit: ASVS 11.5.1 asks for 128
PEPPER_BYTES = 32  # at least the strength of the secret
MAX_TOKEN_CHARACTERS = 1024  # the longest endpoint, org and name need about 750
MAX_ENDPOINT_BYTES = 261  # enrollment.proto: 253 of host, 2 brackets, colon, 5 of port
MAX_HOST_BYTES = 253  # RFC 1035 §2.3.4
MAX_PORT = 65535  # RFC 9293 §3.1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # enrollment.proto: 63 bytes
_PIN = re.compile(r"[0-9a-f]{64}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_BODY = re.compile(r"[A-Za-z0-9_-]+")
_FIELDS = ("endpoint", "name", "org", "pin", "secret")


class JoinTokenFormatError(TokenError):
    """The text is not a join token."""

    code = "token.malformed"

    def __init__(self, cause: str, *, field: str = "token") -> None:
        super().__init__(
            f"The join token is not readable: {cause}.",
            field=field,
            next_step="Register the outpost again and paste the whole line.",
        )


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a join token says.

    Args:
        org: org id that the outpost will belong to.
        name: name that it was registered under, at most 63 characters.
        endpoint: ``host:port`` of the enrollment listener; IPv6 hosts stand in brackets.
        pin: key id of the root CA, 64 lower-case hex digits.
        secret: 32 bytes, never shown.

    Raises:
        JoinTokenFormatError: a part has another form.
    """

    org: str
    name: str
    endpoint: str
    pin: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse parts that would not read back as the same token."""
        try:
            spiffe.require_org(self.org)
        except IdentityError as error:
            raise JoinTokenFormatError("the org id has another form", field="org") from error
        if not _NAME.fullmatch(self.name):
            raise JoinTokenFormatError("the name has another form", field="name")
        if not _PIN.fullmatch(self.pin):
            raise JoinTokenFormatError("the pin is not 64 hexadecimal digits", field="pin")
        if len(self.secret) != SECRET_BYTES:
            raise JoinTokenFormatError(f"the secret has not {SECRET_BYTES} bytes", field="secret")
        split_endpoint(self.endpoint)

    def encode(self) -> str:
        """The line of text to show once. It is a secret."""
        body = {
            "endpoint": self.endpoint,
            "name": self.name,
            "org": self.org,
            "pin": self.pin,
            "secret": _encode(self.secret),
        }
        return PREFIX + _encode(json.dumps(body, separators=(",", ":"), sort_keys=True).encode())


def parse(text: str) -> JoinToken:
    """Read a join token from untrusted text; white space around it, such as the end of a pasted line, is dropped.

    Raises:
        JoinTokenFormatError: it is not one, exactly.
    """
    line = text.strip()
    if len(line) > MAX_TOKEN_CHARACTERS:
        raise JoinTokenFormatError(f"it has more than {MAX_TOKEN_CHARACTERS} characters")
    if not line.startswith(PREFIX):
        raise JoinTokenFormatError(f"it does not start with {PREFIX}")
    body = _decode(line[len(PREFIX) :], field="token")
    # "from None" below: the parser's own error carries the text, and with it the secret.
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise JoinTokenFormatError("its body is not JSON") from None
    if not isinstance(values, dict) or sorted(values) != list(_FIELDS):
        raise JoinTokenFormatError("its fields are not endpoint, name, org, pin and secret")
    if not all(isinstance(value, str) for value in values.values()):
        raise JoinTokenFormatError("its fields are not texts")
    token = JoinToken(
        org=values["org"],
        name=values["name"],
        endpoint=values["endpoint"],
        pin=values["pin"],
        secret=_decode(values["secret"], field="secret"),
    )
    if not hmac.compare_digest(token.encode(), line):
        raise JoinTokenFormatError("it is not in canonical form")
    return token


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Divide ``host:port`` into a host (without brackets) and a port.

    Raises:
        JoinTokenFormatError: another form, or a port outside 1 to 65535.
    """
    host, colon, port = endpoint.rpartition(":")
    if len(endpoint) > MAX_ENDPOINT_BYTES or not colon or not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise JoinTokenFormatError("the endpoint is not host:port", field="endpoint")
    if host.startswith("[") and host.endswith("]") and "%" not in host:  # a zone means nothing on another machine
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            raise JoinTokenFormatError("the endpoint's host is not an IPv6 address", field="endpoint") from None
    if len(host) > MAX_HOST_BYTES or not _HOST.fullmatch(host):
        raise JoinTokenFormatError("the endpoint's host is neither a DNS name nor an address", field="endpoint")
    return host, int(port)


def secret_digest(pepper: bytes, secret: bytes) -> str:
    """Keyed hash under which a server stores a secret: 64 hex digits of HMAC-SHA256.

    A stolen database without the pepper yields no usable token, and equal digests may be looked up by index.

    Args:
        pepper: the server's key, at least 32 bytes, kept outside the database.
        secret: exactly 32 bytes, untrusted.

    Raises:
        JoinTokenFormatError: the secret has another length.
        TokenError: the pepper is too short.
    """
    if len(pepper) < PEPPER_BYTES:
        raise TokenError(f"The pepper for join tokens needs {PEPPER_BYTES} bytes.", field="pepper")
    if len(secret) != SECRET_BYTES:
        raise JoinTokenFormatError(f"the secret has not {SECRET_BYTES} bytes", field="secret")
    return hmac.new(pepper, secret, hashlib.sha256).hexdigest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str, *, field: str) -> bytes:
    if not _BODY.fullmatch(text):
        raise JoinTokenFormatError("it is not base64url", field=field)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise JoinTokenFormatError("it is not base64url", field=field) from None
