"""SIGKILL at every step of every write: the last good set stands, and the next installation works."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outpost.cache.durable import OVERWRITE_STEPS, STEPS
from outpost.core.bundle.release import HighWater, VerifiedSet
from outpost.core.bundle.trust import next_high_water
from outpost.sync.tuf import reverify, verify
from tests.unit.cache.conftest import OpenCache
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, NOW_MS, ORG, Forge, repository, update

REPOSITORY_ROOT = Path(__file__).parents[3]
LATER = [step for step in STEPS if step != "sync-folder"]
IN_PLACE = [step for step in OVERWRITE_STEPS if step != "sync-folder"]
POINTS = [
    *(f"slot-b:{step}" for step in OVERWRITE_STEPS),
    *(f"active:{step}" for step in IN_PLACE),
    *(f"high-water.json:{step}" for step in LATER),
]
SWITCHED = ["active:sync", "active:done", *(p for p in POINTS if p.startswith("high-water"))]
FIRST_POINTS = [
    *(f"high-water.json:{step}" for step in STEPS),
    *(f"slot-a:{step}" for step in OVERWRITE_STEPS),
    *(f"active:{step}" for step in STEPS),
]


def install(cache_of: OpenCache, verified: VerifiedSet) -> None:
    cache = cache_of()
    high_water = cache.read_high_water()
    cache.activate(cache.write_idle(verified))
    cache.write_high_water(next_high_water(high_water, verified, NOW_MS))


@pytest.mark.parametrize("point", POINTS)
def test_death_at_any_step_leaves_a_whole_set(point: str, open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    install(open_cache, verify(made.root, made.signed, NOTHING, NOW_MS, AUDIENCE))
    signed = repository(made.keys).publish(made.signed, update(made.signed, 2), NOW_MS)
    second = verify(made.root, signed, NOTHING, NOW_MS, AUDIENCE)
    prepared = tmp_path / "prepared"
    prepared.write_bytes(pickle.dumps(second))
    program = [sys.executable, "-m", "tests.unit.cache.dying", str(tmp_path / ORG), str(prepared), point]
    died = subprocess.run(program, cwd=REPOSITORY_ROOT, capture_output=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr

    cache = open_cache()
    found = reverify(made.root, cache.load_active(), cache.read_high_water(), AUDIENCE)
    assert found.revision == ("2.2" if point in SWITCHED else "1.1")
    install(open_cache, second)
    assert open_cache().load_active() == signed
    assert open_cache().read_high_water() == HighWater(second.versions, NOW_MS)


@pytest.mark.parametrize("point", FIRST_POINTS)
def test_death_during_the_first_installation(point: str, open_cache: OpenCache, made: Forge) -> None:
    class DeathError(BaseException):
        pass

    def die(step: str) -> None:
        if step == point:
            raise DeathError

    first = verify(made.root, made.signed, NOTHING, NOW_MS, AUDIENCE)
    with pytest.raises(DeathError):
        install(lambda: open_cache(failpoint=die), first)
    assert open_cache().read_high_water() in (NOTHING, next_high_water(NOTHING, first, NOW_MS))
    install(open_cache, first)
    assert open_cache().load_active() == made.signed
