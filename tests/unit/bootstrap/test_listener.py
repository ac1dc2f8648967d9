"""The listener: TLS by default where others can reach it, a CA of its own where nobody gave one, ports by name."""

import socket
import ssl
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs import keys
from certs.errors import TrustError
from outpost.bootstrap import listener
from outpost.settings import ListenError, Settings, SettingsError

MODES: dict[str, tuple[dict[str, object], bool]] = {
    "loopback speaks plain HTTP": ({"host": "127.0.0.1"}, False),
    "loopback of IPv6 too": ({"host": "::1"}, False),
    "loopback by name too": ({"host": "localhost"}, False),
    "loopback with TLS when asked": ({"host": "127.0.0.1", "tls": True}, True),
    "every address speaks TLS": ({"host": "0.0.0.0"}, True),
    "every address of IPv6 too": ({"host": "::"}, True),
    "a name of this machine too": ({"host": "outpost.example.com"}, True),
    "an address of the network too": ({"host": "192.0.2.1"}, True),
}


@pytest.mark.parametrize("what", MODES)
def test_tls_by_default(what: str, tmp_path: Path) -> None:
    values, secured = MODES[what]
    settings = Settings(state=tmp_path, **values)
    listener.prepare_local_ca(settings)
    assert (listener.tls_context(settings) is not None) is secured
    assert (tmp_path / "listener").exists() is secured


def test_tls_cannot_be_switched_off_where_others_reach_us(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, host="0.0.0.0", tls=False)
    for act in (listener.prepare_local_ca, listener.tls_context):
        with pytest.raises(SettingsError) as refused:
            act(settings)
        assert (refused.value.code, refused.value.field) == ("settings.invalid", "tls")


def test_our_own_ca_is_private_and_kept_and_its_leaf_is_made_anew(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, host="0.0.0.0")
    listener.prepare_local_ca(settings)
    folder = tmp_path / "listener"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = {path.name: path for path in folder.iterdir()}
    assert sorted(files) == ["ca.key", "ca.pem", "server.key", "server.pem"]
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    before = {name: path.read_bytes() for name, path in files.items()}
    listener.prepare_local_ca(settings)
    after = {name: path.read_bytes() for name, path in files.items()}
    assert [name for name in sorted(files) if before[name] == after[name]] == ["ca.key", "ca.pem"]


def shake_hands(settings: Settings, name: str) -> x509.Certificate:
    """One handshake of a client that trusts our own CA only; returns the leaf that it saw."""
    server = listener.tls_context(settings)
    assert server is not None
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(ours, server_side=True) as wrapped:
            wrapped.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=str(settings.state / "listener" / "ca.pem"))
    with client.wrap_socket(theirs, server_hostname=name) as wrapped:
        wrapped.send(b"x")
        der = wrapped.getpeercert(binary_form=True)
    thread.join()
    assert der is not None
    return x509.load_der_x509_certificate(der)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "gateway.example.com"])
def test_clients_that_trust_our_ca_reach_us_under(name: str, tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, host="gateway.example.com")
    listener.prepare_local_ca(settings)
    leaf = shake_hands(settings, name)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (False, True)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=91)


def test_given_certificates_are_used_and_no_ca_is_made(tmp_path: Path) -> None:
    other = Settings(state=tmp_path / "other", host="0.0.0.0")
    listener.prepare_local_ca(other)
    made = other.state / "listener"
    settings = Settings(
        state=tmp_path / "state",
        host="0.0.0.0",
        tls_certificate_file=made / "server.pem",
        tls_key_file=made / "server.key",
    )
    listener.prepare_local_ca(settings)
    assert not (settings.state / "listener").exists()
    assert listener.tls_context(settings) is not None


def _pair(tmp_path: Path) -> Path:
    settings = Settings(state=tmp_path, host="0.0.0.0")
    listener.prepare_local_ca(settings)
    return tmp_path / "listener"


BROKEN: dict[str, tuple[Callable[[Path], dict[str, Path]], type[Exception]]] = {
    "a certificate without its key": (lambda f: {"tls_certificate_file": f / "server.pem"}, SettingsError),
    "a key without its certificate": (lambda f: {"tls_key_file": f / "server.key"}, SettingsError),
    "files that are not there": (
        lambda f: {"tls_certificate_file": f / "no.pem", "tls_key_file": f / "no.key"},
        TrustError,
    ),
    "the key of another certificate": (
        lambda f: {"tls_certificate_file": f / "server.pem", "tls_key_file": f / "ca.key"},
        TrustError,
    ),
    "a certificate that is none": (
        lambda f: {"tls_certificate_file": f / "server.key", "tls_key_file": f / "server.key"},
        TrustError,
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_settings_are_refused_with(what: str, tmp_path: Path) -> None:
    values, error = BROKEN[what]
    files = values(_pair(tmp_path))
    settings = Settings(state=tmp_path / "state", host="0.0.0.0", **files)
    with pytest.raises(error):
        listener.tls_context(settings)


def test_a_damaged_ca_is_named_and_not_replaced_in_silence(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, host="0.0.0.0")
    listener.prepare_local_ca(settings)
    (tmp_path / "listener" / "ca.key").write_bytes(b"nothing")
    with pytest.raises(TrustError):
        listener.prepare_local_ca(settings)


def test_the_ca_key_is_one_that_openssl_reads(tmp_path: Path) -> None:
    folder = _pair(tmp_path)
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    (certificate,) = keys.certificates_from_pem((folder / "ca.pem").read_bytes())
    assert certificate.public_key() == key.public_key()


def test_several_processes_share_one_port_and_a_taken_one_is_named() -> None:
    with listener.share("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listener.share("127.0.0.1", port) as second:
            assert second.getsockname()[1] == port
    with socket.create_server(("127.0.0.1", 0)) as taken:  # somebody who does not share
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as refused:
            listener.share("127.0.0.1", port)
        assert (refused.value.field, str(port) in refused.value.message) == ("port", True)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ListenError) as refused:
        listener.share("192.0.2.1", 0)
    assert refused.value.code == "settings.listen"
