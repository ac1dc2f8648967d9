"""Judge a peer's certificate chain: path validation, then our own rules, then an identity.

A handshake proves less than it seems: a bare OpenSSL store accepted 49 of 120 invalid public chains, and
``cryptography``'s verifier refuses URI name constraints outright. So OpenSSL finds and checks the path
(signatures, times, basicConstraints, path length, name constraints, unknown critical extensions), and every
rule of our profiles is checked again here on each certificate of that path. This is the only module that may
turn a chain into an identity.

All chains are untrusted. Every input is bounded before it is parsed. Times are Unix seconds.

Source: RFC 5280 §6; X.509-SVID standard, section 5.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from OpenSSL import crypto

from certs import keys, lint, spiffe
from certs.errors import ChainError, IdentityError, KeyMaterialError
from certs.profiles import PROFILES, CertificateKind

MAX_CHAIN_CERTIFICATES = 5  # leaf, issuing CA, root, and the cross-certificates of the last two rotations
PATH_CERTIFICATES = 3  # leaf, issuing CA, root: no other depth is ever issued
MAX_TRUST_ANCHORS = 8  # old and new roots during a rotation, with room
MAX_ISSUING_CAS = 8  # that a peer need not send: those for outposts and for servers, of two generations, with room


class ChainFormatError(ChainError):
    """The chain is empty, too long, or a certificate of it cannot be read."""

    code = "chain.malformed"


class ChainUntrustedError(ChainError):
    """No path leads to a root that we trust."""

    code = "chain.untrusted"


class ChainExpiredError(ChainError):
    """A certificate of the path has expired."""

    code = "chain.expired"


class ChainNotYetValidError(ChainError):
    """A certificate of the path is not valid yet."""

    code = "chain.not_yet_valid"


class ChainDepthError(ChainError):
    """The path is longer or shorter than leaf, issuing CA, root."""

    code = "chain.depth"


class ChainProfileError(ChainError):
    """A certificate of the path is not of the kind that its place asks for."""

    code = "chain.profile"


class ChainNameError(ChainError):
    """The leaf's names are not exactly one permitted identity."""

    code = "chain.name"


class ChainRevokedError(ChainError):
    """A certificate of the path has been revoked."""

    code = "chain.revoked"


class PinError(ChainError):
    """No root of the chain has the pinned key."""

    code = "chain.pin"


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """Whom to believe.

    Args:
        trust_domain: the only one whose identities are accepted.
        roots: root CAs, 1 to 8.
        intermediates: issuing CAs that a peer need not send, at most 8. They are not believed: they help to find a
            path, and every rule is held against them as if the peer had sent them.
        issuing_keys: key ids of the issuing CAs below which a leaf counts; a path over another one is refused, whoever
            sent it. None where any issuing CA below a believed root counts: whoever judges a server knows roots only.
    """

    trust_domain: str
    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()
    issuing_keys: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """A peer whose chain proved who it is.

    Args:
        spiffe_id: its identity; an outpost's says its org.
        serial: serial number of the leaf.
        not_before: Unix seconds.
        not_after: Unix seconds; a stream must not outlive it.
        spki_sha256: key id of the leaf, 64 hex digits.
        leaf_der: the exact leaf.
    """

    spiffe_id: spiffe.Identity
    serial: int
    not_before: int
    not_after: int
    spki_sha256: str
    leaf_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifiedOutpost(VerifiedPeer):
    """A peer that is an outpost."""

    spiffe_id: spiffe.OutpostIdentity


@dataclass(frozen=True, slots=True)
class VerifiedIngress(VerifiedPeer):
    """A peer that is an ingress: what it says of an outpost's certificate counts."""

    spiffe_id: spiffe.IngressIdentity


@dataclass(frozen=True, slots=True)
class VerifiedServer(VerifiedPeer):
    """A peer that is a server of the control plane."""

    spiffe_id: spiffe.ServerIdentity


def verify_outpost_chain(
    chain: Sequence[bytes], anchors: TrustAnchors, now: int, revoked: Container[int] = frozenset()
) -> VerifiedOutpost:
    """Find out which outpost presented a chain.

    Args:
        chain: untrusted DER, leaf first; certificates beyond the path are ignored.
        anchors: whom to believe.
        now: Unix seconds.
        revoked: serial numbers of leaves and issuing CAs that are refused.

    Raises:
        ChainError: a leaf class with a code of its own for each cause.
    """
    leaf, identity = _judge(chain, anchors, now, revoked, CertificateKind.OUTPOST)
    if not isinstance(identity, spiffe.OutpostIdentity):
        raise ChainNameError("The certificate names no outpost.", field="leaf.subjectAltName")
    return VerifiedOutpost(identity, *_facts(leaf))


def verify_ingress_chain(
    chain: Sequence[bytes], anchors: TrustAnchors, now: int, revoked: Container[int] = frozenset()
) -> VerifiedIngress:
    """Find out which ingress presented a chain.

    Args:
        chain: untrusted DER, leaf first; certificates beyond the path are ignored.
        anchors: whom to believe.
        now: Unix seconds.
        revoked: serial numbers of leaves and issuing CAs that are refused.

    Raises:
        ChainError: a leaf class with a code of its own for each cause.
    """
    leaf, identity = _judge(chain, anchors, now, revoked, CertificateKind.INGRESS)
    if not isinstance(identity, spiffe.IngressIdentity):
        raise ChainNameError("The certificate names no ingress.", field="leaf.subjectAltName")
    return VerifiedIngress(identity, *_facts(leaf))


def verify_server_chain(
    chain: Sequence[bytes], anchors: TrustAnchors, now: int, revoked: Container[int] = frozenset()
) -> VerifiedServer:
    """Find out whether a chain belongs to a server of the control plane; the host name is the TLS library's to check.

    Args:
        chain: untrusted DER, leaf first; certificates beyond the path are ignored.
        anchors: whom to believe.
        now: Unix seconds.
        revoked: serial numbers of leaves and issuing CAs that are refused.

    Raises:
        ChainError: a leaf class with a code of its own for each cause.
    """
    leaf, identity = _judge(chain, anchors, now, revoked, CertificateKind.SERVER)
    if not isinstance(identity, spiffe.ServerIdentity):
        raise ChainNameError("The certificate names no server.", field="leaf.subjectAltName")
    return VerifiedServer(identity, *_facts(leaf))


def root_by_pin(chain: Sequence[bytes], pin: str) -> x509.Certificate:
    """Find the root CA that a join token pins in a chain that a server sent.

    The result may be trusted as far as the join token is; the chain still has to be verified against it.

    Args:
        chain: untrusted DER, in any order.
        pin: key id, 64 lower-case hex digits.

    Raises:
        PinError: no certificate has that key, or it is no root CA signed by itself.
        ChainFormatError: the chain is out of bounds or unreadable.
    """
    for certificate in parse_chain(chain):
        key = certificate.public_key()
        if isinstance(key, keys.PublicKey) and keys.key_id(key) == pin:
            try:
                require_root(certificate)
            except ChainUntrustedError as error:
                raise PinError(error.message, field="pin") from None
            return certificate
    raise PinError(
        "The server's chain holds no root CA with the pin of the join token.",
        field="pin",
        next_step="Check the endpoint; if it is right, something stands between you and the control plane.",
    )


def require_root(certificate: x509.Certificate) -> None:
    """Hold a certificate against the profile of a root; that it is believed is another matter.

    Raises:
        ChainProfileError: it is no root CA.
        ChainUntrustedError: it is not signed by itself.
    """
    _require_profile(certificate, CertificateKind.ROOT_CA, "root", "", None)
    require_signature(certificate, certificate, "root")


def require_signature(certificate: x509.Certificate, issuer: x509.Certificate, place: str) -> None:
    """Check that one certificate names another as its issuer and carries a signature of its key.

    Raises:
        ChainUntrustedError: it does not.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise ChainUntrustedError(
            f"The certificate is not signed by its issuer ({type(error).__name__}).", field=place
        ) from None


def _judge(
    chain: Sequence[bytes], anchors: TrustAnchors, now: int, revoked: Container[int], kind: CertificateKind
) -> tuple[x509.Certificate, spiffe.Identity]:
    """Validate the path, hold each certificate of it against the profile of its place, and read the leaf's identity."""
    path = _path(parse_chain(chain), anchors, now)
    if len(path) != PATH_CERTIFICATES:
        raise ChainDepthError("The path is not leaf, issuing CA, root.", field="chain")
    kinds = (kind, PROFILES[kind].issuer, CertificateKind.ROOT_CA)
    issuers = (*path[1:], None)
    for certificate, wanted, place, issuer in zip(path, kinds, _PLACES, issuers, strict=True):
        _require_profile(certificate, wanted, place, anchors.trust_domain, issuer)
    for place, certificate in zip(_PLACES, path, strict=True):
        if certificate.serial_number in revoked:
            raise ChainRevokedError("The certificate has been revoked.", field=place)
    if anchors.issuing_keys is not None and _issuing_key(path) not in anchors.issuing_keys:
        raise ChainRevokedError("The issuing CA is believed no longer.", field="issuing_ca")
    return path[0], _identity(path[0], anchors.trust_domain, hosts_allowed=kind is CertificateKind.SERVER)


def _issuing_key(path: Sequence[x509.Certificate]) -> str:
    return keys.key_id(keys.require_tls_key(path[1].public_key()))


def parse_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    """Read an untrusted chain within its bounds; nothing is verified.

    Raises:
        ChainFormatError: empty, too long, or a certificate of it cannot be read.
    """
    if not 0 < len(chain) <= MAX_CHAIN_CERTIFICATES:
        raise ChainFormatError(f"A chain has 1 to {MAX_CHAIN_CERTIFICATES} certificates.", field="chain")
    try:
        return [keys.certificate_from_der(der, field="chain") for der in chain]
    except KeyMaterialError as error:
        raise ChainFormatError(error.message, field="chain") from None


def _path(certificates: list[x509.Certificate], anchors: TrustAnchors, now: int) -> list[x509.Certificate]:
    """Path from leaf to root as OpenSSL found and validated it."""
    if not 0 < len(anchors.roots) <= MAX_TRUST_ANCHORS:
        raise ChainUntrustedError(f"1 to {MAX_TRUST_ANCHORS} roots are needed.", field="trust_bundle")
    if len(anchors.intermediates) > MAX_ISSUING_CAS:
        raise ChainUntrustedError(f"At most {MAX_ISSUING_CAS} issuing CAs may be known.", field="issuers")
    leaf, *untrusted = certificates
    try:
        store = crypto.X509Store()
        # The order matters: set_time replaces the parameters, flags included.
        store.set_time(datetime.fromtimestamp(now, UTC))
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        for root in anchors.roots:
            store.add_cert(_known(root))
        helpers = [*map(crypto.X509.from_cryptography, untrusted), *map(_known, anchors.intermediates)]
        context = crypto.X509StoreContext(store, crypto.X509.from_cryptography(leaf), helpers)
        return [each.to_cryptography() for each in context.get_verified_chain()]
    except crypto.X509StoreContextError as error:
        raise _refusal(error) from None
    except (*keys.PARSER_FAULTS, crypto.Error, OverflowError, OSError) as error:
        raise ChainFormatError(f"The chain cannot be judged ({type(error).__name__}).", field="chain") from None


# Error numbers of OpenSSL's x509_vfy.h; any other is a plain ChainError.
_CAUSES: Final[dict[int, type[ChainError]]] = {
    9: ChainNotYetValidError,
    10: ChainExpiredError,
    # no issuer, signature failure, self-signed, untrusted, rejected, issuer's name or key identifier does not fit
    **dict.fromkeys((2, 4, 6, 7, 18, 19, 20, 21, 27, 28, 29, 30, 31), ChainUntrustedError),
    **dict.fromkeys((22, 25), ChainDepthError),  # too long, path length exceeded
    **dict.fromkeys((47, 48, 53), ChainNameError),  # outside the permitted names, or of no readable form
    # purpose, key usage, extensions, constraints, weak keys and digests, and what X509_STRICT finds
    **dict.fromkeys((24, 26, 32, 34, 37, 39, 41, 49, 51, 52, 66, 67, 68), ChainProfileError),
    **dict.fromkeys((*range(76, 95), 102, 103), ChainProfileError),
}
_NEXT_STEPS: Final[dict[type[ChainError], str]] = {
    ChainExpiredError: "Recover the outpost, or check the clocks.",
    ChainNotYetValidError: "Check the clocks of both machines.",
    ChainUntrustedError: "Enroll again: the peer belongs to another control plane.",
}
_PLACES: Final = ("leaf", "issuing_ca", "root")


# The same few CAs stand above every leaf, so what was made or found of one is kept. A peer's own certificates get here
# only behind a path to a believed root.
_known = lru_cache(maxsize=MAX_ISSUING_CAS + MAX_TRUST_ANCHORS)(crypto.X509.from_cryptography)
_ca_faults = lru_cache(maxsize=MAX_ISSUING_CAS + MAX_TRUST_ANCHORS)(lint.faults)


def _refusal(error: crypto.X509StoreContextError) -> ChainError:
    """Our own error for OpenSSL's."""
    number, depth, reason = error.errors
    kind = _CAUSES.get(number, ChainError)
    place = _PLACES[depth] if 0 <= depth < len(_PLACES) else "chain"
    return kind(f"The certificate chain is refused: {reason}.", field=place, next_step=_NEXT_STEPS.get(kind, ""))


def _require_profile(
    certificate: x509.Certificate, kind: CertificateKind, place: str, trust_domain: str, issuer: x509.Certificate | None
) -> None:
    """Hold one certificate against the profile of its place; a root has no other issuer than itself."""
    judge = _ca_faults if PROFILES[kind].is_ca else lint.faults
    faults = judge(certificate, lint.Expectation(kind, trust_domain, issuer=issuer), lint.PEER_RULES)
    if faults:
        raise ChainProfileError(f"The certificate is no {kind} certificate: {'; '.join(faults)}.", field=place)


def _identity(leaf: x509.Certificate, trust_domain: str, *, hosts_allowed: bool) -> spiffe.Identity:
    """The one URI of a leaf, read strictly."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise ChainNameError("The certificate has no names.", field="leaf.subjectAltName") from None
    if not extension.critical:
        raise ChainNameError("The certificate's names are not critical.", field="leaf.subjectAltName")
    names = list(extension.value)
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    others = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise ChainNameError("The certificate has not exactly one URI.", field="leaf.subjectAltName")
    if not all(hosts_allowed and isinstance(name, x509.DNSName | x509.IPAddress) for name in others):
        raise ChainNameError("The certificate has names beside its URI.", field="leaf.subjectAltName")
    try:
        identity = spiffe.parse(uris[0])
    except IdentityError as error:
        raise ChainNameError(error.message, field="leaf.subjectAltName") from None
    if identity.trust_domain != trust_domain:
        raise ChainNameError("The certificate is of another trust domain.", field="leaf.subjectAltName")
    return identity


def _facts(leaf: x509.Certificate) -> tuple[int, int, int, str, bytes]:
    return (
        leaf.serial_number,
        int(leaf.not_valid_before_utc.timestamp()),
        int(leaf.not_valid_after_utc.timestamp()),
        keys.key_id(keys.require_tls_key(leaf.public_key())),
        keys.certificate_der(leaf),
    )
