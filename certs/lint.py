"""Lint a to-be-signed certificate: one function per rule of its profile.

A rule looks at the certificate as its reader will see it (parsed from the exact bytes that will be signed)
and answers with the fault that it found, or None. All rules run, so that one refusal names every fault.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import SignatureAlgorithmOID

from certs import keys
from certs.errors import IssuanceError
from certs.profiles import (
    MAX_DNS_NAMES,
    MIN_SERIAL_BITS,
    PROFILES,
    SERIAL_BITS,
    CertificateKind,
    CertificateProfile,
    name_constraints_of,
    subject_of,
)
from certs.spiffe import Identity, IngressIdentity, OutpostIdentity, ServerIdentity

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_KNOWN_ISSUERS = 32  # more than a control plane has: two issuing CAs and a root, of two generations
_IDENTITIES: Final = {
    CertificateKind.OUTPOST: OutpostIdentity,
    CertificateKind.INGRESS: IngressIdentity,
    CertificateKind.SERVER: ServerIdentity,
}


class LintError(IssuanceError):
    """A certificate that was about to be signed breaks its profile."""

    code = "issuance.lint"

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__(
            "The certificate was not signed: " + "; ".join(faults) + ".",
            field="certificate",
            next_step="Nothing was issued. Correct the request or the issuing CA.",
        )
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the certificate was meant to say.

    Args:
        kind: which profile binds.
        trust_domain: of the hierarchy.
        now: moment of issuance, Unix seconds.
        identity: of a leaf; None for a CA.
        issuer: certificate of the issuer; None for a root.
    """

    kind: CertificateKind
    trust_domain: str
    now: int = 0
    identity: Identity | None = None
    issuer: x509.Certificate | None = None

    @property
    def profile(self) -> CertificateProfile:
        """The profile that binds."""
        return PROFILES[self.kind]


Rule = Callable[[x509.Certificate, Expectation], str | None]


def lint(certificate: x509.Certificate, expectation: Expectation) -> None:
    """Hold a certificate against its profile.

    Raises:
        LintError: it breaks one rule or more; ``faults`` lists them.
    """
    found = faults(certificate, expectation, RULES)
    if found:
        raise LintError(found)


def faults(certificate: x509.Certificate, expectation: Expectation, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """What the given rules find, in their order; empty when nothing is wrong."""
    return tuple(fault for rule in rules if (fault := rule(certificate, expectation)) is not None)


def version_is_3(certificate: x509.Certificate, _: Expectation) -> str | None:
    """Extensions exist in version 3 only."""
    return None if certificate.version is x509.Version.v3 else "the version is not 3"


def serial_is_unpredictable(certificate: x509.Certificate, _: Expectation) -> str | None:
    """Serials come from chance and fit in 20 octets."""
    bits = certificate.serial_number.bit_length()
    if certificate.serial_number > 0 and MIN_SERIAL_BITS <= bits <= SERIAL_BITS:
        return None
    return f"the serial number has not {MIN_SERIAL_BITS} to {SERIAL_BITS} bits"


def signature_is_ecdsa_sha256(certificate: x509.Certificate, _: Expectation) -> str | None:
    """One signature algorithm exists."""
    exact = certificate.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256
    return None if exact else "the signature algorithm is not ecdsa-with-SHA256"


def key_is_p256(certificate: x509.Certificate, _: Expectation) -> str | None:
    """TLS keys are P-256."""
    try:
        keys.require_tls_key(certificate.public_key())
    except keys.KeyAlgorithmError:
        return "the key is not P-256"
    return None


def key_is_not_the_issuers(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """No subject shares a key with its issuer."""
    if expectation.issuer is None or certificate.public_key() != expectation.issuer.public_key():
        return None
    return "the key is the issuer's own"


def life_is_bounded(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """It starts when the profile says and ends in time."""
    profile = expectation.profile
    not_before, not_after = _life(certificate)
    if not_before != expectation.now - profile.backdate_seconds:
        return f"notBefore is not {profile.backdate_seconds} s before now"
    if not 0 < not_after - expectation.now <= profile.max_lifetime_seconds:
        return f"notAfter is not within {profile.max_lifetime_seconds} s from now"
    return None


def life_is_not_too_long(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """No kind lives longer than its profile says, whenever it was issued."""
    profile = expectation.profile
    not_before, not_after = _life(certificate)
    longest = profile.backdate_seconds + profile.max_lifetime_seconds
    return None if not_after - not_before <= longest else f"it lives for more than {longest} s"


def life_is_within_the_issuers(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """Nothing outlives, or is older than, its issuer."""
    if expectation.issuer is None:
        return None
    not_before, not_after = _life(certificate)
    issuer_not_before, issuer_not_after = _life(expectation.issuer)
    if issuer_not_before <= not_before and not_after <= issuer_not_after:
        return None
    return "the life is not within the issuer's"


def subject_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """A CA is named after its purpose and key; a leaf has no name, because its SAN is its identity."""
    try:
        wanted = subject_of(expectation.kind, keys.require_tls_key(certificate.public_key()))
    except keys.KeyAlgorithmError:
        return "a subject for another kind of key"
    return None if certificate.subject == wanted else "the subject is not the profile's"


def issuer_name_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """It names who signs it."""
    name = certificate.subject if expectation.issuer is None else expectation.issuer.subject
    return None if certificate.issuer == name else "the issuer's name is not the subject of the issuer"


def issuer_is_of_the_right_kind(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """A CA for servers signs no outpost, a root signs no leaf, and nobody signs for another trust domain."""
    profile, issuer = expectation.profile, expectation.issuer
    if (issuer is None) != profile.is_root:
        return "only a root is its own issuer"
    if issuer is None:
        return None
    wanted = PROFILES[profile.issuer]
    if not _is_of_kind(issuer, wanted.kind, expectation.trust_domain):
        return f"the issuer is no {wanted.kind} of this trust domain"
    return None


def extensions_are_known(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """Exactly the extensions of the profile."""
    exact = {extension.oid for extension in certificate.extensions} == expectation.profile.extension_oids
    return None if exact else "the set of extensions is not the profile's"


def critical_extensions_are_the_profiles(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """None but those of the profile: OpenSSL knows, and then ignores, critical rules about policies."""
    critical = {extension.oid for extension in certificate.extensions if extension.critical}
    return None if critical <= expectation.profile.extension_oids else "a critical extension beyond the profile's"


def basic_constraints_fit(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """CA or not, with the exact path length, critical."""
    profile = expectation.profile
    exact = _is(certificate, x509.BasicConstraints(profile.is_ca, profile.path_length), critical=True)
    return None if exact else "basicConstraints are not the profile's"


def key_usage_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """Exactly the key usage of the profile, critical."""
    return None if _is(certificate, expectation.profile.key_usage, critical=True) else "keyUsage is not the profile's"


def extended_key_usage_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """Exactly the one purpose of the profile."""
    purpose = expectation.profile.extended_key_usage
    if purpose is None:
        return None if _extension(certificate, x509.ExtendedKeyUsage) is None else "a root with extendedKeyUsage"
    exact = _is(certificate, x509.ExtendedKeyUsage([purpose]), critical=False)
    return None if exact else "extendedKeyUsage is not the profile's"


def name_constraints_fit(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """An issuing CA is bound to URIs of the trust domain, critical."""
    if not expectation.profile.is_issuing_ca:
        return None if _extension(certificate, x509.NameConstraints) is None else "unexpected nameConstraints"
    exact = _is(certificate, name_constraints_of(expectation.trust_domain), critical=True)
    return None if exact else "nameConstraints do not permit exactly the trust domain"


def subject_key_identifier_fits(certificate: x509.Certificate, _: Expectation) -> str | None:
    """It names its own key."""
    wanted = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return None if _is(certificate, wanted, critical=False) else "subjectKeyIdentifier is not the key's"


def authority_key_identifier_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """It names the key that signs it."""
    identifier = _extension(expectation.issuer or certificate, x509.SubjectKeyIdentifier)
    if identifier is None:
        return "the issuer has no subjectKeyIdentifier"
    wanted = x509.AuthorityKeyIdentifier(identifier.value.digest, None, None)
    return None if _is(certificate, wanted, critical=False) else "authorityKeyIdentifier is not the issuer's"


def subject_alternative_name_fits(certificate: x509.Certificate, expectation: Expectation) -> str | None:
    """A leaf names exactly its SPIFFE ID; only a server has DNS names and addresses beside it."""
    extension = _extension(certificate, x509.SubjectAlternativeName)
    if expectation.profile.is_ca:
        return None if extension is None else "a CA with subjectAltName"
    if extension is None or expectation.identity is None:
        return "a leaf without an identity"
    if not extension.critical:
        return "subjectAltName is not critical although the subject is empty"
    names = list(extension.value)
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if uris != [expectation.identity.uri]:
        return "subjectAltName has not exactly the one expected URI"
    others = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    if expectation.kind is not CertificateKind.SERVER:
        return "a client with other names than its URI" if others else None
    if not 0 < len(others) <= MAX_DNS_NAMES or not all(isinstance(n, x509.DNSName | x509.IPAddress) for n in others):
        return f"a server with not 1 to {MAX_DNS_NAMES} DNS names and addresses"
    return None


def identity_fits(_: x509.Certificate, expectation: Expectation) -> str | None:
    """The identity is of the kind of the certificate and of its trust domain."""
    identity = expectation.identity
    wanted = _IDENTITIES.get(expectation.kind)
    if wanted is None:
        return None if identity is None else "a CA with an identity"
    if identity is None or not isinstance(identity, wanted):
        return f"the identity is not one of kind {expectation.kind}"
    return None if identity.trust_domain == expectation.trust_domain else "the identity is of another trust domain"


def size_is_bounded(certificate: x509.Certificate, _: Expectation) -> str | None:
    """Readers refuse larger ones."""
    if len(keys.certificate_der(certificate)) <= keys.MAX_CERTIFICATE_BYTES:
        return None
    return f"it has more than {keys.MAX_CERTIFICATE_BYTES} bytes"


RULES: Final[tuple[Rule, ...]] = (
    version_is_3,
    serial_is_unpredictable,
    signature_is_ecdsa_sha256,
    key_is_p256,
    key_is_not_the_issuers,
    life_is_bounded,
    life_is_not_too_long,
    life_is_within_the_issuers,
    subject_fits,
    issuer_name_fits,
    issuer_is_of_the_right_kind,
    extensions_are_known,
    critical_extensions_are_the_profiles,
    basic_constraints_fit,
    key_usage_fits,
    extended_key_usage_fits,
    name_constraints_fit,
    subject_key_identifier_fits,
    authority_key_identifier_fits,
    subject_alternative_name_fits,
    identity_fits,
    size_is_bounded,
)


# What a certificate of one kind looks like, whoever signed it. A later version may add extensions that are not
# critical, and name CAs in another way: neither is held against a peer.
SHAPE_RULES: Final[tuple[Rule, ...]] = (
    version_is_3,
    serial_is_unpredictable,
    signature_is_ecdsa_sha256,
    key_is_p256,
    life_is_not_too_long,
    critical_extensions_are_the_profiles,
    basic_constraints_fit,
    key_usage_fits,
    extended_key_usage_fits,
    name_constraints_fit,
    subject_key_identifier_fits,
)
# Rules that a reader holds against a certificate of a path, where the issuer is known, but not how it was meant.
PEER_RULES: Final[tuple[Rule, ...]] = (*SHAPE_RULES, key_is_not_the_issuers, authority_key_identifier_fits)


@lru_cache(maxsize=_KNOWN_ISSUERS)
def _is_of_kind(issuer: x509.Certificate, kind: CertificateKind, trust_domain: str) -> bool:
    """Whether an issuer has the shape of its kind: the same few issuers are asked about for every leaf."""
    return not faults(issuer, Expectation(kind, trust_domain), SHAPE_RULES)


def _life(certificate: x509.Certificate) -> tuple[int, int]:
    return (
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    # By OID first: isinstance of an abstract class is slow, and asked for a hundred times for each certificate.
    for each in certificate.extensions:
        if each.oid == kind.oid and isinstance(each.value, kind):
            found: x509.Extension[_Extension] = each
            return found
    return None


def _is(certificate: x509.Certificate, value: x509.ExtensionType, *, critical: bool) -> bool:
    extension = _extension(certificate, type(value))
    return extension is not None and extension.value == value and extension.critical is critical
