"""What a chain that is accepted says; whom a join token's pin names. What is refused stands in hostile_chains.py."""

import pytest

from certs import keys, verify
from certs.profiles import DAY
from certs.shell.dev import Hierarchy
from certs.spiffe import IngressIdentity, OutpostIdentity, ServerIdentity
from tests.unit.certs.forge import NOW, ORG, OUTPOST, Parts


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


def test_an_ingress_is_recognised(hierarchy: Hierarchy) -> None:
    leaf = hierarchy.ingress("edge-1", NOW)
    peer = verify.verify_ingress_chain(leaf.chain_der, hierarchy.anchors, NOW)
    assert peer.spiffe_id == IngressIdentity(hierarchy.trust_domain, "edge-1")
    assert (peer.serial, peer.not_after) == (leaf.issued.intent.serial, NOW + 90 * DAY)


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


@pytest.mark.parametrize("moment", [-(10**18), 10**18, -(2**80), 2**80])
def test_an_impossible_time_is_refused(moment: int, hierarchy: Hierarchy) -> None:
    with pytest.raises(verify.ChainError):
        verify.verify_outpost_chain(hierarchy.outpost(ORG, OUTPOST, NOW).chain_der, hierarchy.anchors, moment)


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
