"""What each kind of certificate must look like, as data.

The linter compares a certificate with its profile before it is signed; the verifier asks the same of a
peer's.

Hierarchy: an offline root; below it one issuing CA for outposts (client authentication only) and one for
servers (server authentication only), both with path length 0 and constrained to URIs of the trust domain;
below those the leaves. An ingress is a client too: its leaf comes from the issuing CA for outposts.

A cross-certificate names a new root and its key, and is signed by the old root. No path leads through one: with
it the path would be longer than the old root permits. It is read by ``certs.adoption`` only.

Source: RFC 5280 §4.2; X.509-SVID standard, sections 2 to 4.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from certs import keys

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY

SERIAL_BITS: Final = 159  # RFC 5280 §4.1.2.2: at most 20 octets, positive
MIN_SERIAL_BITS: Final = 64  # CA/B Forum Baseline Requirements §7.1: 64 bits from a random generator
MAX_DNS_NAMES: Final = 16  # of one server leaf; keeps it below MAX_CERTIFICATE_BYTES


class CertificateKind(StrEnum):
    """The seven kinds of certificates; no other is ever signed."""

    ROOT_CA = "root-ca"
    ROOT_CROSS = "root-cross"
    OUTPOST_CA = "outpost-ca"
    SERVER_CA = "server-ca"
    OUTPOST = "outpost"
    INGRESS = "ingress"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """How a certificate of one kind must look.

    Args:
        kind: the kind that this profile describes.
        issuer: kind of the issuer; the root issues itself.
        path_length: pathLenConstraint of a CA; None for a leaf, which is no CA.
        extended_key_usage: the one purpose, or None for a root, which has no such extension.
        lifetime_seconds: default life from now on.
        max_lifetime_seconds: longest life from now on.
        backdate_seconds: how far notBefore lies in the past, for clocks that lag.
    """

    kind: CertificateKind
    issuer: CertificateKind
    path_length: int | None
    extended_key_usage: x509.ObjectIdentifier | None
    lifetime_seconds: int
    max_lifetime_seconds: int
    backdate_seconds: int

    @property
    def is_ca(self) -> bool:
        """Whether a certificate of this kind may sign others."""
        return self.path_length is not None

    @property
    def is_root(self) -> bool:
        """Whether a certificate of this kind signs itself."""
        return self.kind is self.issuer

    @property
    def is_issuing_ca(self) -> bool:
        """Whether a certificate of this kind signs leaves."""
        return self.path_length == 0

    @property
    def key_usage(self) -> x509.KeyUsage:
        """The exact keyUsage: signing certificates and lists, or signing handshakes."""
        return key_usage_of(is_ca=self.is_ca)

    @property
    def extension_oids(self) -> frozenset[x509.ObjectIdentifier]:
        """The exact set of extensions."""
        oids = {
            ExtensionOID.BASIC_CONSTRAINTS,
            ExtensionOID.KEY_USAGE,
            ExtensionOID.SUBJECT_KEY_IDENTIFIER,
            ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        }
        if self.extended_key_usage is not None:
            oids.add(ExtensionOID.EXTENDED_KEY_USAGE)
        if self.is_issuing_ca:
            oids.add(ExtensionOID.NAME_CONSTRAINTS)
        if not self.is_ca:
            oids.add(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        return frozenset(oids)


def subject_of(kind: CertificateKind, public_key: keys.PublicKey) -> x509.Name:
    """The exact subject: a CA is named after its purpose and key, so that no two keys share a name; a leaf has none."""
    purpose = _CA_PURPOSES.get(kind)
    if purpose is None:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{purpose} {keys.key_id(public_key)[:16]}")])


def key_usage_of(*, is_ca: bool) -> x509.KeyUsage:
    """The keyUsage of every CA (keyCertSign, cRLSign) or of every leaf (digitalSignature)."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def name_constraints_of(trust_domain: str) -> x509.NameConstraints:
    """The name constraints of an issuing CA: URIs of exactly this trust domain."""
    return x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain)], None)


_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_Kind = CertificateKind
_CA_PURPOSES: Final = {
    _Kind.ROOT_CA: "Outpost root CA",
    _Kind.ROOT_CROSS: "Outpost root CA",  # the very name of the new root
    _Kind.OUTPOST_CA: "Outpost issuing CA for outposts",
    _Kind.SERVER_CA: "Outpost issuing CA for servers",
}

PROFILES: Final = {
    profile.kind: profile
    for profile in (
        CertificateProfile(_Kind.ROOT_CA, _Kind.ROOT_CA, 1, None, 10 * YEAR, 10 * YEAR, HOUR),
        CertificateProfile(_Kind.ROOT_CROSS, _Kind.ROOT_CA, 1, None, YEAR, 2 * YEAR, HOUR),
        CertificateProfile(_Kind.OUTPOST_CA, _Kind.ROOT_CA, 0, _CLIENT, 2 * YEAR, 5 * YEAR, HOUR),
        CertificateProfile(_Kind.SERVER_CA, _Kind.ROOT_CA, 0, _SERVER, 2 * YEAR, 5 * YEAR, HOUR),
        CertificateProfile(_Kind.OUTPOST, _Kind.OUTPOST_CA, None, _CLIENT, 24 * HOUR, 72 * HOUR, 5 * MINUTE),
        CertificateProfile(_Kind.INGRESS, _Kind.OUTPOST_CA, None, _CLIENT, 90 * DAY, 90 * DAY, 5 * MINUTE),
        CertificateProfile(_Kind.SERVER, _Kind.SERVER_CA, None, _SERVER, 90 * DAY, 397 * DAY, 5 * MINUTE),
    )
}
