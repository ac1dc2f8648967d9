"""Revocation lists: the issuer's, whole, and of this day."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certs import crl
from certs.profiles import DAY, YEAR
from certs.shell.dev import Hierarchy
from certs.shell.signers import random_serial
from tests.unit.certs.forge import NOW

Builder = x509.CertificateRevocationListBuilder


def test_a_list_reads_back(hierarchy: Hierarchy) -> None:
    revoked = {random_serial(): NOW - 10, random_serial(): NOW}
    der = crl.build_list(hierarchy.outposts.certificate, hierarchy.outposts.signer, revoked, 7, NOW)
    found = crl.read_list(der, hierarchy.outposts.certificate, NOW)
    assert found == crl.RevocationList(frozenset(revoked), 7, NOW, NOW + DAY)


def test_an_empty_list_reads_back(hierarchy: Hierarchy) -> None:
    der = crl.build_list(hierarchy.outposts.certificate, hierarchy.outposts.signer, {}, 1, NOW)
    assert crl.read_list(der, hierarchy.outposts.certificate, NOW + DAY).serials == frozenset()


def test_a_list_is_refused(hierarchy: Hierarchy, stranger: Hierarchy) -> None:
    issuer = hierarchy.outposts.certificate
    der = crl.build_list(issuer, hierarchy.outposts.signer, {random_serial(): NOW}, 1, NOW)
    table = {
        "another CA's": (der, hierarchy.servers.certificate, NOW, crl.RevocationListSignatureError),
        "another control plane's": (der, stranger.outposts.certificate, NOW, crl.RevocationListSignatureError),
        "changed": (der[:-1] + bytes([der[-1] ^ 1]), issuer, NOW, crl.RevocationListSignatureError),
        "from the future": (der, issuer, NOW - 1, crl.RevocationListExpiredError),
        "too old": (der, issuer, NOW + DAY + 1, crl.RevocationListExpiredError),
        "cut": (der[:-1], issuer, NOW, crl.RevocationListError),
        "too large": (bytes(crl.MAX_LIST_BYTES + 1), issuer, NOW, crl.RevocationListError),
    }
    for data, ca, moment, error in table.values():
        with pytest.raises(error):
            crl.read_list(data, ca, moment)


def test_a_list_cannot_be_built(hierarchy: Hierarchy) -> None:
    ca = hierarchy.outposts
    with pytest.raises(crl.RevocationListError):
        crl.build_list(ca.certificate, hierarchy.servers.signer, {}, 1, NOW)
    for revoked, number, moment in (({-1: NOW}, 1, NOW), ({5: -(10**12)}, 1, NOW), ({}, -1, NOW), ({}, 1, 10**18)):
        with pytest.raises(crl.RevocationListError):
            crl.build_list(ca.certificate, ca.signer, revoked, number, moment)


def test_a_roots_list_lives_for_a_year(hierarchy: Hierarchy) -> None:
    root = hierarchy.root
    der = crl.build_list(root.certificate, root.signer, {hierarchy.outposts.certificate.serial_number: NOW}, 1, NOW)
    found = crl.read_list(der, root.certificate, NOW + YEAR)
    assert found.serials == {hierarchy.outposts.certificate.serial_number}
    with pytest.raises(crl.RevocationListExpiredError):
        crl.read_list(der, root.certificate, NOW + YEAR + 1)


def test_a_list_of_the_largest_fleet_is_built_and_one_beyond_the_bound_is_not(hierarchy: Hierarchy) -> None:
    ca = hierarchy.outposts
    most = 1 << 158
    revoked = {most + number: NOW for number in range(100_000)}
    der = crl.build_list(ca.certificate, ca.signer, revoked, 1, NOW)
    assert len(der) <= crl.MAX_LIST_BYTES
    assert crl.read_list(der, ca.certificate, NOW).serials == frozenset(revoked)
    revoked |= {most + number: NOW for number in range(100_000, 110_000)}
    with pytest.raises(crl.RevocationListError):
        crl.build_list(ca.certificate, ca.signer, revoked, 1, NOW)


def test_numbers_only_rise() -> None:
    first = crl.next_number(0, NOW)
    second = crl.next_number(first, NOW)  # twice in one second
    assert (first, second) == (NOW, NOW + 1)
    assert crl.next_number(second, NOW - DAY) == second + 1  # a clock that went back
    assert crl.next_number(0, NOW + 60) > second  # a state that was restored from before all lists


def made(h: Hierarchy, change: Callable[[Builder], Builder], hash_: hashes.HashAlgorithm | None = None) -> bytes:
    """A list of our issuing CA, of a shape that ``build_list`` does not make."""
    moment = datetime.fromtimestamp(NOW, UTC)
    builder = Builder().issuer_name(h.outposts.certificate.subject).last_update(moment).next_update(moment)
    builder = change(builder.add_extension(x509.CRLNumber(1), critical=False))
    return builder.sign(h.outposts.signer._private_key, hash_ or hashes.SHA256()).public_bytes(Encoding.DER)


def partial(builder: Builder) -> Builder:
    point = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    return builder.add_extension(point, critical=True)


def with_issuer(builder: Builder) -> Builder:
    entry = x509.RevokedCertificateBuilder(5, datetime.fromtimestamp(NOW, UTC))
    issuer = x509.CertificateIssuer([x509.DNSName("elsewhere.example")])
    return builder.add_revoked_certificate(entry.add_extension(issuer, critical=True).build())


SHAPES: dict[str, tuple[Callable[[Hierarchy], bytes], type[crl.RevocationListError]]] = {
    "of some certificates only": (lambda h: made(h, partial), crl.RevocationListError),
    "of changes only": (
        lambda h: made(h, lambda b: b.add_extension(x509.DeltaCRLIndicator(1), critical=True)),
        crl.RevocationListError,
    ),
    "with an entry for another issuer": (lambda h: made(h, with_issuer), crl.RevocationListError),
    "signed with SHA-384": (
        lambda h: made(h, lambda b: b, hashes.SHA384()),
        crl.RevocationListSignatureError,
    ),
}


def test_a_list_made_by_hand_is_read(hierarchy: Hierarchy) -> None:
    """Otherwise the refusals below would prove nothing."""
    assert crl.read_list(made(hierarchy, lambda b: b), hierarchy.outposts.certificate, NOW).number == 1


@pytest.mark.parametrize("case", SHAPES)
def test_no_list_is_read(case: str, hierarchy: Hierarchy) -> None:
    make, error = SHAPES[case]
    with pytest.raises(error):
        crl.read_list(make(hierarchy), hierarchy.outposts.certificate, NOW)
