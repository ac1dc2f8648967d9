"""Certificates that are good in themselves and do not belong together: foreign roots, wrong depths, wrong kinds, and
the tricks that a rotation of the root invites.
"""

from dataclasses import replace
from functools import cache

from cryptography import x509

from certs import keys, verify
from certs.profiles import CertificateKind, subject_of
from certs.shell.dev import Authority, Hierarchy
from certs.shell.signers import generate_tls_key
from certs.signer import KeySigner
from certs.verify import (
    ChainDepthError,
    ChainFormatError,
    ChainNameError,
    ChainProfileError,
    ChainRevokedError,
    ChainUntrustedError,
    TrustAnchors,
)
from tests.unit.certs.forge import NOW, ORG, OUTPOST, Parts, authority, outpost_parts, rekeyed
from tests.unit.certs.surgery import der_of
from tests.unit.certs.world import CURRENT_DOMAIN, Shown, World, honest, world


def outpost(h: Hierarchy) -> list[bytes]:
    return list(h.outpost(ORG, OUTPOST, NOW).chain_der)


def leaf_only(h: Hierarchy) -> list[bytes]:
    return outpost(h)[:1]


def twin_root(w: World) -> Authority:
    """A root with the name of ours and another key."""
    key = generate_tls_key()
    ours = w.ours.root.certificate
    parts = Parts(
        Authority(ours, KeySigner(key)), public_key=key.public_key(), subject=ours.subject, not_before=NOW - 3600
    )
    for extension in ours.extensions:
        parts.put(extension.value, critical=extension.critical)
    rekeyed(parts, key.public_key())
    parts.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()))
    return Authority(parts.build(), KeySigner(key))


def twin_issuing(w: World, issuer: Authority, key: object) -> Authority:
    """An issuing CA with the name of ours, another issuer, and a key."""
    parts, _ = authority(w.ours, issuer, key=key)
    parts.subject = w.ours.outposts.certificate.subject
    return Authority(parts.build(), KeySigner(key))


def below_twin_root(w: World) -> list[bytes]:
    root = twin_root(w)
    parts, key = authority(w.ours, root)
    ca = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(w.ours, ca).der(), *der_of(ca.certificate, root.certificate)]


def below_twin_issuing(w: World) -> list[bytes]:
    """A stranger's root certifies the name of our issuing CA for a key of its own."""
    ca = twin_issuing(w, w.stranger.root, generate_tls_key())
    return [outpost_parts(w.ours, ca).der(), *der_of(ca.certificate, w.stranger.root.certificate)]


def claims_our_root(w: World) -> list[bytes]:
    """An issuing CA that names our root as its issuer, and was signed by another key."""
    parts, key = authority(w.ours, w.stranger.root)
    parts.issuer_name = w.ours.root.certificate.subject
    parts.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(w.ours.root.signer.public_key()))
    ca = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(w.ours, ca).der(), *der_of(ca.certificate)]


def too_deep(w: World) -> list[bytes]:
    parts, key = authority(w.ours, w.ours.outposts)
    middle = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(w.ours, middle).der(), *der_of(middle.certificate, w.ours.outposts.certificate)]


def self_issued_between(w: World) -> list[bytes]:
    """An issuing CA hands its name on to a new key: self-issued certificates do not count for the path length."""
    key = generate_tls_key()
    parts, _ = authority(w.ours, w.ours.outposts, key=key)
    parts.subject = w.ours.outposts.certificate.subject
    middle = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(w.ours, middle).der(), *der_of(middle.certificate, w.ours.outposts.certificate)]


def an_outpost_signs(w: World) -> list[bytes]:
    """A stolen leaf key signs a leaf for another org."""
    thief = w.ours.outpost("evil", OUTPOST, NOW)
    key = KeySigner(keys.private_key_from_pem(thief.key_pem))
    parts = outpost_parts(w.ours, Authority(thief.issued.certificate, key))
    return [parts.der(), *thief.chain_der]


def an_outpost_poses_as_a_ca(w: World) -> list[bytes]:
    """The same, with a name for the leaf key's owner, as issuers have one."""
    key = generate_tls_key()
    parts = outpost_parts(w.ours, public_key=key.public_key())
    parts.subject = subject_of(CertificateKind.OUTPOST_CA, key.public_key())
    thief = Authority(parts.build(), KeySigner(key))
    return [outpost_parts(w.ours, thief).der(), *der_of(thief.certificate, w.ours.outposts.certificate)]


def self_signed(w: World) -> list[bytes]:
    key = generate_tls_key()
    myself = Authority(w.ours.outposts.certificate, KeySigner(key))
    parts = outpost_parts(w.ours, myself, public_key=key.public_key())
    parts.issuer_name = x509.Name([])
    return [parts.der()]


def self_signed_ca(w: World) -> list[bytes]:
    """An issuing CA that signed itself, with the name of ours."""
    ca = twin_issuing(w, Authority(w.ours.outposts.certificate, KeySigner(generate_tls_key())), generate_tls_key())
    return [outpost_parts(w.ours, ca).der(), *der_of(ca.certificate)]


def renamed_issuer(w: World) -> list[bytes]:
    parts = outpost_parts(w.ours, w.ours.outposts)
    parts.issuer_name = w.ours.servers.certificate.subject
    return [parts.der(), *der_of(w.ours.outposts.certificate, w.ours.servers.certificate)]


FOREIGN: dict[str, Shown] = {
    "a stranger's chain": Shown(lambda w: outpost(w.stranger), ChainUntrustedError),
    "a stranger's chain with its root": Shown(
        lambda w: [*outpost(w.stranger), *der_of(w.stranger.root.certificate)], ChainUntrustedError
    ),
    "a chain of another trust domain": Shown(lambda w: outpost(w.elsewhere), ChainUntrustedError),
    "a believed root of another trust domain": Shown(
        lambda w: outpost(w.elsewhere),
        ChainProfileError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.elsewhere.anchors.roots),
    ),
    "a stranger's issuing CA above our leaf": Shown(
        lambda w: [*leaf_only(w.ours), *der_of(w.stranger.outposts.certificate)], ChainUntrustedError
    ),
    "a root with the name of ours and another key": Shown(below_twin_root, ChainUntrustedError),
    "an issuing CA with the name of ours and another key": Shown(below_twin_issuing, ChainUntrustedError),
    "the same, where ours is known to the verifier": Shown(
        below_twin_issuing,
        ChainUntrustedError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (w.ours.outposts.certificate,)),
    ),
    "an issuing CA that only claims our root": Shown(claims_our_root, ChainUntrustedError),
    "our issuing CA's key and name certified by a stranger": Shown(
        lambda w: [
            *leaf_only(w.ours),
            *der_of(
                twin_issuing(w, w.stranger.root, w.ours.outposts.signer._private_key).certificate,
                w.stranger.root.certificate,
            ),
        ],
        ChainUntrustedError,
    ),
    "a leaf that is signed by itself": Shown(self_signed, ChainUntrustedError),
    "an issuing CA that is signed by itself": Shown(self_signed_ca, ChainUntrustedError),
    "no root believed": Shown(honest, ChainUntrustedError, anchors=lambda _: TrustAnchors(CURRENT_DOMAIN, ())),
    "more roots believed than allowed": Shown(
        honest, ChainUntrustedError, anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots * 9)
    ),
    "more issuing CAs known than allowed": Shown(
        honest,
        ChainUntrustedError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (w.ours.outposts.certificate,) * 9),
    ),
}

SHAPES: dict[str, Shown] = {
    "nothing": Shown(lambda _: [], ChainFormatError),
    "six certificates": Shown(lambda w: leaf_only(w.ours) * 6, ChainFormatError),
    "a leaf alone, whose issuing CA is not known": Shown(lambda w: leaf_only(w.ours), ChainUntrustedError),
    "a chain in the wrong order": Shown(lambda w: honest(w)[::-1], ChainDepthError),
    "a root alone": Shown(lambda w: der_of(w.ours.root.certificate), ChainDepthError),
    "an issuing CA alone": Shown(lambda w: der_of(w.ours.outposts.certificate), ChainDepthError),
    "a leaf that the root signed": Shown(lambda w: [outpost_parts(w.ours, w.ours.root).der()], ChainDepthError),
    "a CA too many": Shown(too_deep, ChainDepthError),
    "a self-issued CA in between": Shown(self_issued_between, ChainDepthError),
    "a leaf that an outpost signed": Shown(an_outpost_signs, ChainProfileError),
    "a leaf that an outpost signed under the name of a CA": Shown(an_outpost_poses_as_a_ca, ChainProfileError),
    "a leaf that names another issuer than the one that signed": Shown(renamed_issuer, ChainUntrustedError),
    "the wrong issuing CA": Shown(
        lambda w: [*leaf_only(w.ours), *der_of(w.ours.servers.certificate)], ChainUntrustedError
    ),
}


def ingress_named(w: World) -> list[bytes]:
    """A certificate of an ingress's life that names an outpost."""
    parts = outpost_parts(w.ours)
    parts.not_after = NOW + 90 * 86400
    return [parts.der(), *der_of(w.ours.outposts.certificate)]


def server_with_purpose(w: World) -> list[bytes]:
    """An outpost's name in a certificate of a server, from the CA for servers."""
    parts = outpost_parts(w.ours, w.ours.servers).purposes(x509.ExtendedKeyUsageOID.SERVER_AUTH)
    return [parts.der(), *der_of(w.ours.servers.certificate)]


outposts, ingresses, servers = (
    verify.verify_outpost_chain,
    verify.verify_ingress_chain,
    verify.verify_server_chain,
)
KINDS: dict[str, Shown] = {
    "an ingress as an outpost": Shown(lambda w: w.ours.ingress("edge-1", NOW).chain_der, ChainProfileError),
    "a young ingress as an outpost": Shown(lambda w: w.ours.ingress("edge-1", NOW, 3600).chain_der, ChainNameError),
    "a server as an outpost": Shown(lambda w: w.ours.server(NOW).chain_der, ChainProfileError),
    "an outpost as an ingress": Shown(honest, ChainNameError, judge=ingresses),
    "a server as an ingress": Shown(lambda w: w.ours.server(NOW).chain_der, ChainProfileError, judge=ingresses),
    "an outpost as a server": Shown(honest, ChainProfileError, judge=servers),
    "an ingress as a server": Shown(
        lambda w: w.ours.ingress("edge-1", NOW).chain_der, ChainProfileError, judge=servers
    ),
    "an outpost with the life of an ingress": Shown(ingress_named, ChainProfileError),
    "an outpost with the life of an ingress, as an ingress": Shown(ingress_named, ChainNameError, judge=ingresses),
    "an outpost that the CA for servers signed": Shown(
        lambda w: [outpost_parts(w.ours, w.ours.servers).der(), *der_of(w.ours.servers.certificate)], ChainProfileError
    ),
    "an outpost's name in a server's certificate": Shown(server_with_purpose, ChainProfileError),
    "an outpost's name in a server's certificate, as a server": Shown(
        server_with_purpose, ChainNameError, judge=servers
    ),
    "an issuing CA in the place of a leaf": Shown(
        lambda w: [authority(w.ours, w.ours.outposts)[0].der(), *der_of(w.ours.outposts.certificate)],
        ChainProfileError,
    ),
}


def cross(w: World) -> x509.Certificate:
    return w.next.cross(w.ours, NOW)


def crossed_server(w: World) -> list[bytes]:
    """What a server sends after the root changed."""
    return [*w.next.server(NOW).chain_der, *der_of(cross(w))]


def mixed_generations(w: World) -> list[bytes]:
    """The old issuing CA signs in the name of the new one."""
    parts = outpost_parts(w.ours, Authority(w.next.outposts.certificate, w.ours.outposts.signer))
    parts.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(w.next.outposts.signer.public_key()))
    return [parts.der()]


def cross_signs_leaf(w: World) -> list[bytes]:
    """The new root's key signs a leaf directly; its cross-certificate stands where an issuing CA should."""
    return [outpost_parts(w.ours, w.next.root).der(), *der_of(cross(w))]


def cross_as_leaf(w: World) -> list[bytes]:
    return der_of(cross(w), w.ours.root.certificate)


ROTATION: dict[str, Shown] = {
    "an outpost below the new root, where only the old is believed": Shown(
        lambda w: [*outpost(w.next), *der_of(w.next.root.certificate)], ChainUntrustedError
    ),
    "an outpost below the new root, with the cross-certificate": Shown(
        lambda w: [*outpost(w.next), *der_of(cross(w))], ChainDepthError
    ),
    "a server below the new root, with its root and the cross-certificate": Shown(
        crossed_server, ChainUntrustedError, judge=servers
    ),
    "an outpost below the old root, where only the new is believed": Shown(
        honest, ChainUntrustedError, anchors=lambda w: w.next.anchors
    ),
    "an outpost below the old root, with the old root's cross-certificate": Shown(
        lambda w: [*honest(w), *der_of(cross(w))], ChainUntrustedError, anchors=lambda w: w.next.anchors
    ),
    "a leaf alone of a generation whose issuing CA is not known": Shown(
        lambda w: leaf_only(w.next),
        ChainUntrustedError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.rotating.roots, (w.ours.outposts.certificate,)),
    ),
    "a leaf whose issuing CA is known and whose root is not": Shown(
        lambda w: leaf_only(w.next),
        ChainUntrustedError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (w.next.outposts.certificate,)),
    ),
    "the old issuing CA in the name of the new": Shown(
        mixed_generations, ChainUntrustedError, anchors=lambda w: w.rotating
    ),
    "a leaf alone below an issuing CA that was revoked": Shown(
        lambda w: leaf_only(w.ours),
        ChainRevokedError,
        anchors=lambda w: w.rotating,
        revoked=lambda w: frozenset({w.ours.outposts.certificate.serial_number}),
    ),
    "a stranger's leaf alone, with all our issuing CAs known": Shown(
        lambda w: leaf_only(w.stranger), ChainUntrustedError, anchors=lambda w: w.rotating
    ),
    "a server alone as an outpost, with all our issuing CAs known": Shown(
        lambda w: w.ours.server(NOW).chain_der[:1], ChainProfileError, anchors=lambda w: w.rotating
    ),
    "a cross-certificate as an issuing CA": Shown(cross_signs_leaf, ChainProfileError),
    "a cross-certificate as an issuing CA, where both roots are believed": Shown(
        cross_signs_leaf, ChainDepthError, anchors=lambda w: w.rotating
    ),
    "a cross-certificate as a leaf": Shown(cross_as_leaf, ChainDepthError),
    "a cross-certificate as the only thing believed": Shown(
        lambda w: outpost(w.next),
        ChainUntrustedError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, (cross(w),)),
    ),
    "a cross-certificate among the known issuing CAs": Shown(
        lambda w: outpost(w.next),
        ChainDepthError,
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (cross(w),)),
    ),
}


@cache
def successor() -> Authority:
    """The issuing CA that took the place of ours, below the same root."""
    parts, key = authority(world().ours)
    return Authority(parts.build(), KeySigner(key))


def retired(w: World) -> TrustAnchors:
    """The root stayed; our first issuing CA for outposts is believed no longer."""
    ca = successor()
    own = frozenset({keys.key_id(keys.require_tls_key(ca.signer.public_key()))})
    return TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (ca.certificate,), own)


def ingress(w: World) -> list[bytes]:
    return list(w.ours.ingress("edge-1", NOW).chain_der)


RETIREMENT: dict[str, Shown] = {
    "an outpost below a retired issuing CA, which it sends": Shown(honest, ChainRevokedError, anchors=retired),
    "an outpost below a retired issuing CA, with that and the root": Shown(
        lambda w: [*honest(w), *der_of(w.ours.root.certificate)], ChainRevokedError, anchors=retired
    ),
    "an outpost below a retired issuing CA, with that and the one in use": Shown(
        lambda w: [*honest(w), *der_of(successor().certificate)], ChainRevokedError, anchors=retired
    ),
    "an outpost alone below a retired issuing CA": Shown(
        lambda w: leaf_only(w.ours), ChainUntrustedError, anchors=retired
    ),
    "an outpost below a retired issuing CA that is known still": Shown(
        lambda w: leaf_only(w.ours),
        ChainRevokedError,
        anchors=lambda w: replace(retired(w), intermediates=(w.ours.outposts.certificate,)),
    ),
    "an ingress below a retired issuing CA, which it sends": Shown(
        ingress, ChainRevokedError, judge=ingresses, anchors=retired
    ),
    "an ingress below a retired issuing CA, with that and the root": Shown(
        lambda w: [*ingress(w), *der_of(w.ours.root.certificate)], ChainRevokedError, judge=ingresses, anchors=retired
    ),
    "an ingress alone below a retired issuing CA": Shown(
        lambda w: ingress(w)[:1], ChainUntrustedError, judge=ingresses, anchors=retired
    ),
    "an outpost where no issuing CA is believed": Shown(
        honest, ChainRevokedError, anchors=lambda w: replace(w.ours.anchors, issuing_keys=frozenset())
    ),
}
PATHS = FOREIGN | SHAPES | KINDS | ROTATION | RETIREMENT
