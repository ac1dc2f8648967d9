"""The address of a database: one URL in a file that only its owner may read."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from certs.errors import KeyStoreError
from certs.shell.private_files import read_private_file
from controlplane.store.postgres_faults import wrong_address

SCHEMES = frozenset({"postgresql", "postgres"})
SAFE_TLS = "verify-full"  # the server proves its name; anything less has to be written down


def read_address(path: Path) -> str:
    """Read a URL.

    Raises:
        DatabaseAddressError: not there, readable by others, or no address; the message shows nothing of it.
    """
    try:
        text = read_private_file(path.resolve()).decode().strip()  # a mounted secret is a link to its file
    except KeyStoreError as error:
        raise wrong_address(f"{path}: {error.message}") from error
    except UnicodeDecodeError:
        raise wrong_address(f"{path} holds no text") from None
    return checked_address(text)


def checked_address(text: str) -> str:
    """A URL that names server, user and database itself, so that nothing is taken from the environment.

    A server elsewhere has to prove itself (``sslmode=verify-full``) unless the URL says otherwise.

    Raises:
        DatabaseAddressError: anything else.
    """
    try:
        parts = urlsplit(text)
        query = parse_qs(parts.query, strict_parsing=bool(parts.query))
        host, user = parts.hostname or query.get("host", [""])[0], parts.username
        _ = parts.port  # raises when it is no number
    except ValueError:
        raise wrong_address("it is no URL") from None
    if parts.scheme not in SCHEMES or not host or not user or parts.path in {"", "/"}:
        raise wrong_address("it names no server, user or database")
    if "sslmode" in query or is_local(host):
        return text
    joined = f"{parts.query}&sslmode={SAFE_TLS}" if parts.query else f"sslmode={SAFE_TLS}"
    return urlunsplit(parts._replace(query=joined))


def user_of(address: str) -> str:
    """The role that an address logs in as."""
    return urlsplit(address).username or ""


def is_local(host: str) -> bool:
    """Whether a server is on this machine: a socket's folder, or loopback."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
