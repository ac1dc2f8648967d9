"""Acceptance line 13: at least 80 hostile chains, none accepted, each refused by name; honest ones pass."""

import contextlib

import pytest

from certs import lint, spiffe, verify
from certs.errors import TrustError
from tests.unit.certs.forge import ORG, OUTPOST
from tests.unit.certs.hostile_chains import HONEST, HOSTILE, TABLES
from tests.unit.certs.world import CURRENT_DOMAIN

LEAST = 80


@pytest.mark.parametrize("sentence", HOSTILE)
def test_it_is_refused(sentence: str) -> None:
    shown = HOSTILE[sentence]
    with pytest.raises(verify.ChainError) as refusal:
        shown.judged()
    assert type(refusal.value) is shown.error, refusal.value.message
    assert refusal.value.code.startswith("chain.")
    assert refusal.value.fatal
    assert refusal.value.message


@pytest.mark.parametrize("sentence", HONEST)
def test_it_is_accepted(sentence: str) -> None:
    peer = HONEST[sentence].judged()
    identities = {
        verify.VerifiedOutpost: spiffe.OutpostIdentity(CURRENT_DOMAIN, ORG, OUTPOST),
        verify.VerifiedServer: spiffe.ServerIdentity(CURRENT_DOMAIN),
    }
    if isinstance(peer, verify.VerifiedIngress):
        assert peer.spiffe_id.trust_domain == CURRENT_DOMAIN
    else:
        assert peer.spiffe_id == identities[type(peer)]


def test_there_are_enough_and_none_twice() -> None:
    assert len(HOSTILE) == sum(len(table) for table in TABLES) >= LEAST
    assert not HOSTILE.keys() & HONEST.keys()


def test_each_code_of_a_chain_has_its_cases() -> None:
    """A table that met one rule only would pass with any number of rows."""
    wanted = {
        verify.ChainFormatError,
        verify.ChainUntrustedError,
        verify.ChainExpiredError,
        verify.ChainNotYetValidError,
        verify.ChainDepthError,
        verify.ChainProfileError,
        verify.ChainNameError,
        verify.ChainRevokedError,
    }
    assert {shown.error for shown in HOSTILE.values()} == wanted


def accepted() -> list[str]:
    """The hostile chains that pass now."""
    found = []
    for sentence, shown in HOSTILE.items():
        with contextlib.suppress(TrustError):
            shown.judged()
            found.append(sentence)
    return found


@pytest.mark.parametrize("rule", [rule for rule in lint.PEER_RULES if rule is not lint.version_is_3])
def test_without_one_rule_a_hostile_chain_passes(rule: lint.Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the table would notice if the rule were lost. (OpenSSL refuses extensions of version 1 by itself.)"""
    monkeypatch.setattr(lint, "PEER_RULES", tuple(each for each in lint.PEER_RULES if each is not rule))
    assert accepted()
