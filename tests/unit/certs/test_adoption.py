"""A new root is adopted from the hands of an old one that is believed, and from nobody else's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
from cryptography import x509

from certs import adoption, keys, verify
from certs.profiles import DAY, YEAR, CertificateKind, key_usage_of
from certs.shell.dev import Hierarchy, create_hierarchy
from certs.shell.signers import generate_tls_key
from tests.unit.certs.forge import NOW, Parts, rekeyed
from tests.unit.certs.surgery import der_of
from tests.unit.certs.world import CURRENT_DOMAIN, World, world

LATER = NOW + 30 * DAY


@dataclass(frozen=True)
class Generations:
    """Three roots, one after the other, and what each says of the next."""

    first: Hierarchy
    second: Hierarchy
    third: Hierarchy

    @property
    def second_by_first(self) -> x509.Certificate:
        return self.second.cross(self.first, NOW)

    @property
    def third_by_second(self) -> x509.Certificate:
        return self.third.cross(self.second, LATER)

    def server(self, h: Hierarchy, *crosses: x509.Certificate, now: int = NOW) -> list[bytes]:
        return [*h.server(now).chain_der, *der_of(*crosses)]


@cache
def generations() -> Generations:
    return Generations(create_hierarchy(NOW), create_hierarchy(NOW), create_hierarchy(LATER))


def adopt(chain: Sequence[bytes], *believed: Hierarchy, now: int = NOW) -> tuple[x509.Certificate, ...]:
    return adoption.adopt_roots(chain, [h.root.certificate for h in believed], now, CURRENT_DOMAIN)


def roots(*hierarchies: Hierarchy) -> tuple[x509.Certificate, ...]:
    return tuple(h.root.certificate for h in hierarchies)


def test_an_outpost_that_slept_through_a_rotation_adopts_the_new_root() -> None:
    g = generations()
    chain = g.server(g.second, g.second_by_first)
    adopted = adopt(chain, g.first)
    assert adopted == roots(g.first, g.second)
    verify.verify_server_chain(chain, verify.TrustAnchors(CURRENT_DOMAIN, adopted), NOW)
    with pytest.raises(verify.ChainError):  # and could not have believed it before
        verify.verify_server_chain(chain, g.first.anchors, NOW)


def test_a_root_that_is_believed_already_changes_nothing() -> None:
    g = generations()
    for believed in ((g.first,), (g.first, g.second)):
        assert adopt(g.server(g.first), *believed) == roots(*believed)
    assert adopt(g.server(g.second, g.second_by_first), g.first, g.second) == roots(g.first, g.second)


def test_an_outpost_that_slept_through_two_rotations_adopts_the_newest_root() -> None:
    g = generations()
    chain = g.server(g.third, g.third_by_second, g.second_by_first, now=LATER)
    assert adopt(chain, g.first, now=LATER) == roots(g.first, g.third)
    assert adopt(chain, g.second, now=LATER) == roots(g.second, g.third)
    assert adopt(chain, g.first, g.second, now=LATER) == roots(g.first, g.second, g.third)


def test_two_rotations_one_after_the_other() -> None:
    g = generations()
    after_one = adopt(g.server(g.second, g.second_by_first), g.first)
    after_two = adoption.adopt_roots(g.server(g.third, g.third_by_second, now=LATER), after_one, LATER, CURRENT_DOMAIN)
    assert after_two == roots(g.first, g.second, g.third)


def test_a_root_that_has_expired_is_dropped() -> None:
    old = create_hierarchy(NOW - 10 * YEAR + DAY)  # expires tomorrow
    g = generations()
    cross = g.second.cross(old, NOW, lifetime_seconds=3600)
    assert adopt(g.server(g.second, cross), old) == roots(old, g.second)
    chain = g.server(g.second, g.second_by_first)
    assert adopt(chain, old, g.first, now=NOW + 2 * DAY) == roots(g.first, g.second)


def forged(change: Callable[[Parts, World], object], signer: str = "ours") -> Callable[[World], x509.Certificate]:
    """A cross-certificate of the next root by ours, changed before it was signed."""

    def make(w: World) -> x509.Certificate:
        root, old = w.next.root.certificate, getattr(w, signer).root
        parts = Parts(old, public_key=root.public_key(), subject=root.subject, not_before=NOW - 3600)
        parts.put(x509.BasicConstraints(True, 1), critical=True).put(key_usage_of(is_ca=True), critical=True)
        parts.put(x509.SubjectKeyIdentifier.from_public_key(root.public_key()))
        parts.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(old.signer.public_key()))
        change(parts, w)
        return parts.build()

    return make


def crossed(make: Callable[[World], x509.Certificate]) -> Callable[[World], list[bytes]]:
    return lambda w: [*w.next.server(NOW).chain_der, *der_of(make(w))]


def test_a_cross_certificate_made_by_hand_is_good() -> None:
    """Otherwise the refusals below would prove nothing."""
    w = world()
    assert adopt(crossed(forged(lambda *_: None))(w), w.ours) == roots(w.ours, w.next)


def other_servers_root(w: World) -> list[bytes]:
    """The stranger's server, with a good cross-certificate of our next root."""
    return [*w.stranger.server(NOW).chain_der, *der_of(w.next.cross(w.ours, NOW))]


def next_root_above_strangers_server(w: World) -> list[bytes]:
    return [*w.stranger.server(NOW).chain_der[:2], *der_of(w.next.root.certificate, w.next.cross(w.ours, NOW))]


def wrapped_root(w: World) -> list[bytes]:
    """The next root's name and key in a certificate that its key did not sign."""
    return [*w.next.server(NOW).chain_der[:2], *der_of(w.next.cross(w.ours, NOW), w.next.cross(w.ours, NOW))]


def strangers_hop(w: World) -> list[bytes]:
    """Two cross-certificates, of which only the second is our root's."""
    return [
        *w.stranger.server(NOW).chain_der,
        *der_of(w.stranger.cross(w.elsewhere, NOW), w.next.cross(w.ours, NOW)),
    ]


def three_hops(w: World) -> list[bytes]:
    return [*crossed(forged(lambda *_: None))(w), *der_of(w.ours.root.certificate, w.ours.root.certificate)]


def elsewhere(w: World) -> list[bytes]:
    return [*w.elsewhere.server(NOW).chain_der, *der_of(w.elsewhere.cross(w.ours, NOW))]


def outposts_chain(w: World) -> list[bytes]:
    leaf = w.next.outpost("acme", "op-0123456789abcdef", NOW).chain_der
    return [*leaf, *der_of(w.next.root.certificate, w.next.cross(w.ours, NOW))]


BAD: dict[str, tuple[Callable[[World], list[bytes]], type[verify.ChainError]]] = {
    "nothing": (lambda _: [], verify.ChainFormatError),
    "without a root": (lambda w: list(w.next.server(NOW).chain_der[:2]), verify.ChainDepthError),
    "without a cross-certificate": (lambda w: list(w.next.server(NOW).chain_der), verify.ChainDepthError),
    "of six certificates": (three_hops, verify.ChainFormatError),
    "with a byte behind the cross-certificate": (
        lambda w: [each + b"\x00" if i == 3 else each for i, each in enumerate(elsewhere(w))],
        verify.ChainFormatError,
    ),
    "of a stranger, with a cross-certificate of its own": (
        lambda w: [*w.stranger.server(NOW).chain_der, *der_of(w.stranger.cross(w.next, NOW))],
        verify.ChainUntrustedError,
    ),
    "of a stranger, with a cross-certificate that was ours": (other_servers_root, adoption.CrossMismatchError),
    "of a stranger below the next root's certificate": (next_root_above_strangers_server, verify.ChainUntrustedError),
    "of another trust domain": (elsewhere, verify.ChainError),
    "of an outpost": (outposts_chain, verify.ChainProfileError),
    "whose root did not sign itself": (wrapped_root, verify.ChainProfileError),
    "whose second cross-certificate does not follow": (strangers_hop, verify.ChainProfileError),
    "with the old root in place of the cross-certificate": (
        lambda w: [*w.next.server(NOW).chain_der, *der_of(w.ours.root.certificate)],
        adoption.CrossMismatchError,
    ),
    "with the new root in place of the cross-certificate": (
        lambda w: [*w.next.server(NOW).chain_der, *der_of(w.next.root.certificate)],
        verify.ChainUntrustedError,
    ),
    "with an issuing CA in place of the cross-certificate": (
        lambda w: [*w.next.server(NOW).chain_der, *der_of(w.ours.servers.certificate)],
        adoption.CrossMismatchError,
    ),
    "with its root signed by the old one": (
        lambda w: [*w.next.server(NOW).chain_der[:2], *der_of(w.next.cross(w.ours, NOW))],
        verify.ChainProfileError,
    ),
    "with a cross-certificate of another name": (
        crossed(forged(lambda p, w: setattr(p, "subject", w.stranger.root.certificate.subject))),
        adoption.CrossMismatchError,
    ),
    "with a cross-certificate of another key": (
        crossed(forged(lambda p, _: rekeyed(p, generate_tls_key().public_key()))),
        adoption.CrossMismatchError,
    ),
    "with a cross-certificate in our root's name, signed by another key": (
        crossed(
            forged(
                lambda p, w: (
                    setattr(p, "issuer_name", w.ours.root.certificate.subject),
                    p.put(x509.AuthorityKeyIdentifier.from_issuer_public_key(w.ours.root.signer.public_key())),
                ),
                signer="stranger",
            )
        ),
        verify.ChainUntrustedError,
    ),
    "with a cross-certificate that names another key as its signer": (
        crossed(
            forged(
                lambda p, w: p.put(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(w.stranger.root.signer.public_key())
                )
            )
        ),
        verify.ChainProfileError,
    ),
    "with a cross-certificate that has expired": (
        crossed(forged(lambda p, _: setattr(p, "not_after", NOW - 1))),
        verify.ChainExpiredError,
    ),
    "with a cross-certificate that is not valid yet": (
        crossed(forged(lambda p, _: setattr(p, "not_before", NOW + 1))),
        verify.ChainNotYetValidError,
    ),
    "with a cross-certificate that lives longer than any": (
        crossed(forged(lambda p, _: setattr(p, "not_after", NOW + 2 * YEAR + DAY))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate that is older than the old root": (
        crossed(forged(lambda p, _: setattr(p, "not_before", NOW - 7200))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate that is no CA": (
        crossed(forged(lambda p, _: p.put(x509.BasicConstraints(False, None), critical=True))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate without path length": (
        crossed(forged(lambda p, _: p.put(x509.BasicConstraints(True, None), critical=True))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate that may not sign": (
        crossed(forged(lambda p, _: p.put(key_usage_of(is_ca=False), critical=True))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate for clients": (
        crossed(forged(lambda p, _: p.purposes(x509.ExtendedKeyUsageOID.CLIENT_AUTH))),
        verify.ChainProfileError,
    ),
    "with a cross-certificate with a critical policy": (
        crossed(forged(lambda p, _: p.put(x509.PolicyConstraints(0, None), critical=True))),
        verify.ChainProfileError,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_no_root_is_adopted_from_a_chain(case: str) -> None:
    make, error = BAD[case]
    w = world()
    with pytest.raises(error) as refusal:
        adopt(make(w), w.ours)
    assert refusal.value.code.startswith("chain.")
    assert refusal.value.fatal


def test_no_root_is_adopted_without_one_that_is_believed_and_valid() -> None:
    w, g = world(), generations()
    chain = g.server(g.second, g.second_by_first)
    for believed, error in (
        ((), verify.ChainUntrustedError),
        ((w.stranger,), verify.ChainUntrustedError),
        ((g.first,) * 9, verify.ChainUntrustedError),
        ((create_hierarchy(NOW - 11 * YEAR),), verify.ChainExpiredError),
        ((create_hierarchy(NOW + DAY),), verify.ChainExpiredError),
    ):
        with pytest.raises(error):
            adopt(chain, *believed)


def test_the_number_of_believed_roots_is_bounded() -> None:
    g = generations()
    strangers = [create_hierarchy(NOW) for _ in range(verify.MAX_TRUST_ANCHORS - 1)]
    chain = g.server(g.second, g.second_by_first)
    assert len(adopt(chain, *strangers[1:], g.first)) == verify.MAX_TRUST_ANCHORS
    with pytest.raises(adoption.TrustBundleFullError):
        adopt(chain, *strangers, g.first)


@pytest.mark.parametrize("moment", [-(10**18), 10**18, 2**80])
def test_an_impossible_time_adopts_nothing(moment: int) -> None:
    g = generations()
    with pytest.raises(verify.ChainError):
        adopt(g.server(g.second, g.second_by_first), g.first, now=moment)


def test_a_cross_certificate_is_issued_by_the_way_of_all_certificates() -> None:
    g = generations()
    cross = g.second_by_first
    assert cross.serial_number.bit_length() == 159
    assert int(cross.not_valid_after_utc.timestamp()) == NOW + YEAR
    assert CertificateKind.ROOT_CROSS in set(CertificateKind)


def test_a_trust_bundle_is_roots_and_nothing_else() -> None:
    w = world()
    both = der_of(w.ours.root.certificate, w.next.root.certificate)
    assert adoption.read_trust_bundle(both) == roots(w.ours, w.next)
    table = {
        "empty": ([], verify.ChainFormatError),
        "too long": (both[:1] * 9, verify.ChainFormatError),
        "rubbish": ([b"\x30\x00"], verify.ChainFormatError),
        "an issuing CA": ([*both, *der_of(w.ours.servers.certificate)], verify.ChainProfileError),
        "a cross-certificate": (der_of(w.next.cross(w.ours, NOW)), verify.ChainProfileError),
        "a leaf": (list(w.ours.server(NOW).chain_der[:1]), verify.ChainProfileError),
        "a root with a changed signature": ([both[0][:-1] + bytes([both[0][-1] ^ 1])], verify.ChainUntrustedError),
    }
    for bundle, error in table.values():
        with pytest.raises(error):
            adoption.read_trust_bundle(bundle)


def test_equal_sets_of_roots_have_one_digest() -> None:
    first, second, third = roots(*(getattr(generations(), name) for name in ("first", "second", "third")))
    digest = adoption.trust_bundle_digest
    assert len(digest([first])) == 32
    assert digest([first, second]) == digest([second, first]) == digest((first, second, first))
    assert len({digest(each) for each in ([first], [second], [first, second], [first, second, third], [])}) == 5
    again = keys.certificates_from_pem(keys.certificates_pem([second, first]))
    assert digest(again) == digest([first, second])
