"""Revocation lists: the issuer's, whole, and of this day."""

import pytest

from certs import crl
from certs.profiles import DAY
from certs.shell.dev import Hierarchy
from certs.shell.signers import random_serial
from tests.unit.certs.forge import NOW


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
