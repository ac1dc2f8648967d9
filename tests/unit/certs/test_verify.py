"""Chains that prove an identity, and all those that must not."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import keys, verify
from certs.profiles import DAY, YEAR, key_usage_of, name_constraints_of
from certs.shell.dev import Authority, Hierarchy
from certs.shell.signers import generate_tls_key
from certs.signer import KeySigner
from certs.spiffe import OutpostIdentity, ServerIdentity
from certs.verify import TrustAnchors
from tests.unit.certs.forge import NOW, ORG, OTHER_DOMAIN, OUTPOST, Parts, authority, other_curve, outpost_parts, uri

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def der(*certificates: x509.Certificate) -> list[bytes]:
    return [keys.certificate_der(certificate) for certificate in certificates]


def issued(h: Hierarchy, parts: Parts) -> list[bytes]:
    return [parts.der(), *der(h.outposts.certificate)]


def below(h: Hierarchy, change: Callable[[Parts], object], issuer: Authority | None = None) -> list[bytes]:
    """A good leaf below an issuing CA that was changed before the root signed it."""
    parts, key = authority(h, issuer)
    change(parts)
    issuing = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(h, issuing).der(), *der(issuing.certificate)]


def test_an_outpost_is_recognised(hierarchy: Hierarchy) -> None:
    leaf = hierarchy.outpost(ORG, OUTPOST, NOW)
    peer = verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, NOW)
    assert peer.spiffe_id == OutpostIdentity(hierarchy.trust_domain, ORG, OUTPOST)
    assert (peer.serial, peer.spki_sha256) == (leaf.issued.intent.serial, leaf.issued.intent.spki_sha256)
    assert (peer.not_before, peer.not_after) == (NOW - 300, NOW + DAY)
    assert peer.leaf_der == leaf.issued.der


def test_a_server_is_recognised(hierarchy: Hierarchy) -> None:
    peer = verify.verify_server_chain(hierarchy.server(NOW).chain_der, hierarchy.anchors, NOW)
    assert peer.spiffe_id == ServerIdentity(hierarchy.trust_domain)


def test_a_hand_made_leaf_of_the_right_shape_is_recognised(hierarchy: Hierarchy) -> None:
    """Otherwise the refusals below would prove nothing."""
    verify.verify_outpost_chain(issued(hierarchy, outpost_parts(hierarchy)), hierarchy.anchors, NOW)
    verify.verify_outpost_chain(below(hierarchy, lambda _: None), hierarchy.anchors, NOW)


def test_an_unknown_extension_that_is_not_critical_does_no_harm(hierarchy: Hierarchy) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    verify.verify_outpost_chain(issued(hierarchy, outpost_parts(hierarchy).put(extension)), hierarchy.anchors, NOW)


def test_a_known_intermediate_need_not_be_sent(hierarchy: Hierarchy) -> None:
    anchors = TrustAnchors(hierarchy.trust_domain, hierarchy.anchors.roots, (hierarchy.outposts.certificate,))
    leaf = hierarchy.outpost(ORG, OUTPOST, NOW).chain_der[:1]
    assert verify.verify_outpost_chain(leaf, anchors, NOW).spiffe_id.org == ORG
    with pytest.raises(verify.ChainUntrustedError):
        verify.verify_outpost_chain(leaf, hierarchy.anchors, NOW)


def test_during_a_rotation_both_roots_are_believed(hierarchy: Hierarchy, stranger: Hierarchy) -> None:
    both = TrustAnchors(hierarchy.trust_domain, (stranger.root.certificate, hierarchy.root.certificate))
    for each in (hierarchy, stranger):
        verify.verify_outpost_chain(each.outpost(ORG, OUTPOST, NOW).chain_der, both, NOW)


Change = Callable[[Parts, Hierarchy], object]
BAD_LEAVES: dict[str, tuple[Change, type[verify.ChainError]]] = {
    "for servers": (lambda p, _: p.purposes(SERVER), verify.ChainProfileError),
    "for clients and servers": (lambda p, _: p.purposes(CLIENT, SERVER), verify.ChainProfileError),
    "for any purpose": (
        lambda p, _: p.purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
        verify.ChainProfileError,
    ),
    "for no purpose": (lambda p, _: p.drop(x509.ExtendedKeyUsage), verify.ChainProfileError),
    "a CA": (
        lambda p, _: p.put(x509.BasicConstraints(True, None), critical=True).put(
            key_usage_of(is_ca=True), critical=True
        ),
        verify.ChainError,
    ),
    "that may sign certificates": (lambda p, _: p.put(key_usage_of(is_ca=True), critical=True), verify.ChainError),
    "without basicConstraints": (lambda p, _: p.drop(x509.BasicConstraints), verify.ChainProfileError),
    "without keyUsage": (lambda p, _: p.drop(x509.KeyUsage), verify.ChainProfileError),
    "with two URIs": (lambda p, h: p.names(uri(h.trust_domain), uri(h.trust_domain, "evil")), verify.ChainNameError),
    "with one URI twice": (lambda p, h: p.names(uri(h.trust_domain), uri(h.trust_domain)), verify.ChainNameError),
    "with a DNS name beside": (
        lambda p, h: p.names(uri(h.trust_domain), x509.DNSName("localhost")),
        verify.ChainNameError,
    ),
    "with a mail address beside": (
        lambda p, h: p.names(uri(h.trust_domain), x509.RFC822Name("a@b.example")),
        verify.ChainNameError,
    ),
    "with a DNS name only": (lambda p, _: p.names(x509.DNSName("localhost")), verify.ChainNameError),
    "of another trust domain": (lambda p, _: p.names(uri(OTHER_DOMAIN)), verify.ChainNameError),
    "of a child of the trust domain": (lambda p, h: p.names(uri("a." + h.trust_domain)), verify.ChainNameError),
    "that names a server": (
        lambda p, h: p.names(x509.UniformResourceIdentifier(f"spiffe://{h.trust_domain}/server")),
        verify.ChainNameError,
    ),
    "with another scheme": (
        lambda p, h: p.names(x509.UniformResourceIdentifier(f"https://{h.trust_domain}/org/acme/outpost/{OUTPOST}")),
        verify.ChainNameError,
    ),
    "with a trailing slash": (
        lambda p, h: p.names(x509.UniformResourceIdentifier(uri(h.trust_domain).value + "/")),
        verify.ChainNameError,
    ),
    "on the curve P-384": (
        lambda p, _: setattr(p, "public_key", other_curve()),
        verify.ChainProfileError,
    ),
    "signed with SHA-384": (lambda p, _: setattr(p, "hash", hashes.SHA384()), verify.ChainProfileError),
    "expired": (lambda p, _: setattr(p, "not_after", NOW - 1), verify.ChainExpiredError),
    "not yet valid": (lambda p, _: setattr(p, "not_before", NOW + 1), verify.ChainNotYetValidError),
    "with an unknown critical extension": (
        lambda p, _: p.put(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), critical=True
        ),
        verify.ChainError,
    ),
    "with name constraints": (
        lambda p, h: p.put(name_constraints_of(h.trust_domain), critical=True),
        verify.ChainError,
    ),
    "without alternative names": (lambda p, _: p.drop(x509.SubjectAlternativeName), verify.ChainError),
}


@pytest.mark.parametrize("case", BAD_LEAVES)
def test_a_leaf_is_refused(case: str, hierarchy: Hierarchy) -> None:
    change, error = BAD_LEAVES[case]
    parts = outpost_parts(hierarchy)
    change(parts, hierarchy)
    if case == "on the curve P-384":
        parts.put(x509.SubjectKeyIdentifier.from_public_key(parts.public_key))
    with pytest.raises(error):
        verify.verify_outpost_chain(issued(hierarchy, parts), hierarchy.anchors, NOW)


BAD_CAS: dict[str, tuple[Callable[[Parts], object], type[verify.ChainError]]] = {
    "for servers": (lambda p: p.purposes(SERVER), verify.ChainProfileError),
    "for every purpose": (lambda p: p.drop(x509.ExtendedKeyUsage), verify.ChainProfileError),
    "without name constraints": (lambda p: p.drop(x509.NameConstraints), verify.ChainProfileError),
    "constrained to another trust domain": (
        lambda p: p.put(name_constraints_of(OTHER_DOMAIN), critical=True),
        verify.ChainNameError,
    ),
    "constrained, but not critically": (
        lambda p: p.put(name_constraints_of("outpost.internal")),
        verify.ChainError,
    ),
    "with a path length of one": (
        lambda p: p.put(x509.BasicConstraints(True, 1), critical=True),
        verify.ChainError,
    ),
    "that is no CA": (lambda p: p.put(x509.BasicConstraints(False, None), critical=True), verify.ChainError),
    "that may not sign certificates": (lambda p: p.put(key_usage_of(is_ca=False), critical=True), verify.ChainError),
    "that has expired": (lambda p: setattr(p, "not_after", NOW - 1), verify.ChainExpiredError),
    "that is not yet valid": (lambda p: setattr(p, "not_before", NOW + 1), verify.ChainNotYetValidError),
}


@pytest.mark.parametrize("case", BAD_CAS)
def test_an_issuing_ca_is_refused(case: str, hierarchy: Hierarchy) -> None:
    change, error = BAD_CAS[case]
    with pytest.raises(error):
        verify.verify_outpost_chain(below(hierarchy, change), hierarchy.anchors, NOW)


BAD_CHAINS: dict[str, tuple[Callable[[Hierarchy, Hierarchy, Hierarchy], list[bytes]], type[verify.ChainError]]] = {
    "the server CA signed an outpost": (
        lambda h, *_: [outpost_parts(h, h.servers).der(), *der(h.servers.certificate)],
        verify.ChainProfileError,
    ),
    "the root signed an outpost": (lambda h, *_: [outpost_parts(h, h.root).der()], verify.ChainDepthError),
    "another control plane signed": (
        lambda _, s, __: list(s.outpost(ORG, OUTPOST, NOW).chain_der),
        verify.ChainUntrustedError,
    ),
    "another control plane signed and sent its root": (
        lambda _, s, __: [*s.outpost(ORG, OUTPOST, NOW).chain_der, *der(s.root.certificate)],
        verify.ChainUntrustedError,
    ),
    "another trust domain's control plane signed": (
        lambda _, __, e: list(e.outpost(ORG, OUTPOST, NOW).chain_der),
        verify.ChainUntrustedError,
    ),
    "the intermediate is another control plane's": (
        lambda h, s, _: [h.outpost(ORG, OUTPOST, NOW).chain_der[0], *der(s.outposts.certificate)],
        verify.ChainUntrustedError,
    ),
    "the intermediate is the server CA": (
        lambda h, *_: [h.outpost(ORG, OUTPOST, NOW).chain_der[0], *der(h.servers.certificate)],
        verify.ChainUntrustedError,
    ),
    "the intermediate stands first": (
        lambda h, *_: list(reversed(h.outpost(ORG, OUTPOST, NOW).chain_der)),
        verify.ChainError,
    ),
    "the root stands alone": (lambda h, *_: der(h.root.certificate), verify.ChainDepthError),
    "a server shows its own": (lambda h, *_: list(h.server(NOW).chain_der), verify.ChainProfileError),
    "one CA too many": (lambda h, *_: _too_deep(h), verify.ChainError),
    "signed by itself": (lambda h, *_: [_self_signed(h)], verify.ChainUntrustedError),
    "empty": (lambda *_: [], verify.ChainFormatError),
    "of five certificates": (
        lambda h, *_: list(h.outpost(ORG, OUTPOST, NOW).chain_der[:1]) * 5,
        verify.ChainFormatError,
    ),
    "with a certificate that is too large": (
        lambda h, *_: [b"\x30" * (keys.MAX_CERTIFICATE_BYTES + 1)],
        verify.ChainFormatError,
    ),
    "with bytes after the leaf": (
        lambda h, *_: [h.outpost(ORG, OUTPOST, NOW).chain_der[0] + b"\x00"],
        verify.ChainFormatError,
    ),
    "with a changed byte in the signature": (lambda h, *_: _flipped(h), verify.ChainError),
}


def _too_deep(h: Hierarchy) -> list[bytes]:
    middle_parts, middle_key = authority(h, h.outposts)
    middle = Authority(middle_parts.build(), KeySigner(middle_key))
    return [outpost_parts(h, middle).der(), *der(middle.certificate, h.outposts.certificate)]


def _self_signed(h: Hierarchy) -> bytes:
    key = generate_tls_key()
    myself = Authority(h.outpost(ORG, OUTPOST, NOW).chain[0], KeySigner(key))
    return outpost_parts(h, myself, public_key=key.public_key()).der()


def _flipped(h: Hierarchy) -> list[bytes]:
    leaf, *rest = h.outpost(ORG, OUTPOST, NOW).chain_der
    return [leaf[:-1] + bytes([leaf[-1] ^ 1]), *rest]


@pytest.mark.parametrize("case", BAD_CHAINS)
def test_a_chain_is_refused(case: str, hierarchy: Hierarchy, stranger: Hierarchy, elsewhere: Hierarchy) -> None:
    make, error = BAD_CHAINS[case]
    with pytest.raises(error) as refusal:
        verify.verify_outpost_chain(make(hierarchy, stranger, elsewhere), hierarchy.anchors, NOW)
    assert refusal.value.code.startswith("chain.")
    assert refusal.value.fatal


def test_a_root_with_another_trust_domain_gives_no_identity(elsewhere: Hierarchy) -> None:
    """The root is believed by mistake; the names still are not ours."""
    anchors = TrustAnchors("outpost.internal", elsewhere.anchors.roots)
    with pytest.raises(verify.ChainError):
        verify.verify_outpost_chain(elsewhere.outpost(ORG, OUTPOST, NOW).chain_der, anchors, NOW)


def test_a_revoked_leaf_and_a_revoked_issuing_ca_are_refused(hierarchy: Hierarchy) -> None:
    leaf = hierarchy.outpost(ORG, OUTPOST, NOW)
    for serial in (leaf.issued.intent.serial, hierarchy.outposts.certificate.serial_number):
        with pytest.raises(verify.ChainRevokedError):
            verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, NOW, frozenset({serial}))
    verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, NOW, frozenset({1, 2, 3}))


def test_life_ends_and_starts_to_the_second(hierarchy: Hierarchy) -> None:
    leaf = hierarchy.outpost(ORG, OUTPOST, NOW)
    for moment in (NOW - 300, NOW + DAY):
        verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, moment)
    with pytest.raises(verify.ChainNotYetValidError):
        verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, NOW - 301)
    with pytest.raises(verify.ChainExpiredError) as refusal:
        verify.verify_outpost_chain(leaf.chain_der, hierarchy.anchors, NOW + DAY + 1)
    assert refusal.value.field == "leaf"
    assert refusal.value.next_step


def test_an_expired_root_ends_everything(hierarchy: Hierarchy) -> None:
    with pytest.raises(verify.ChainExpiredError):
        verify.verify_outpost_chain(hierarchy.outpost(ORG, OUTPOST, NOW).chain_der, hierarchy.anchors, NOW + 11 * YEAR)


@pytest.mark.parametrize("moment", [-(10**18), 10**18, -(2**80), 2**80])
def test_an_impossible_time_is_refused(moment: int, hierarchy: Hierarchy) -> None:
    with pytest.raises(verify.ChainError):
        verify.verify_outpost_chain(hierarchy.outpost(ORG, OUTPOST, NOW).chain_der, hierarchy.anchors, moment)


@pytest.mark.parametrize("count", [0, 9])
def test_the_number_of_roots_is_bounded(count: int, hierarchy: Hierarchy) -> None:
    anchors = TrustAnchors(hierarchy.trust_domain, (hierarchy.root.certificate,) * count)
    with pytest.raises(verify.ChainUntrustedError):
        verify.verify_outpost_chain(hierarchy.outpost(ORG, OUTPOST, NOW).chain_der, anchors, NOW)


def test_an_outpost_is_no_server(hierarchy: Hierarchy) -> None:
    with pytest.raises(verify.ChainProfileError):
        verify.verify_server_chain(hierarchy.outpost(ORG, OUTPOST, NOW).chain_der, hierarchy.anchors, NOW)


def test_the_pinned_root_is_found(hierarchy: Hierarchy) -> None:
    chain = hierarchy.server(NOW).chain_der
    assert verify.root_by_pin(chain, hierarchy.pin) == hierarchy.root.certificate


def test_a_pin_is_not_found_or_is_no_root(hierarchy: Hierarchy, stranger: Hierarchy) -> None:
    chain = hierarchy.server(NOW).chain_der
    with pytest.raises(verify.PinError):
        verify.root_by_pin(chain, stranger.pin)
    with pytest.raises(verify.PinError):
        verify.root_by_pin(chain[:2], hierarchy.pin)
    with pytest.raises(verify.ChainProfileError):
        verify.root_by_pin(chain, keys.key_id(hierarchy.servers.signer.public_key()))


def test_a_pinned_key_in_a_certificate_signed_by_another_is_refused(hierarchy: Hierarchy, stranger: Hierarchy) -> None:
    """Whoever relays the connection may wrap the public key of our root in a certificate of their own."""
    root = hierarchy.root.certificate
    parts = Parts(stranger.root, public_key=root.public_key(), subject=stranger.root.certificate.subject)
    for extension in root.extensions:
        parts.put(extension.value, critical=extension.critical)
    with pytest.raises(verify.PinError):
        verify.root_by_pin([parts.der()], hierarchy.pin)
