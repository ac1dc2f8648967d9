"""The listener's socket and its TLS: on by default, except on loopback."""

import ipaddress
import socket
import ssl
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import keys
from certs.shell import tls
from certs.shell.private_files import replace_private_file
from outpost.bootstrap.world import SystemClock
from outpost.settings import ListenError, Settings, SettingsError, listening

BACKLOG = 1024  # connections waiting to be accepted by one worker
LOCAL_CA_DAYS = 3650
LOCAL_LEAF_DAYS = 90  # made anew at each start, so a restart within that time is enough
BACKDATE = timedelta(minutes=5)
_CA_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def share(host: str, port: int) -> socket.socket:
    """A listening socket on a port that several processes share: the kernel spreads connections (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        with listening("port", host, port):
            listener.bind((host, port))
            listener.listen(BACKLOG)
    except ListenError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS of the listener, or None for plain HTTP on loopback."""
    if not settings.uses_tls():
        return None
    chain, key = settings.tls_certificate_file, settings.tls_key_file
    if (chain is None) != (key is None):
        raise SettingsError("a certificate needs its key", field="tls_key_file")
    folder = settings.state / "listener"
    return tls.server_context(chain or folder / "server.pem", key or folder / "server.key")


def prepare_local_ca(settings: Settings) -> None:
    """Without certificate files: a CA of this outpost's own, and a leaf from it. Clients trust `listener/ca.pem`."""
    if not settings.uses_tls() or settings.tls_certificate_file is not None:
        return
    folder = settings.state / "listener"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_key, ca = _local_ca(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("outpost", ca.subject, LOCAL_LEAF_DAYS).public_key(key.public_key())
    builder = builder.add_extension(x509.SubjectAlternativeName(_names(settings.host)), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    # Clients that check as strictly as RFC 5280 4.2.1.1 (Python 3.13 does by default) need the link to the CA's key.
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = builder.add_extension(authority, critical=False).sign(ca_key, hashes.SHA256())
    replace_private_file(folder / "server.key", keys.private_key_pem(key))
    replace_private_file(folder / "server.pem", keys.certificates_pem([leaf, ca]))


def _local_ca(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key_file, certificate_file = folder / "ca.key", folder / "ca.pem"
    if key_file.exists() and certificate_file.exists():
        key = keys.private_key_from_pem(key_file.read_bytes())
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key, keys.certificates_from_pem(certificate_file.read_bytes())[0]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Outpost local CA")])
    builder = _builder("Outpost local CA", subject, LOCAL_CA_DAYS).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_CA_KEY_USAGE, critical=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = builder.add_extension(own, critical=False).sign(key, hashes.SHA256())
    replace_private_file(key_file, keys.private_key_pem(key))
    replace_private_file(certificate_file, keys.certificates_pem([certificate]))
    return key, certificate


def _builder(common_name: str, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    from datetime import UTC, datetime

    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    for address in ("127.0.0.1", "::1", host):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return list(dict.fromkeys(names))
