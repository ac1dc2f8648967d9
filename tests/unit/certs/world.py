"""Where hostile chains live: some control planes, and what may be said of a chain that one of their peers shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from certs import verify
from certs.shell.dev import Authority, Hierarchy, create_hierarchy
from certs.shell.signers import generate_tls_key
from certs.signer import KeySigner
from certs.verify import TrustAnchors
from tests.unit.certs.forge import NOW, ORG, OTHER_DOMAIN, OUTPOST, Parts, authority, outpost_parts, root_parts
from tests.unit.certs.surgery import Change, changed, der_of

CURRENT_DOMAIN = "outpost.internal"


@dataclass(frozen=True)
class World:
    """The control plane whose verifier is asked, and others.

    Args:
        ours: believed.
        stranger: another control plane with the same trust domain: same names, other keys.
        elsewhere: one of another trust domain.
        next: ours after a rotation of the root; its root is certified by ours.
    """

    ours: Hierarchy
    stranger: Hierarchy
    elsewhere: Hierarchy
    next: Hierarchy

    @property
    def rotating(self) -> TrustAnchors:
        """While the root rotates: both roots and all issuing CAs are known."""
        issuers = tuple(each.certificate for h in (self.ours, self.next) for each in (h.outposts, h.servers))
        return TrustAnchors(CURRENT_DOMAIN, (self.ours.root.certificate, self.next.root.certificate), issuers)


@cache
def world() -> World:
    """Made once: keys and certificates never change."""
    return World(
        ours=create_hierarchy(NOW, CURRENT_DOMAIN),
        stranger=create_hierarchy(NOW, CURRENT_DOMAIN),
        elsewhere=create_hierarchy(NOW, OTHER_DOMAIN),
        next=create_hierarchy(NOW, CURRENT_DOMAIN),
    )


Maker = Callable[[World], Sequence[bytes]]
Judge = Callable[..., verify.VerifiedPeer]


@dataclass(frozen=True)
class Shown:
    """A chain with the circumstances under which it is judged.

    Args:
        chain: as the peer shows it.
        error: with which it must be refused, if it is hostile.
        judge: what the peer pretends to be.
        anchors: whom the verifier believes.
        revoked: serial numbers.
        now: of the verifier.
    """

    chain: Maker
    error: type[verify.ChainError] = verify.ChainError
    judge: Judge = verify.verify_outpost_chain
    anchors: Callable[[World], TrustAnchors] = field(default=lambda w: w.ours.anchors)
    revoked: Callable[[World], frozenset[int]] = field(default=lambda _: frozenset())
    now: int = NOW

    def judged(self) -> verify.VerifiedPeer:
        """Ask the verifier."""
        w = world()
        return self.judge(list(self.chain(w)), self.anchors(w), self.now, self.revoked(w))


def honest(w: World) -> list[bytes]:
    """What an outpost shows."""
    return list(w.ours.outpost(ORG, OUTPOST, NOW).chain_der)


def leaf(change: Callable[[Parts, World], object]) -> Maker:
    """A leaf of our issuing CA, changed before it was built."""

    def make(w: World) -> list[bytes]:
        parts = outpost_parts(w.ours)
        change(parts, w)
        return [parts.der(), *der_of(w.ours.outposts.certificate)]

    return make


def raw_leaf(change: Change) -> Maker:
    """A leaf of our issuing CA, changed as bytes."""

    def make(w: World) -> list[bytes]:
        made = changed(outpost_parts(w.ours).build(), w.ours.outposts, change)
        return [made, *der_of(w.ours.outposts.certificate)]

    return make


def issuing(change: Callable[[Parts], object], generate: Callable[[], object] = generate_tls_key) -> Maker:
    """A good leaf below an issuing CA that our root signed, changed before it was built."""

    def make(w: World) -> list[bytes]:
        parts, made = authority(w.ours, key=generate())
        change(parts)
        ca = Authority(parts.build(), KeySigner(made))
        return [outpost_parts(w.ours, ca).der(), *der_of(ca.certificate)]

    return make


def raw_issuing(change: Change) -> Maker:
    """A good leaf below an issuing CA that our root signed, changed as bytes."""

    def make(w: World) -> list[bytes]:
        parts, key = authority(w.ours)
        ca = Authority(parts.build(), KeySigner(key))
        return [outpost_parts(w.ours, ca).der(), changed(ca.certificate, w.ours.root, change)]

    return make


def rooted(change: Callable[[Parts], object], generate: Callable[[], object] = generate_tls_key) -> Shown:
    """A good chain below a root of another shape, judged by a verifier that believes that root."""

    @cache
    def made() -> tuple[list[bytes], TrustAnchors]:
        parts, root_key = root_parts(generate())
        change(parts)
        root = Authority(parts.build(), KeySigner(root_key))
        ca_parts, ca_key = authority(world().ours, root)
        ca = Authority(ca_parts.build(), KeySigner(ca_key))
        chain = [outpost_parts(world().ours, ca).der(), *der_of(ca.certificate)]
        return chain, TrustAnchors(CURRENT_DOMAIN, (root.certificate,))

    return Shown(lambda _: made()[0], verify.ChainProfileError, anchors=lambda _: made()[1])
