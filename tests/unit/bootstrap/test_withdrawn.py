"""Locked, revoked, sealed by age and extended: states of an org that follow from marks and signed files on disk."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from outpost.bootstrap.programs import Programs
from outpost.cache.marker import Marker, write_marker
from outpost.core.bundle import names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.extension import Extension
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.revocations import RevocationsDocument, RevokedOutpost, build_revocations
from outpost.core.bundle.trust import State
from outpost.paths import StatePaths
from tests.unit.bootstrap.test_programs import DAY_MS, MADE, NOW_MS, SEAL_MS, Outpost, next_set
from tests.unit.core.bundle.samples import ORG, Forge, key_id
from tests.unit.sync.enrolled import OUTPOST, Clock


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("withdrawn") / "state"
    MADE.fill(state, records=1)
    return state


@pytest.fixture
def outpost(filled: Path, tmp_path: Path) -> Outpost:
    shutil.copytree(filled, tmp_path / "state")
    return Outpost(StatePaths(tmp_path / "state"), Clock(NOW_MS))


def activate(outpost: Outpost, signed: SignedSet) -> None:
    outpost.cache.activate(outpost.write(signed))


def sealing(made: Forge) -> SignedSet:
    """A release that seals once the outpost is revoked."""
    where = names.release_path(1)
    return made.with_target(where, encode(decode(made.signed.targets[where], where) | {"on_revoked": "seal"}))


def listing(kind: str, join_sequence: int) -> Callable[[Forge], SignedSet]:
    """The same, in which this outpost is listed as revoked or locked."""
    entry = RevokedOutpost(OUTPOST, kind, join_sequence)

    def make(made: Forge) -> SignedSet:
        with_release = Forge(made.keys, sealing(made))
        return with_release.with_target(names.REVOCATIONS_PATH, build_revocations(RevocationsDocument(ORG, (entry,))))

    return make


def state(programs: Programs) -> tuple[State, str]:
    found = programs.state_of(ORG)
    return found.state, found.code


# locked


def test_a_locked_outpost_serves_nothing_and_says_so_after_a_restart(outpost: Outpost) -> None:
    write_marker(outpost.paths.org(ORG).locked, Marker(OUTPOST, "operator.lock", NOW_MS))
    programs = outpost.programs()
    assert state(programs) == (State.LOCKED, "operator.lock")
    assert not programs.state_of(ORG).state.serves
    assert (programs.orgs, programs.outpost_id(ORG)) == ((ORG,), OUTPOST)


def test_a_locked_outpost_whose_identity_is_wiped_is_still_locked(outpost: Outpost) -> None:
    write_marker(outpost.paths.org(ORG).locked, Marker(OUTPOST, "operator.lock", NOW_MS))
    shutil.rmtree(outpost.paths.org(ORG).identity)
    shutil.rmtree(outpost.folder / "cache")
    programs = outpost.programs()
    assert state(programs) == (State.LOCKED, "operator.lock")
    assert programs.program(ORG) is None


def test_a_running_process_is_locked_at_once(outpost: Outpost) -> None:
    programs = outpost.programs()
    assert programs.state_of(ORG).state.serves
    programs.lock(ORG, Marker(OUTPOST, "operator.lock", NOW_MS))
    assert state(programs) == (State.LOCKED, "operator.lock")
    assert programs.program(ORG) is None


# revoked


REVOKED: dict[str, tuple[Callable[[Forge], SignedSet], str | None, State, str]] = {
    "in good standing": (sealing, "", State.ACTIVE, ""),
    "the agent was told, the policy seals": (sealing, "outpost.revoked", State.SEALED, "outpost.revoked"),
    "the agent was told, the policy enforces": (
        lambda made: made.signed,
        "outpost.revoked",
        State.ACTIVE,
        "",
    ),
    "the set itself says so": (listing("revoked", 1), "", State.SEALED, "outpost.revoked"),
    "the set says locked": (listing("locked", 5), "", State.SEALED, "identity.locked"),
    "the set means an identity of before": (listing("locked", 0), "", State.ACTIVE, ""),
}


@pytest.mark.parametrize("sentence", REVOKED)
def test_a_withdrawn_identity(sentence: str, outpost: Outpost) -> None:
    make, told, expected, code = REVOKED[sentence]
    activate(outpost, next_set(make))
    programs = outpost.programs()
    programs.contact(ORG, NOW_MS, told)
    assert state(programs) == (expected, code)


def test_what_was_told_outlives_a_restart(outpost: Outpost) -> None:
    activate(outpost, next_set(sealing))
    write_marker(outpost.paths.org(ORG).revoked, Marker(OUTPOST, "outpost.revoked", NOW_MS))
    programs = outpost.programs()
    assert state(programs) == (State.SEALED, "outpost.revoked")
    programs.contact(ORG, NOW_MS)  # says nothing of it
    assert state(programs) == (State.SEALED, "outpost.revoked")
    programs.contact(ORG, NOW_MS, "")
    assert state(programs) == (State.ACTIVE, "")


# extensions


def extension(until_ms: int, **changes: object) -> bytes:
    made = replace(Extension(ORG, until_ms, NOW_MS + SEAL_MS - DAY_MS), **changes)  # type: ignore[arg-type]
    (key,) = MADE.keys["policy"]
    return replace(made, signatures={key_id(key): key.sign(made.payload)}).to_bytes()


def test_an_extension_keeps_age_from_sealing_and_is_noticed_while_running(outpost: Outpost) -> None:
    programs = outpost.programs()
    outpost.clock.time_ms = NOW_MS + SEAL_MS
    assert state(programs) == (State.SEALED, "bundle.seal_bound")
    outpost.paths.org(ORG).extension.write_bytes(extension(NOW_MS + SEAL_MS + 5 * DAY_MS))
    assert state(programs) == (State.SEALED, "bundle.seal_bound")  # it looks once a second
    outpost.clock.time_ms += 1000
    assert state(programs) == (State.STALE, "bundle.stale")
    assert state(outpost.programs()) == (State.STALE, "bundle.stale")
    outpost.clock.time_ms = NOW_MS + SEAL_MS + 5 * DAY_MS
    assert state(programs) == (State.SEALED, "bundle.seal_bound")


REFUSED = {
    "of another org": lambda: extension(NOW_MS + SEAL_MS + DAY_MS, org="globex"),
    "whose time is over": lambda: extension(NOW_MS + SEAL_MS),
    "longer than one may be": lambda: extension(NOW_MS + SEAL_MS + 40 * DAY_MS),
    "not signed": lambda: Extension(ORG, NOW_MS + SEAL_MS + DAY_MS, NOW_MS + SEAL_MS).to_bytes(),
    "damaged": lambda: extension(NOW_MS + SEAL_MS + DAY_MS)[:-1],
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_an_extension_on_disk_that_does_not_count(sentence: str, outpost: Outpost) -> None:
    outpost.paths.org(ORG).extension.write_bytes(REFUSED[sentence]())
    outpost.clock.time_ms = NOW_MS + SEAL_MS
    assert state(outpost.programs()) == (State.SEALED, "bundle.seal_bound")
