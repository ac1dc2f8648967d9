"""With customer-held policy keys, a control plane whose online keys are all stolen cannot loosen anything.

Each entry of the enumerated list, tried by a thief with all online keys: a real verifier and installer over a real
cache refuse with the listed code, no worker hears of it, and the last good set serves. The control plane itself would
not sign it either.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from certs.shell.private_files import create_private_file
from outpost.bootstrap.programs import Programs, open_cache, open_verifier
from outpost.bootstrap.world import SystemChance
from outpost.core.bundle import loosening, names
from outpost.core.bundle.loosening import LooseningError
from outpost.core.bundle.release import VerifiedSet
from outpost.core.bundle.trust import next_high_water
from outpost.core.errors import BundleError
from outpost.core.program import ModelKilledError, OrgProgram, build
from outpost.gateway import canary
from outpost.paths import StatePaths
from outpost.sync import identity as identities
from outpost.sync.install import Installer
from tests.fakes.stolen_online_keys import (
    CAPS,
    KILLED,
    LIVE,
    REVOKED,
    STABLE,
    THEFTS,
    TIGHTER,
    Thief,
    install_and_steal,
)
from tests.unit.core.bundle.samples import NOTHING, NOW_MS, ORG
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import Clock, Enrolled, offer
from tests.unit.sync.test_install import Workers, never

LATER_MS = NOW_MS + 1000
MADE = Enrolled(NOW_MS)


class Outpost:
    """State folder, cache, verifier, installer and programs of one outpost that has the set in force."""

    def __init__(self, state: Path, thief: Thief) -> None:
        self.paths = StatePaths(state)
        files = self.paths.org(ORG)
        state.mkdir(mode=0o700)
        identities.save(files.identity, MADE.identity())
        create_private_file(files.tuf_root, thief.signed.metadata["1.root.json"])
        create_private_file(self.paths.wrap_key, bytes(32))
        self.cache = open_cache(self.paths, ORG, bytes(32), SystemChance())
        self.verifier = open_verifier(self.paths, ORG)
        self.active = self.verifier.verify(thief.signed, NOTHING, NOW_MS)
        self.cache.activate(self.cache.write_idle(self.active))
        self.cache.write_high_water(next_high_water(NOTHING, self.active, NOW_MS))
        self.workers = Workers()
        self.installer = Installer(
            org=ORG,
            cache=self.cache,
            activator=self.workers,
            verify=self.verifier.verify,
            attempt=lambda verified: build(verified, shared_database().clone()),
            clock=Clock(LATER_MS),
        )

    def install(self, thief: Thief, sentence_documents: object) -> VerifiedSet:
        offered = offer(thief.with_documents(sentence_documents))  # type: ignore[arg-type]
        return asyncio.run(self.installer.install(offered, self.active, never))

    def program(self) -> OrgProgram:
        """What a worker serves that starts now."""
        programs = Programs(self.paths, bytes(32), shared_database().clone(), (Clock(LATER_MS), SystemChance()))
        assert programs.state_of(ORG).state.serves
        program = programs.program(ORG)
        assert program is not None
        return program


def serves_as_before(program: OrgProgram) -> None:
    """Every protection of the set in force holds."""
    assert program.release.version == STABLE
    assert canary.judge(program).code == ""
    assert program.keys[REVOKED.sha256].revoked
    assert program.keys[LIVE.sha256] == LIVE
    assert program.killed == KILLED
    with pytest.raises(ModelKilledError):
        program.route("gpt-4-leaky")
    provider = program.route("gpt-4o")
    assert provider is not None
    assert provider.name == "main"


@pytest.mark.parametrize("sentence", THEFTS)
def test_a_thief_of_all_online_keys_loosens_nothing(sentence: str, tmp_path: Path) -> None:
    theft = THEFTS[sentence]
    _, thief = install_and_steal(theft.caps)
    outpost = Outpost(tmp_path / "state", thief)
    before = (outpost.cache.active_slot(), outpost.cache.load_active(), outpost.cache.read_high_water())
    with pytest.raises(LooseningError) as refused:
        outpost.install(thief, theft.documents)
    assert refused.value.code == theft.code, refused.value.message
    assert refused.value.field
    assert (outpost.cache.active_slot(), outpost.cache.load_active(), outpost.cache.read_high_water()) == before
    assert outpost.workers.calls == []
    serves_as_before(outpost.program())


@pytest.mark.parametrize("sentence", THEFTS)
def test_the_control_plane_does_not_sign_it_either(sentence: str) -> None:
    theft = THEFTS[sentence]
    repository, thief = install_and_steal(theft.caps)
    with pytest.raises(LooseningError) as refused:
        repository.publish(thief.signed, theft.documents, LATER_MS)
    assert refused.value.code == theft.code


@pytest.mark.parametrize("sentence", TIGHTER)
def test_one_online_signature_is_enough_to_tighten(sentence: str, tmp_path: Path) -> None:
    repository, thief = install_and_steal()
    outpost = Outpost(tmp_path / "state", thief)
    verified = outpost.install(thief, TIGHTER[sentence])
    assert outpost.cache.load_active() == verified.signed
    assert outpost.workers.calls[-1] == "commit"
    repository.publish(thief.signed, TIGHTER[sentence], LATER_MS)


def test_the_customer_himself_may_loosen_what_his_keys_sign(tmp_path: Path) -> None:
    """Wider caps need the policy role; then the online keys may use them."""
    from controlplane.domain.releases import Draft, at_once, with_release
    from outpost.core.bundle.caps import build_caps
    from outpost.core.bundle.reading import read_documents

    repository, thief = install_and_steal()
    content = read_documents(thief.signed.targets, ORG)
    wider = Draft({names.CAPS: build_caps(replace(CAPS, groups=("nurses", "staff", "admins")))})
    changes = with_release(thief.signed.targets, content, wider, beside=False) | at_once(content, STABLE + 1)
    published = repository.publish(thief.signed, changes, LATER_MS)
    outpost = Outpost(tmp_path / "state", thief)
    verified = asyncio.run(outpost.installer.install(offer(published), outpost.active, never))
    documents = THEFTS["a key of a group that the caps do not have"].documents
    after = repository.publish(published, documents, LATER_MS + 1)
    again = asyncio.run(outpost.installer.install(offer(after), verified, never))
    assert any(key.groups == ("admins",) for key in again.content.access.keys)


def test_every_entry_of_the_list_was_tried() -> None:
    listed = {
        each.code
        for each in vars(loosening).values()
        if isinstance(each, type) and issubclass(each, LooseningError) and each is not LooseningError
    }
    assert listed == {theft.code for theft in THEFTS.values()}
    assert len(listed) == 23


def test_a_forged_policy_is_no_way_around(tmp_path: Path) -> None:
    _, thief = install_and_steal()
    outpost = Outpost(tmp_path / "state", thief)
    forged = thief.with_documents({names.release_path(STABLE): thief.signed.targets[names.release_path(STABLE)]})
    with pytest.raises(BundleError) as refused:
        asyncio.run(outpost.installer.install(offer(forged), outpost.active, never))
    assert refused.value.code == "bundle.unknown_key"
    serves_as_before(outpost.program())
