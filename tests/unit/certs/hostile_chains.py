"""Every hostile chain by an English sentence, and honest ones beside them: refusing everything proves nothing."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from certs import verify
from certs.profiles import DAY, HOUR, YEAR
from certs.verify import TrustAnchors
from tests.unit.certs.forge import NOW, ORG, OUTPOST, outpost_parts
from tests.unit.certs.hostile_bytes import BYTES, ORDER, resigned
from tests.unit.certs.hostile_cas import CAS
from tests.unit.certs.hostile_leaves import LEAVES, UNKNOWN
from tests.unit.certs.hostile_paths import PATHS, crossed_server, leaf_only, outpost, retired, servers, successor
from tests.unit.certs.hostile_uris import URIS
from tests.unit.certs.surgery import der_of
from tests.unit.certs.world import CURRENT_DOMAIN, Shown, honest, issuing, leaf, raw_issuing, raw_leaf, rooted

TABLES = (LEAVES, URIS, CAS, PATHS, BYTES)
HOSTILE: dict[str, Shown] = {sentence: shown for table in TABLES for sentence, shown in table.items()}


def _other_half(good: bytes) -> bytes:
    """ECDSA has two signatures for each: s and the order less s. Both are the issuer's."""
    r, s = decode_dss_signature(good)
    return encode_dss_signature(r, ORDER - s)


HONEST: dict[str, Shown] = {
    "an outpost": Shown(honest),
    "an outpost with its root": Shown(lambda w: [*honest(w), *der_of(w.ours.root.certificate)]),
    "an outpost with certificates that do not matter": Shown(
        lambda w: [*honest(w), *der_of(w.ours.servers.certificate, w.stranger.root.certificate)]
    ),
    "an outpost in its first second": Shown(honest, now=NOW - 300),
    "an outpost in its last second": Shown(honest, now=NOW + DAY),
    "an outpost with the longest life": Shown(
        lambda w: w.ours.outpost(ORG, OUTPOST, NOW, 72 * HOUR).chain_der, now=NOW + 72 * HOUR
    ),
    "an outpost beside others that were revoked": Shown(honest, revoked=lambda _: frozenset({1, 2, 3})),
    "a leaf made by hand": Shown(leaf(lambda *_: None)),
    "a leaf changed as bytes, in nothing": Shown(raw_leaf(lambda _: None)),
    "a leaf with an unknown extension that is not critical": Shown(leaf(lambda p, _: p.put(UNKNOWN))),
    "a leaf with the other half of its signature": Shown(resigned(_other_half)),
    "an issuing CA made by hand": Shown(issuing(lambda _: None)),
    "an issuing CA changed as bytes, in nothing": Shown(raw_issuing(lambda _: None)),
    "an issuing CA of another name": Shown(
        issuing(
            lambda p: setattr(p, "subject", x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Other")]))
        )
    ),
    "a root made by hand": rooted(lambda _: None),
    "an ingress": Shown(lambda w: w.ours.ingress("edge-1", NOW).chain_der, judge=verify.verify_ingress_chain),
    "an ingress in its last second": Shown(
        lambda w: w.ours.ingress("0", NOW).chain_der, judge=verify.verify_ingress_chain, now=NOW + 90 * DAY
    ),
    "a server": Shown(lambda w: w.ours.server(NOW).chain_der, judge=servers),
    "a server with the longest life": Shown(
        lambda w: w.ours.server(NOW, lifetime_seconds=397 * DAY).chain_der, judge=servers, now=NOW + YEAR
    ),
    "a leaf alone, whose issuing CA is known": Shown(
        lambda w: leaf_only(w.ours),
        anchors=lambda w: TrustAnchors(CURRENT_DOMAIN, w.ours.anchors.roots, (w.ours.outposts.certificate,)),
    ),
    "a leaf alone of the old generation": Shown(lambda w: leaf_only(w.ours), anchors=lambda w: w.rotating),
    "a leaf alone of the new generation": Shown(lambda w: leaf_only(w.next), anchors=lambda w: w.rotating),
    "a leaf alone of the new generation, when the old issuing CA was revoked": Shown(
        lambda w: leaf_only(w.next),
        anchors=lambda w: w.rotating,
        revoked=lambda w: frozenset({w.ours.outposts.certificate.serial_number}),
    ),
    "an ingress alone of the new generation": Shown(
        lambda w: w.next.ingress("edge-1", NOW).chain_der[:1],
        judge=verify.verify_ingress_chain,
        anchors=lambda w: w.rotating,
    ),
    "a chain of the old generation during a rotation": Shown(honest, anchors=lambda w: w.rotating),
    "a chain of the new generation during a rotation": Shown(lambda w: outpost(w.next), anchors=lambda w: w.rotating),
    "a server of the new generation with its cross-certificate": Shown(
        crossed_server, judge=servers, anchors=lambda w: w.next.anchors
    ),
    "a server of the new generation with its cross-certificate, where both roots are believed": Shown(
        crossed_server, judge=servers, anchors=lambda w: w.rotating
    ),
    "an outpost below the issuing CA that took the place of a retired one, which it sends": Shown(
        lambda w: [outpost_parts(w.ours, successor()).der(), *der_of(successor().certificate)], anchors=retired
    ),
    "the same with the retired one beside": Shown(
        lambda w: [
            outpost_parts(w.ours, successor()).der(),
            *der_of(w.ours.outposts.certificate, successor().certificate),
        ],
        anchors=retired,
    ),
    "a leaf alone, known issuing CA first behind a stranger's of the same shape": Shown(
        lambda w: [*leaf_only(w.ours), *der_of(w.stranger.outposts.certificate)], anchors=lambda w: w.rotating
    ),
}
