"""Certificates of any shape, signed by the real keys of a hierarchy: what a stolen or careless CA could have issued."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import keys
from certs.profiles import key_usage_of, name_constraints_of
from certs.shell.dev import Authority, Hierarchy
from certs.shell.signers import generate_tls_key, random_serial
from certs.signer import KeySigner

NOW = 1_795_000_000  # any moment; certificates know no other clock
ORG = "acme"
OUTPOST = "op-0123456789abcdef"
OTHER_DOMAIN = "elsewhere.example"


def uri(trust_domain: str, org: str = ORG, outpost: str = OUTPOST) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/org/{org}/outpost/{outpost}")


@dataclass
class Parts:
    """A certificate taken apart: change what you like, then build."""

    issuer: Authority
    public_key: object = field(default_factory=lambda: generate_tls_key().public_key())
    subject: x509.Name = field(default_factory=lambda: x509.Name([]))
    issuer_name: x509.Name | None = None
    serial: int = field(default_factory=random_serial)
    not_before: int = NOW - 300
    not_after: int = NOW + 86400
    hash: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    extensions: dict[str, tuple[x509.ExtensionType, bool]] = field(default_factory=dict)

    def put(self, value: x509.ExtensionType, *, critical: bool = False) -> "Parts":
        self.extensions[value.oid.dotted_string] = (value, critical)
        return self

    def drop(self, kind: type[x509.ExtensionType]) -> "Parts":
        del self.extensions[kind.oid.dotted_string]
        return self

    def names(self, *names: x509.GeneralName) -> "Parts":
        return self.put(x509.SubjectAlternativeName(names), critical=True)

    def purposes(self, *purposes: x509.ObjectIdentifier) -> "Parts":
        return self.put(x509.ExtendedKeyUsage(purposes))

    def build(self) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(self.issuer.certificate.subject if self.issuer_name is None else self.issuer_name)
            .public_key(self.public_key)
            .serial_number(self.serial)
            .not_valid_before(datetime.fromtimestamp(self.not_before, UTC))
            .not_valid_after(datetime.fromtimestamp(self.not_after, UTC))
        )
        for value, critical in self.extensions.values():
            builder = builder.add_extension(value, critical)
        key = self.issuer.signer._private_key
        return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else self.hash)

    def der(self) -> bytes:
        return keys.certificate_der(self.build())


def _common(parts: Parts) -> Parts:
    parts.put(x509.SubjectKeyIdentifier.from_public_key(parts.public_key))
    issuer_key = parts.issuer.signer.public_key()
    return parts.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key))


def outpost_parts(hierarchy: Hierarchy, issuer: Authority | None = None, **changes: object) -> Parts:
    """A leaf that would be accepted, if it is built as it is."""
    parts = _common(Parts(issuer or hierarchy.outposts, **changes))
    parts.put(x509.BasicConstraints(False, None), critical=True).put(key_usage_of(is_ca=False), critical=True)
    return parts.purposes(ExtendedKeyUsageOID.CLIENT_AUTH).names(uri(hierarchy.trust_domain))


def authority(
    hierarchy: Hierarchy, issuer: Authority | None = None, key: object = None, **changes: object
) -> tuple[Parts, object]:
    """An issuing CA for outposts that would be accepted, if it is built as it is; and its key."""
    key = key or generate_tls_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"CA {keys.key_id(key.public_key())[:16]}")])
    changes = {"not_before": NOW - 3600} | changes
    parts = _common(Parts(issuer or hierarchy.root, public_key=key.public_key(), subject=name, **changes))
    parts.put(x509.BasicConstraints(True, 0), critical=True).put(key_usage_of(is_ca=True), critical=True)
    parts.put(name_constraints_of(hierarchy.trust_domain), critical=True)
    return parts.purposes(ExtendedKeyUsageOID.CLIENT_AUTH), key


def root_parts(key: object = None) -> tuple[Parts, object]:
    """A root that would be believed, if it is built as it is; and its key."""
    key = key or generate_tls_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Root {keys.key_id(key.public_key())[:16]}")])
    itself = Authority(None, KeySigner(key))
    parts = _common(Parts(itself, public_key=key.public_key(), subject=name, issuer_name=name, not_before=NOW - 3600))
    parts.put(x509.BasicConstraints(True, 1), critical=True)
    return parts.put(key_usage_of(is_ca=True), critical=True), key


def rekeyed(parts: Parts, public_key: object) -> None:
    """Certify another key, with the key identifier that belongs to it."""
    parts.public_key = public_key
    parts.put(x509.SubjectKeyIdentifier.from_public_key(public_key))


def other_curve() -> object:
    return ec.generate_private_key(ec.SECP384R1()).public_key()
