"""Programs of a worker: what is loaded, what seals, when a set is swapped, and how states follow from the clock."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from controlplane.services.defaults import default_documents, default_provider
from outpost.bootstrap.programs import Programs, UnknownOrgError, load_verified, open_cache, open_verifier
from outpost.bootstrap.world import SystemChance
from outpost.cache.slots import SlotCache
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.trust import CLOCK_TOLERANCE_MS, OFFLINE_AFTER_MS, State, next_high_water
from outpost.core.errors import OutpostError
from outpost.core.program import OrgProgram, SelfTestError
from outpost.paths import StatePaths
from outpost.sync import tuf
from outpost.sync.identity import IdentityUnreadableError
from tests.unit.core.bundle.samples import AUDIENCE, ORG, Forge, forge, repository
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import NOTHING, OUTPOST, Clock, Enrolled

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000
SEAL_MS = 7 * DAY_MS  # of the first configuration
MADE = Enrolled(NOW_MS)


@dataclass
class Outpost:
    """A state folder with one configuration, and the programs over it."""

    paths: StatePaths
    clock: Clock

    def programs(self) -> Programs:
        return Programs(self.paths, self.key, shared_database().clone(), (self.clock, SystemChance()))

    @property
    def key(self) -> bytes:
        return self.paths.wrap_key.read_bytes()

    @property
    def folder(self) -> Path:
        return self.paths.org(ORG).folder

    @property
    def cache(self) -> SlotCache:
        return open_cache(self.paths, ORG, self.key, SystemChance())

    def write(self, signed: SignedSet) -> str:
        """A next set in the idle slot."""
        verified = tuf.verify(signed.metadata["1.root.json"], signed, NOTHING, self.clock.now_ms(), AUDIENCE)
        return self.cache.write_idle(verified)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("programs") / "state"
    MADE.fill(state, records=1)
    return state


@pytest.fixture
def outpost(filled: Path, tmp_path: Path) -> Outpost:
    shutil.copytree(filled, tmp_path / "state")
    return Outpost(StatePaths(tmp_path / "state"), Clock(NOW_MS))


def next_set(change: Callable[[Forge], SignedSet] = lambda made: made.signed) -> SignedSet:
    """The set that follows, with the first configuration's documents."""
    documents = default_documents(ORG, [default_provider("https://api.example.com/v2", "main-key")])
    made = Forge(MADE.keys, repository(MADE.keys).create(documents, NOW_MS))
    return change(made)


def program_of(programs: Programs) -> OrgProgram:
    program = programs.program(ORG)
    assert program is not None
    return program


def url(programs: Programs) -> str:
    return program_of(programs).providers[0].base_url


# loading


def test_the_active_slot_is_loaded_and_serves(outpost: Outpost) -> None:
    programs = outpost.programs()
    assert (programs.orgs, programs.outpost_id(ORG)) == ((ORG,), OUTPOST)
    assert program_of(programs).revision == "1.1"
    assert programs.state_of(ORG).state.serves


def test_before_the_first_configuration_an_org_is_enrolled_and_has_no_program(outpost: Outpost) -> None:
    shutil.rmtree(outpost.folder / "cache")
    (outpost.folder / "high-water.json").unlink()
    programs = outpost.programs()
    assert programs.program(ORG) is None
    assert (programs.state_of(ORG).state, programs.state_of(ORG).code) == (State.ENROLLED, "bundle.none")


def test_an_org_that_nobody_enrolled_is_unregistered_and_refused(outpost: Outpost) -> None:
    programs = outpost.programs()
    assert programs.program("globex") is None
    assert programs.state_of("globex").state is State.UNREGISTERED
    programs.contact("globex", NOW_MS)  # the agent may know it already
    with pytest.raises(UnknownOrgError):
        programs.prepare("globex", "a")
    with pytest.raises(UnknownOrgError):
        programs.commit("globex")


def _active(folder: Path) -> Path:
    return folder / "cache" / (folder / "cache" / "active").read_text().strip()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _raise_high_water(folder: Path) -> None:
    path = folder / "high-water.json"
    document = decode(path.read_bytes(), "test")
    document["body"]["versions"]["snapshot"] = 99  # type: ignore[index]
    path.write_bytes(encode(document))


TAMPERED: dict[str, tuple[Callable[[Outpost], object], str]] = {
    "a bit of the slot": (lambda o: _flip(_active(o.folder)), "cache.tampered"),
    "the slot is gone": (lambda o: _active(o.folder).unlink(), "cache.tampered"),
    "the pointer": (lambda o: (o.folder / "cache" / "active").write_text("slot-x\n"), "cache.pointer"),
    "the high water": (lambda o: _raise_high_water(o.folder), "cache.high_water"),
    "the high water is gone": (lambda o: (o.folder / "high-water.json").unlink(), "cache.high_water"),
    "the wrapping key": (lambda o: o.paths.wrap_key.write_bytes(bytes(32)), "cache.other_wrapping_key"),
    "the enrolled root": (lambda o: (o.folder / "root.json").write_bytes(forge().root), "bundle.root_mismatch"),
    "the enrolled root is no metadata": (lambda o: (o.folder / "root.json").write_bytes(b"{}"), "bundle.malformed"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_org_is_sealed_by_name_when_somebody_altered(what: str, outpost: Outpost) -> None:
    tamper, code = TAMPERED[what]
    tamper(outpost)
    programs = outpost.programs()
    assert (programs.state_of(ORG).state, programs.state_of(ORG).code) == (State.SEALED, code)
    assert programs.program(ORG) is None
    programs.contact(ORG, NOW_MS)
    assert programs.state_of(ORG).state is State.SEALED


def test_without_the_enrolled_root_nothing_is_believed(outpost: Outpost) -> None:
    (outpost.folder / "root.json").unlink()
    programs = outpost.programs()
    assert (programs.state_of(ORG).state, programs.state_of(ORG).code) == (State.SEALED, "identity.unreadable")
    assert programs.program(ORG) is None
    with pytest.raises(IdentityUnreadableError):
        open_verifier(outpost.paths, ORG)


def test_what_is_altered_behind_a_running_process_seals_at_the_next_load_and_a_fresh_set_heals(
    outpost: Outpost,
) -> None:
    programs = outpost.programs()
    _flip(_active(outpost.folder))
    assert programs.state_of(ORG).state.serves  # what is in memory was verified
    programs.load(ORG)
    assert programs.state_of(ORG).code == "cache.tampered"
    programs.prepare(ORG, outpost.write(next_set()))
    programs.commit(ORG)
    assert programs.state_of(ORG).state.serves


# the swap


def test_a_prepared_set_counts_at_the_commit_and_running_requests_keep_theirs(outpost: Outpost) -> None:
    programs = outpost.programs()
    kept = program_of(programs)
    programs.prepare(ORG, outpost.write(next_set()))
    assert program_of(programs) is kept
    programs.commit(ORG)
    assert url(programs) == "https://api.example.com/v2"
    assert kept.providers[0].base_url == "https://api.example.com/v1"


def test_a_commit_without_a_prepare_loads_what_the_pointer_names(outpost: Outpost) -> None:
    programs = outpost.programs()
    programs.commit(ORG)
    assert url(programs) == "https://api.example.com/v1"
    outpost.cache.activate(outpost.write(next_set()))
    programs.commit(ORG)
    assert url(programs) == "https://api.example.com/v2"


def test_a_set_that_was_prepared_and_not_committed_gives_way_to_the_next(outpost: Outpost) -> None:
    programs = outpost.programs()
    programs.prepare(ORG, outpost.write(next_set()))
    programs.prepare(ORG, outpost.write(MADE.signed()))
    programs.commit(ORG)
    assert url(programs) == "https://api.example.com/v1"


def _blind(made: Forge) -> SignedSet:
    """A release whose self-test cannot pass, in a set that is signed well."""
    release = made.signed.targets["policy/release-1.json"].replace(b"my card is 4111", b"my card is 4112")
    return made.with_target("policy/release-1.json", release)


def test_a_set_that_fails_its_own_test_is_refused_and_the_active_one_serves(outpost: Outpost) -> None:
    programs = outpost.programs()
    slot = outpost.write(next_set(_blind))
    with pytest.raises(SelfTestError):
        programs.prepare(ORG, slot)
    programs.commit(ORG)
    assert url(programs) == "https://api.example.com/v1"


def _torn(outpost: Outpost) -> str:
    slot = outpost.write(next_set())
    path = outpost.folder / "cache" / f"slot-{slot}"
    path.write_bytes(path.read_bytes()[:-1])
    return slot


REFUSED: dict[str, tuple[Callable[[Outpost], str], str]] = {
    "a slot that was never written": (lambda o: "b", "cache.missing"),
    "a slot that does not exist": (lambda o: "../a", "cache.missing"),
    "a torn slot": (_torn, "cache.tampered"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_worker_refuses(what: str, outpost: Outpost) -> None:
    write, code = REFUSED[what]
    programs = outpost.programs()
    slot = write(outpost)
    with pytest.raises(OutpostError) as refused:
        programs.prepare(ORG, slot)
    assert refused.value.code == code
    assert programs.state_of(ORG).state.serves


def test_an_older_set_is_no_way_back(outpost: Outpost) -> None:
    """Both sets are signed; the pointer of a stolen disk names the older one."""
    cache = outpost.cache
    slot = outpost.write(next_set())
    cache.activate(slot)
    high_water = cache.read_high_water()
    versions = {role: version + 1 for role, version in high_water.versions.items()}
    cache.write_high_water(replace(high_water, versions=versions))
    programs = outpost.programs()
    assert programs.state_of(ORG).code == "bundle.rollback"


# states over time


MOMENTS: dict[str, tuple[int, int | None, State, str]] = {
    "nobody was reached yet": (0, None, State.OFFLINE, "control.no_contact"),
    "in contact": (0, 0, State.ACTIVE, ""),
    "just before the bound of silence": (OFFLINE_AFTER_MS - 1, 0, State.ACTIVE, ""),
    "at the bound of silence": (OFFLINE_AFTER_MS, 0, State.OFFLINE, "control.no_contact"),
    "just before the timestamp ends": (DAY_MS - 1, DAY_MS - 1, State.ACTIVE, ""),
    "the timestamp ends": (DAY_MS, DAY_MS, State.STALE, "bundle.stale"),
    "just before the outage's bound": (SEAL_MS - 1, 0, State.STALE, "bundle.stale"),
    "the outage's bound": (SEAL_MS, SEAL_MS, State.SEALED, "bundle.seal_bound"),
    "the clock is a little behind": (-CLOCK_TOLERANCE_MS, -CLOCK_TOLERANCE_MS, State.ACTIVE, ""),
    "the clock was turned back": (-CLOCK_TOLERANCE_MS - 1, -CLOCK_TOLERANCE_MS - 1, State.SEALED, "clock.below_floor"),
}


@pytest.mark.parametrize("what", MOMENTS)
def test_the_state_follows_from_signed_facts_and_the_clock(what: str, outpost: Outpost) -> None:
    passed_ms, contact_ms, state, code = MOMENTS[what]
    programs = outpost.programs()
    if contact_ms is not None:
        programs.contact(ORG, NOW_MS + contact_ms)
    outpost.clock.time_ms = NOW_MS + passed_ms
    assert (programs.state_of(ORG).state, programs.state_of(ORG).code) == (state, code)


def test_contact_brings_an_org_back(outpost: Outpost) -> None:
    programs = outpost.programs()
    programs.contact(ORG, NOW_MS)
    outpost.clock.time_ms = NOW_MS + OFFLINE_AFTER_MS
    assert programs.state_of(ORG).state is State.OFFLINE
    programs.contact(ORG, outpost.clock.now_ms())
    assert programs.state_of(ORG).state is State.ACTIVE


def test_a_failed_canary_seals_until_one_passes(outpost: Outpost) -> None:
    programs = outpost.programs()
    programs.inspection(ORG, "canary.missed")
    assert (programs.state_of(ORG).state, programs.state_of(ORG).code) == (State.SEALED, "canary.missed")
    programs.inspection(ORG, "")
    assert programs.state_of(ORG).state.serves


# the agent's start


def test_a_high_water_that_a_crash_left_behind_is_lifted(outpost: Outpost) -> None:
    cache = outpost.cache
    cache.write_high_water(NOTHING)
    verified = load_verified(open_verifier(outpost.paths, ORG), cache, NOW_MS)
    assert verified is not None
    assert cache.read_high_water() == next_high_water(NOTHING, verified, NOW_MS)


@pytest.mark.parametrize("what", TAMPERED)
def test_the_agent_starts_with_nothing_when_somebody_altered(what: str, outpost: Outpost) -> None:
    TAMPERED[what][0](outpost)
    assert load_verified(open_verifier(outpost.paths, ORG), outpost.cache, NOW_MS) is None
