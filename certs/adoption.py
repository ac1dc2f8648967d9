"""Adopt a new root CA from the hands of an old one: what an outpost does that slept through a rotation.

While roots change, outposts that are connected get the new trust bundle in their renewals. One that was away
believes only the old root, and no TLS handshake with a server below the new root can succeed for it. Such a server
sends, behind leaf, issuing CA and its own root, a cross-certificate: name and key of its root, signed by the old
root. ``adopt_roots`` judges that chain as a whole; only then may the new root be stored beside the old ones.

Adoption is a step of its own on purpose. A cross-certificate is never part of a path (profiles.py), so that no
library can follow one in passing, and what is adopted is persisted and recorded by the caller.

Two rotations in a row: a server sends up to two cross-certificates, the newest first. The second one is the root
before the last vouching for the last: ``[leaf, issuing, root 3, root 3 by root 2, root 2 by root 1]``. An outpost
that believes root 1 goes over both; one that believes root 2 needs the first only. Each is made when its root is,
so no key of an older root is needed again. Three rotations within the year that a cross-certificate lives are
refused; the outpost then enrolls again.

Source: RFC 4210 §4.4 (root CA key update: "new with old").
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from certs import keys, lint
from certs.errors import ChainError, KeyMaterialError
from certs.profiles import CertificateKind
from certs.verify import (
    MAX_TRUST_ANCHORS,
    PATH_CERTIFICATES,
    ChainDepthError,
    ChainExpiredError,
    ChainFormatError,
    ChainNotYetValidError,
    ChainProfileError,
    ChainUntrustedError,
    TrustAnchors,
    parse_chain,
    require_root,
    require_signature,
    verify_server_chain,
)

_RULES: Final = (*lint.PEER_RULES, lint.issuer_name_fits)
_NEXT_STEP = "Enroll again: the peer belongs to another control plane, or the outpost was away for too long."


class CrossMismatchError(ChainError):
    """The cross-certificate names another root than the one that the chain ends at."""

    code = "chain.cross"


class TrustBundleFullError(ChainError):
    """More roots would have to be believed than is ever needed."""

    code = "chain.trust_bundle_full"


def adopt_roots(
    chain: Sequence[bytes], trusted_roots: Sequence[x509.Certificate], now: int, trust_domain: str
) -> tuple[x509.Certificate, ...]:
    """Find out which roots to believe from now on.

    Args:
        chain: untrusted DER of a server, in this order: leaf, issuing CA, root, cross-certificates (newest first).
        trusted_roots: root CAs that are believed, 1 to 8.
        now: Unix seconds.
        trust_domain: the server must belong to it.

    Returns:
        The believed roots that are valid now, then the new one, unless it was among them already.

    Raises:
        ChainFormatError: the chain is out of bounds or unreadable.
        ChainDepthError: it holds no root, or no cross-certificate although its root is not believed.
        ChainProfileError: its root is no root, or a cross-certificate is not one.
        CrossMismatchError: a cross-certificate names another key or name.
        ChainUntrustedError: no believed root is behind the cross-certificate, or a signature is wrong.
        ChainExpiredError, ChainNotYetValidError: any certificate is not valid now.
        TrustBundleFullError: eight roots are believed already.
        ChainError: another one: the server's own chain does not verify below its root.
    """
    _, _, root, *crosses = _divided(chain)
    require_root(root)
    verify_server_chain(chain[:PATH_CERTIFICATES], TrustAnchors(trust_domain, (root,)), now)
    believed = _in_time(trusted_roots, now)
    if root in believed:
        return believed
    _require_vouched(root, crosses, believed, now)
    if len(believed) >= MAX_TRUST_ANCHORS:
        raise TrustBundleFullError(f"At most {MAX_TRUST_ANCHORS} roots may be believed.", field="trust_bundle")
    return (*believed, root)


def read_trust_bundle(ders: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Read the roots that a believed server tells to believe.

    TLS libraries accept partial chains, so anything else than a root in a trust bundle would be one.

    Args:
        ders: 1 to 8 certificates from an answer of a server that was verified.

    Raises:
        ChainFormatError: none, too many, or one that cannot be read.
        ChainProfileError: one is no root CA.
        ChainUntrustedError: one is not signed by itself.
    """
    if not 0 < len(ders) <= MAX_TRUST_ANCHORS:
        raise ChainFormatError(f"A trust bundle has 1 to {MAX_TRUST_ANCHORS} roots.", field="trust_bundle")
    try:
        roots = tuple(keys.certificate_from_der(der, field="trust_bundle") for der in ders)
    except KeyMaterialError as error:
        raise ChainFormatError(error.message, field="trust_bundle") from None
    for root in roots:
        require_root(root)
    return roots


def trust_bundle_digest(roots: Sequence[x509.Certificate]) -> bytes:
    """SHA-256 over the roots' DER in ascending order, each once: equal sets have one digest. 32 bytes."""
    return hashlib.sha256(b"".join(sorted({keys.certificate_der(root) for root in roots}))).digest()


def _divided(chain: Sequence[bytes]) -> list[x509.Certificate]:
    certificates = parse_chain(chain)
    if len(certificates) < PATH_CERTIFICATES:
        raise ChainDepthError("The server's chain holds no root.", field="chain", next_step=_NEXT_STEP)
    return certificates


def _in_time(roots: Sequence[x509.Certificate], now: int) -> tuple[x509.Certificate, ...]:
    """The roots that are valid now: an expired root vouches for nobody, and is believed no longer."""
    if not 0 < len(roots) <= MAX_TRUST_ANCHORS:
        raise ChainUntrustedError(f"1 to {MAX_TRUST_ANCHORS} roots are needed.", field="trust_bundle")
    moment = datetime.fromtimestamp(now, UTC)  # the chain was judged at this time already, so it is one
    valid = tuple(root for root in roots if root.not_valid_before_utc <= moment <= root.not_valid_after_utc)
    if not valid:
        raise ChainExpiredError("No believed root is valid now.", field="trust_bundle", next_step=_NEXT_STEP)
    return valid


def _require_vouched(
    root: x509.Certificate,
    crosses: Sequence[x509.Certificate],
    believed: Sequence[x509.Certificate],
    now: int,
) -> None:
    """Walk from the new root over its cross-certificates to a root that is believed."""
    if not crosses:
        raise ChainDepthError("The server's chain holds no cross-certificate.", field="cross", next_step=_NEXT_STEP)
    if (crosses[0].subject, crosses[0].public_key()) != (root.subject, root.public_key()):
        raise CrossMismatchError("The cross-certificate names another root than the chain's.", field="cross")
    for cross, older in zip(crosses, (*crosses[1:], None), strict=True):
        _require_in_time(cross, now)
        for issuer in believed:
            if issuer.subject == cross.issuer:
                _require_cross(cross, issuer, (*_RULES, lint.life_is_within_the_issuers))
                return
        if older is not None:  # signed by a root that came and went meanwhile: the older one vouches for that root
            _require_cross(cross, older, _RULES)
    raise ChainUntrustedError("No believed root signed the cross-certificate.", field="cross", next_step=_NEXT_STEP)


def _require_cross(cross: x509.Certificate, issuer: x509.Certificate, rules: tuple[lint.Rule, ...]) -> None:
    """Hold a cross-certificate against its profile and its issuer's key."""
    faults = lint.faults(cross, lint.Expectation(CertificateKind.ROOT_CROSS, "", issuer=issuer), rules)
    if faults:
        raise ChainProfileError(f"The certificate is no cross-certificate: {'; '.join(faults)}.", field="cross")
    require_signature(cross, issuer, "cross")


def _require_in_time(cross: x509.Certificate, now: int) -> None:
    if now < int(cross.not_valid_before_utc.timestamp()):
        raise ChainNotYetValidError("The cross-certificate is not valid yet.", field="cross")
    if now > int(cross.not_valid_after_utc.timestamp()):
        raise ChainExpiredError("The cross-certificate has expired.", field="cross", next_step=_NEXT_STEP)
