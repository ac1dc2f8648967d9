"""Issue a certificate: prepare and lint, record the intent, sign once.

The order of every issuance, none of it optional:

1. ``prepare`` builds the exact to-be-signed bytes, lints them as their reader will see them and answers with
a token; 2. the caller makes ``token.intent`` durable: whatever was signed later, a trace of it exists; 3.
``sign`` redeems the token, once, and signs those very bytes; 4. the caller stores the certificate, then
answers.

Theory: the bytes are built once, by signing a draft with a key that everybody may know and nobody believes, and
cut out of that draft. What was linted and what is signed are therefore the same bytes, not two results of one
recipe. (Boulder compares two certificates instead.) The draft is never handed out.

Source: letsencrypt/boulder docs/ISSUANCE-CYCLE.md; RFC 5280 §4.1.
"""

import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Never

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.errors import IssuanceError
from certs.lint import Expectation, lint
from certs.profiles import PROFILES, CertificateKind, name_constraints_of, subject_of
from certs.signer import DRAFT_KEY, Signer, sign_structure
from certs.spiffe import Identity

MAX_HOST_CHARACTERS = 253  # RFC 1035 §2.3.4

_DNS_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_SEAL: Final = object()


class TokenSpentError(IssuanceError):
    """An issuance token was redeemed a second time, or forged."""

    code = "issuance.token_spent"


class TemplateError(IssuanceError):
    """A template cannot be turned into a certificate."""

    code = "issuance.template"


class WrongSignerError(IssuanceError):
    """The signer does not hold the key of the issuer for which the certificate was prepared."""

    code = "issuance.wrong_signer"


@dataclass(frozen=True, slots=True)
class CertificateTemplate:
    """What to put into a certificate; everything else comes from its profile.

    Args:
        kind: which profile.
        trust_domain: of the hierarchy.
        public_key: P-256 key of the subject; for a cross-certificate that of the new root.
        serial: 159 random bits as a number; the lint refuses fewer than 64.
        now: Unix seconds.
        identity: of a leaf; None for a CA.
        hosts: DNS names and IP addresses of a server leaf; empty for all others.
        lifetime_seconds: life from now on; None for the profile's default.
    """

    kind: CertificateKind
    trust_domain: str
    public_key: ec.EllipticCurvePublicKey
    serial: int
    now: int
    identity: Identity | None = None
    hosts: tuple[str, ...] = ()
    lifetime_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class IssuanceIntent:
    """What is about to be signed, to be made durable before it is.

    Args:
        kind: which profile.
        serial: serial number.
        spiffe_id: of the subject; empty for a CA.
        spki_sha256: key id of the subject.
        issuer_spki_sha256: key id of the issuer.
        not_before: Unix seconds.
        not_after: Unix seconds.
        tbs_sha256: digest of the exact to-be-signed bytes, 64 hex digits.
    """

    kind: CertificateKind
    serial: int
    spiffe_id: str
    spki_sha256: str
    issuer_spki_sha256: str
    not_before: int
    not_after: int
    tbs_sha256: str


class IssuanceToken:
    """Proof that one to-be-signed certificate was linted, good for one signature.

    Only ``prepare`` makes one, and it cannot be copied.
    """

    __slots__ = ("_tbs", "intent")

    def __init__(self, intent: IssuanceIntent, tbs: bytes, seal: object) -> None:
        if seal is not _SEAL:
            raise TokenSpentError("An issuance token comes from prepare only.", field="token")
        self.intent = intent
        self._tbs = [tbs]

    def redeem(self) -> bytes:
        """Hand out the bytes to be signed, once.

        Raises:
            TokenSpentError: not for the first time.
        """
        # list.pop is one step for the interpreter: of two threads, one gets the bytes.
        try:
            return self._tbs.pop()
        except IndexError:
            raise TokenSpentError(
                "The issuance token was already redeemed.", field="token", next_step="Prepare the certificate again."
            ) from None

    def __reduce_ex__(self, _: object) -> Never:
        raise TokenSpentError("An issuance token cannot be copied.", field="token")


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate as issued, with the intent under which it was."""

    der: bytes
    intent: IssuanceIntent
    certificate: x509.Certificate = field(repr=False)


def prepare(template: CertificateTemplate, issuer: x509.Certificate | None) -> IssuanceToken:
    """Build and lint the exact bytes of a certificate.

    Args:
        template: what to issue.
        issuer: certificate of the issuing CA; None for a root, which is its own.

    Returns:
        A token for one signature; record its ``intent`` durably before ``sign``.

    Raises:
        TemplateError: a time, serial or name that X.509 cannot hold.
        LintError: the certificate would break its profile.
        KeyAlgorithmError: the key is not P-256.
    """
    keys.require_tls_key(template.public_key)
    draft = _draft(template, issuer)
    expectation = Expectation(template.kind, template.trust_domain, template.now, template.identity, issuer)
    lint(draft, expectation)
    tbs = draft.tbs_certificate_bytes
    intent = IssuanceIntent(
        kind=template.kind,
        serial=draft.serial_number,
        spiffe_id="" if template.identity is None else template.identity.uri,
        spki_sha256=keys.key_id(template.public_key),
        issuer_spki_sha256=_issuer_key_id(template, issuer),
        not_before=int(draft.not_valid_before_utc.timestamp()),
        not_after=int(draft.not_valid_after_utc.timestamp()),
        tbs_sha256=hashlib.sha256(tbs).hexdigest(),
    )
    return IssuanceToken(intent, tbs, _SEAL)


def sign(token: IssuanceToken, signer: Signer) -> SignedCertificate:
    """Redeem a token for the signed certificate. The token is spent even when signing fails.

    Raises:
        TokenSpentError: redeemed before.
        WrongSignerError: the signer is not the issuer that the token names.
        SignatureMismatchError: the signer's answer does not confirm.
        KeyStoreError: the signer's key cannot be used now.
    """
    tbs = token.redeem()
    if keys.key_id(signer.public_key()) != token.intent.issuer_spki_sha256:
        raise WrongSignerError(
            "The signer does not hold the key of the issuer for which the certificate was prepared.",
            field="signer",
            next_step="Pass the signer of the CA whose certificate was given to prepare.",
        )
    der = sign_structure(tbs, signer)
    certificate = keys.certificate_from_der(der)
    if hashlib.sha256(certificate.tbs_certificate_bytes).hexdigest() != token.intent.tbs_sha256:
        raise IssuanceError("The signed certificate is not the one that was linted.", field="certificate")
    return SignedCertificate(der, token.intent, certificate)


def _draft(template: CertificateTemplate, issuer: x509.Certificate | None) -> x509.Certificate:
    """The certificate, but for its signature."""
    profile = PROFILES[template.kind]
    lifetime = profile.lifetime_seconds if template.lifetime_seconds is None else template.lifetime_seconds
    subject = subject_of(template.kind, template.public_key)
    try:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.subject)
            .public_key(template.public_key)
            .serial_number(template.serial)
            .not_valid_before(datetime.fromtimestamp(template.now - profile.backdate_seconds, UTC))
            .not_valid_after(datetime.fromtimestamp(template.now + lifetime, UTC))
        )
        for extension, critical in _extensions(template, issuer):
            builder = builder.add_extension(extension, critical)
        return builder.sign(DRAFT_KEY, hashes.SHA256())
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise TemplateError(
            f"A certificate of kind {template.kind} cannot hold these values ({type(error).__name__}).",
            field="template",
        ) from error


def _extensions(
    template: CertificateTemplate, issuer: x509.Certificate | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """The profile's extensions with their criticality."""
    profile = PROFILES[template.kind]
    own = x509.SubjectKeyIdentifier.from_public_key(template.public_key)
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(profile.is_ca, profile.path_length), True),
        (profile.key_usage, True),
        (own, False),
        (x509.AuthorityKeyIdentifier(own.digest if issuer is None else _identifier(issuer), None, None), False),
    ]
    if profile.extended_key_usage is not None:
        found.append((x509.ExtendedKeyUsage([profile.extended_key_usage]), False))
    if profile.is_issuing_ca:
        found.append((name_constraints_of(template.trust_domain), True))
    if template.identity is not None or template.hosts:
        found.append((_alternative_names(template), True))
    return found


def _identifier(issuer: x509.Certificate) -> bytes:
    try:
        return issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        raise TemplateError("The issuer's certificate has no subjectKeyIdentifier.", field="issuer") from None


def _alternative_names(template: CertificateTemplate) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    if template.identity is not None:
        names.append(x509.UniformResourceIdentifier(template.identity.uri))
    names.extend(_host_name(host) for host in template.hosts)
    return x509.SubjectAlternativeName(names)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass  # not an address: it must be a DNS name
    if len(host) > MAX_HOST_CHARACTERS or not _DNS_NAME.fullmatch(host):
        raise TemplateError(
            "A host is a lower-case DNS name without wildcard, or an IP address.",
            field="hosts",
            next_step="Name each host that clients will call.",
        )
    return x509.DNSName(host)


def _issuer_key_id(template: CertificateTemplate, issuer: x509.Certificate | None) -> str:
    if issuer is None:
        return keys.key_id(template.public_key)
    return keys.key_id(keys.require_tls_key(issuer.public_key(), field="issuer"))
