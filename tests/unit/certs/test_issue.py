"""Issuance: lint first, sign once, and exactly what was linted."""

import copy
import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certs import issue, keys, lint
from certs.errors import ChainError, TrustError
from certs.issue import CertificateTemplate, IssuanceToken, prepare, sign
from certs.profiles import DAY, HOUR, PROFILES, YEAR, CertificateKind, name_constraints_of
from certs.shell.dev import Hierarchy
from certs.shell.signers import generate_signing_key, generate_tls_key, random_serial
from certs.signer import KeySigner, SignatureMismatchError, sign_structure
from certs.spiffe import IngressIdentity, OutpostIdentity, ServerIdentity
from certs.verify import verify_outpost_chain
from tests.unit.certs.forge import NOW, ORG, OTHER_DOMAIN, OUTPOST, other_curve, outpost_parts, uri

KEY = generate_tls_key().public_key()


def template(**changes: object) -> CertificateTemplate:
    identity = OutpostIdentity("outpost.internal", ORG, OUTPOST)
    base = CertificateTemplate(CertificateKind.OUTPOST, "outpost.internal", KEY, random_serial(), NOW, identity)
    return replace(base, **changes)


def server_template(**changes: object) -> CertificateTemplate:
    identity = ServerIdentity("outpost.internal")
    return template(**{"kind": CertificateKind.SERVER, "identity": identity, "hosts": ("localhost",)} | changes)


def ingress_template(**changes: object) -> CertificateTemplate:
    identity = IngressIdentity("outpost.internal", "edge-1")
    return template(**{"kind": CertificateKind.INGRESS, "identity": identity} | changes)


def cross_template(**changes: object) -> CertificateTemplate:
    return template(**{"kind": CertificateKind.ROOT_CROSS, "identity": None} | changes)


def test_the_intent_describes_what_is_signed(hierarchy: Hierarchy) -> None:
    wanted = template()
    token = prepare(wanted, hierarchy.outposts.certificate)
    intent = token.intent
    signed = sign(token, hierarchy.outposts.signer)
    assert signed.intent == intent
    assert signed.certificate.serial_number == intent.serial == wanted.serial
    assert intent.spiffe_id == f"spiffe://outpost.internal/org/{ORG}/outpost/{OUTPOST}"
    assert intent.spki_sha256 == keys.key_id(KEY)
    assert intent.issuer_spki_sha256 == keys.key_id(hierarchy.outposts.signer.public_key())
    assert (intent.not_before, intent.not_after) == (NOW - 300, NOW + DAY)
    assert intent.tbs_sha256 == hashlib.sha256(signed.certificate.tbs_certificate_bytes).hexdigest()
    signed.certificate.verify_directly_issued_by(hierarchy.outposts.certificate)
    assert keys.certificate_der(signed.certificate) == signed.der


def test_a_token_signs_once(hierarchy: Hierarchy) -> None:
    token = prepare(template(), hierarchy.outposts.certificate)
    sign(token, hierarchy.outposts.signer)
    with pytest.raises(issue.TokenSpentError):
        sign(token, hierarchy.outposts.signer)


def test_of_many_threads_one_gets_the_signature(hierarchy: Hierarchy) -> None:
    token = prepare(template(), hierarchy.outposts.certificate)

    def attempt(_: int) -> bool:
        try:
            sign(token, hierarchy.outposts.signer)
        except issue.TokenSpentError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(64))) == 1


def test_a_token_is_neither_forged_nor_copied(hierarchy: Hierarchy) -> None:
    token = prepare(template(), hierarchy.outposts.certificate)
    with pytest.raises(issue.TokenSpentError):
        IssuanceToken(token.intent, b"", object())
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(issue.TokenSpentError):
            duplicate(token)


def test_another_signer_is_refused_and_the_token_is_spent(hierarchy: Hierarchy) -> None:
    token = prepare(template(), hierarchy.outposts.certificate)
    with pytest.raises(issue.WrongSignerError):
        sign(token, hierarchy.servers.signer)
    with pytest.raises(issue.TokenSpentError):
        sign(token, hierarchy.outposts.signer)


class LyingSigner:
    """Answers with the signature of another key."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self._public_key = public_key
        self._other = KeySigner(generate_tls_key())

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        return self._other.sign(message)


def test_a_signature_that_does_not_confirm_is_not_issued(hierarchy: Hierarchy) -> None:
    token = prepare(template(), hierarchy.outposts.certificate)
    with pytest.raises(SignatureMismatchError):
        sign(token, LyingSigner(hierarchy.outposts.certificate.public_key()))


def test_lives_and_shapes_of_all_kinds(hierarchy: Hierarchy) -> None:
    assert hierarchy.root.certificate.not_valid_after_utc.timestamp() == NOW + 10 * YEAR
    assert hierarchy.root.certificate.not_valid_before_utc.timestamp() == NOW - HOUR
    leaf = hierarchy.outpost(ORG, OUTPOST, NOW).issued.certificate
    assert [name.value for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value] == [
        f"spiffe://outpost.internal/org/{ORG}/outpost/{OUTPOST}"
    ]
    assert not len(leaf.subject)
    for authority in (hierarchy.outposts, hierarchy.servers):
        constraints = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert constraints.critical
        assert [name.value for name in constraints.value.permitted_subtrees or ()] == ["outpost.internal"]
        assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert {profile.kind for profile in PROFILES.values()} == set(CertificateKind)


def test_a_cross_certificate_is_the_new_root_in_the_old_ones_words(hierarchy: Hierarchy, stranger: Hierarchy) -> None:
    cross, root = stranger.cross(hierarchy, NOW), stranger.root.certificate
    assert (cross.subject, cross.public_key()) == (root.subject, root.public_key())
    assert cross.issuer == hierarchy.root.certificate.subject
    assert {extension.oid for extension in cross.extensions} == {extension.oid for extension in root.extensions}
    assert cross.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 1
    cross.verify_directly_issued_by(hierarchy.root.certificate)


GOOD: dict[str, CertificateTemplate] = {
    "an outpost for the longest life": template(lifetime_seconds=72 * HOUR),
    "an outpost for a minute": template(lifetime_seconds=60),
    "a server by name and addresses": server_template(hosts=("cp.example.org", "10.0.0.1", "2001:db8::1")),
    "an ingress": ingress_template(),
    "an ingress for a minute": ingress_template(lifetime_seconds=60),
    "a new root by the old": cross_template(),
    "a new root by the old for the longest life": cross_template(lifetime_seconds=2 * YEAR),
}
ISSUERS = {CertificateKind.SERVER: "servers", CertificateKind.ROOT_CROSS: "root"}


@pytest.mark.parametrize("case", GOOD)
def test_is_issued(case: str, hierarchy: Hierarchy) -> None:
    issuer = getattr(hierarchy, ISSUERS.get(GOOD[case].kind, "outposts"))
    sign(prepare(GOOD[case], issuer.certificate), issuer.signer)


# sentence: (template, issuer, word of the fault)
BAD: dict[str, tuple[CertificateTemplate, str, str]] = {
    "too long a life": (template(lifetime_seconds=72 * HOUR + 1), "outposts", "notAfter"),
    "no life": (template(lifetime_seconds=0), "outposts", "notAfter"),
    "a life that outlasts the issuer's": (template(now=NOW + 2 * YEAR - HOUR), "outposts", "issuer's"),
    "a life that starts before the issuer's": (template(now=NOW - 2 * HOUR), "outposts", "issuer's"),
    "a short serial": (template(serial=4711), "outposts", "serial"),
    "the issuer's own key": (template(), "outposts", "issuer's own"),
    "an outpost from the server CA": (template(), "servers", "the issuer is no outpost-ca"),
    "a server from the outpost CA": (server_template(), "outposts", "the issuer is no server-ca"),
    "an outpost from the root": (template(), "root", "the issuer is no outpost-ca"),
    "an outpost from nobody": (template(), "", "own issuer"),
    "a root from the root": (template(kind=CertificateKind.ROOT_CA, identity=None), "root", "own issuer"),
    "a CA from an issuing CA": (template(kind=CertificateKind.OUTPOST_CA, identity=None), "outposts", "issuer is no"),
    "an ingress from the server CA": (ingress_template(), "servers", "the issuer is no outpost-ca"),
    "an ingress with hosts": (ingress_template(hosts=("localhost",)), "outposts", "other names"),
    "an ingress for too long": (ingress_template(lifetime_seconds=90 * DAY + 1), "outposts", "notAfter"),
    "an ingress with an outpost's identity": (template(kind=CertificateKind.INGRESS), "outposts", "kind ingress"),
    "an outpost with an ingress's identity": (
        ingress_template(kind=CertificateKind.OUTPOST),
        "outposts",
        "kind outpost",
    ),
    "a server with an ingress's identity": (
        ingress_template(kind=CertificateKind.SERVER, hosts=("localhost",)),
        "servers",
        "kind server",
    ),
    "a new root for too long": (cross_template(lifetime_seconds=2 * YEAR + 1), "root", "notAfter"),
    "a new root that outlasts the old": (cross_template(now=NOW + 9 * YEAR + DAY), "root", "issuer's"),
    "a new root by itself": (cross_template(), "", "own issuer"),
    "a new root by an issuing CA": (cross_template(), "outposts", "the issuer is no root-ca"),
    "a new root with an identity": (template(kind=CertificateKind.ROOT_CROSS), "root", "a CA with an identity"),
    "an outpost from a cross-certificate": (template(), "cross", "the issuer is no outpost-ca"),
    "an outpost without identity": (template(identity=None), "outposts", "identity"),
    "an outpost with hosts": (template(hosts=("localhost",)), "outposts", "other names"),
    "an outpost with a server's identity": (template(identity=ServerIdentity("outpost.internal")), "outposts", "kind"),
    "an outpost of another trust domain": (
        template(identity=OutpostIdentity(OTHER_DOMAIN, ORG, OUTPOST)),
        "outposts",
        "another trust domain",
    ),
    "another trust domain than the CA's": (
        template(trust_domain=OTHER_DOMAIN, identity=OutpostIdentity(OTHER_DOMAIN, ORG, OUTPOST)),
        "outposts",
        "the issuer is no",
    ),
    "a server without hosts": (server_template(hosts=()), "servers", "DNS names"),
    "a server with too many hosts": (server_template(hosts=tuple(f"h{i}" for i in range(17))), "servers", "DNS names"),
    "a CA with an identity": (
        template(kind=CertificateKind.OUTPOST_CA),
        "root",
        "a CA with an identity",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_lint_refuses(case: str, hierarchy: Hierarchy) -> None:
    wanted, issuer, word = BAD[case]
    authority = getattr(hierarchy, issuer).certificate if issuer not in {"", "cross"} else None
    if issuer == "cross":
        authority = sign(prepare(cross_template(), hierarchy.root.certificate), hierarchy.root.signer).certificate
    if case == "the issuer's own key":
        wanted = replace(wanted, public_key=authority.public_key())
    with pytest.raises(lint.LintError) as refusal:
        prepare(wanted, authority)
    assert any(word in fault for fault in refusal.value.faults), refusal.value.faults


UNREPRESENTABLE: dict[str, CertificateTemplate] = {
    "a negative serial": template(serial=-1),
    "a serial of 160 bits": template(serial=1 << 160),
    "a time before 1950": template(now=-(10**10)),
    "a time without end": template(now=10**18),
    "an endless life": template(lifetime_seconds=10**18),
    "a wildcard host": server_template(hosts=("*.example.org",)),
    "a host in upper case": server_template(hosts=("CP.example.org",)),
    "a host with a space": server_template(hosts=("a b",)),
    "a host that is not ASCII": server_template(hosts=("exämple.org",)),
    "an empty host": server_template(hosts=("",)),
}


@pytest.mark.parametrize("case", UNREPRESENTABLE)
def test_a_template_is_refused(case: str, hierarchy: Hierarchy) -> None:
    with pytest.raises(issue.TemplateError):
        prepare(UNREPRESENTABLE[case], hierarchy.outposts.certificate)


@pytest.mark.parametrize("key", [generate_signing_key().public_key(), other_curve()])
def test_other_keys_are_refused(key: object, hierarchy: Hierarchy) -> None:
    with pytest.raises(keys.KeyAlgorithmError):
        prepare(template(public_key=key), hierarchy.outposts.certificate)


def expectation(h: Hierarchy) -> lint.Expectation:
    identity = OutpostIdentity(h.trust_domain, ORG, OUTPOST)
    return lint.Expectation(CertificateKind.OUTPOST, h.trust_domain, NOW, identity, h.outposts.certificate)


def test_a_hand_made_certificate_passes_the_lint(hierarchy: Hierarchy) -> None:
    lint.lint(outpost_parts(hierarchy).build(), expectation(hierarchy))


HAND_MADE = {
    "an unknown extension": (
        lambda p: p.put(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")),
        lint.extensions_are_known,
    ),
    "a subject": (
        lambda p: setattr(p, "subject", x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])),
        lint.subject_fits,
    ),
    "alternative names that are not critical": (
        lambda p: p.put(x509.SubjectAlternativeName([uri("outpost.internal")])),
        lint.subject_alternative_name_fits,
    ),
    "two identities": (
        lambda p: p.names(uri("outpost.internal"), uri("outpost.internal", "evil")),
        lint.subject_alternative_name_fits,
    ),
    "another subjectKeyIdentifier": (
        lambda p: p.put(x509.SubjectKeyIdentifier(bytes(20))),
        lint.subject_key_identifier_fits,
    ),
    "another authorityKeyIdentifier": (
        lambda p: p.put(x509.AuthorityKeyIdentifier(bytes(20), None, None)),
        lint.authority_key_identifier_fits,
    ),
    "basicConstraints that are not critical": (
        lambda p: p.put(x509.BasicConstraints(False, None)),
        lint.basic_constraints_fit,
    ),
    "no keyUsage": (lambda p: p.drop(x509.KeyUsage), lint.key_usage_fits),
    "no extendedKeyUsage": (lambda p: p.drop(x509.ExtendedKeyUsage), lint.extended_key_usage_fits),
    "a signature with SHA-384": (lambda p: setattr(p, "hash", hashes.SHA384()), lint.signature_is_ecdsa_sha256),
    "a key on P-384": (lambda p: setattr(p, "public_key", other_curve()), lint.key_is_p256),
    "another issuer's name": (lambda p: setattr(p, "issuer_name", x509.Name([])), lint.issuer_name_fits),
    "name constraints of a CA": (
        lambda p: p.put(name_constraints_of("outpost.internal"), critical=True),
        lint.name_constraints_fit,
    ),
    "more bytes than readers accept": (
        lambda p: p.put(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(4096))),
        lint.size_is_bounded,
    ),
    "a critical extension of another kind": (
        lambda p: p.put(x509.PolicyConstraints(0, None), critical=True),
        lint.critical_extensions_are_the_profiles,
    ),
    "a life that no leaf has": (
        lambda p: setattr(p, "not_after", NOW + 72 * HOUR + 1),
        lint.life_is_not_too_long,
    ),
    "a notBefore of its own": (lambda p: setattr(p, "not_before", NOW), lint.life_is_bounded),
}


@pytest.mark.parametrize("case", HAND_MADE)
def test_one_rule_finds(case: str, hierarchy: Hierarchy) -> None:
    change, rule = HAND_MADE[case]
    parts = outpost_parts(hierarchy)
    change(parts)
    certificate, wanted = parts.build(), expectation(hierarchy)
    fault = rule(certificate, wanted)
    assert fault is not None
    with pytest.raises(lint.LintError) as refusal:
        lint.lint(certificate, wanted)
    assert fault in refusal.value.faults


def test_a_certificate_of_version_1_is_refused(hierarchy: Hierarchy) -> None:
    """No builder makes one with extensions: the version is cut out of the to-be-signed bytes, then they are signed."""
    tbs = outpost_parts(hierarchy).build().tbs_certificate_bytes
    start = tbs.index(bytes.fromhex("a003020102")) + 5
    der = sign_structure(b"\x30\x82" + (len(tbs) - start).to_bytes(2, "big") + tbs[start:], hierarchy.outposts.signer)
    certificate = keys.certificate_from_der(der)
    assert certificate.version is x509.Version.v1
    assert lint.version_is_3(certificate, expectation(hierarchy)) is not None
    with pytest.raises(ChainError):
        verify_outpost_chain([der, keys.certificate_der(hierarchy.outposts.certificate)], hierarchy.anchors, NOW)


def test_every_rule_is_run_and_passes_a_good_certificate(hierarchy: Hierarchy) -> None:
    own = {value for value in vars(lint).values() if getattr(value, "__module__", "") == lint.__name__}
    written = {each for each in own if getattr(each, "__annotations__", {}).get("return") == str | None}
    assert written == set(lint.RULES)
    assert set(lint.PEER_RULES) < set(lint.RULES)
    assert lint.faults(outpost_parts(hierarchy).build(), expectation(hierarchy), lint.RULES) == ()


def test_errors_have_unique_codes() -> None:
    def walk(kind: type[TrustError]) -> list[type[TrustError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in walk(child))]

    own = [kind for kind in walk(TrustError) if kind.__module__.startswith("certs.")]
    codes = [kind.code for kind in own]
    assert len(codes) == len(set(codes)), sorted(codes)
    assert TrustError("why", field="what", next_step="how").as_dict() == {
        "code": "trust.failed",
        "message": "why",
        "fatal": True,
        "field": "what",
        "next": "how",
    }
