"""SIGKILL at every step of every write: the last good set stands, and the next installation works."""

import hashlib
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outpost.cache.durable import OVERWRITE_STEPS, STEPS
from outpost.cache.slots import INLINE_BYTES
from outpost.core.bundle.release import HighWater, SignedSet, VerifiedSet
from outpost.core.bundle.trust import next_high_water
from outpost.sync.tuf import reverify, verify
from tests.unit.cache.conftest import OUTPOST, WRAPPING_KEY, OpenCache
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, NOW_MS, ORG, Forge, repository, update

REPOSITORY_ROOT = Path(__file__).parents[3]
LATER = [step for step in STEPS if step != "sync-folder"]
IN_PLACE = [step for step in OVERWRITE_STEPS if step != "sync-folder"]
LARGE = bytes(range(256)) * (INLINE_BYTES // 256 + 1)
STORED = hashlib.sha256(LARGE).hexdigest()
POINTS = [
    *(f"{STORED}:{step}" for step in STEPS),
    *(f"slot-b:{step}" for step in OVERWRITE_STEPS),
    *(f"active:{step}" for step in IN_PLACE),
    *(f"high-water.json:{step}" for step in LATER),
]
SWITCHED = ["active:sync", "active:done", *(p for p in POINTS if p.startswith("high-water"))]
FIRST_POINTS = [
    *(f"high-water.json:{step}" for step in STEPS),
    *(f"{STORED}:{step}" for step in STEPS),
    *(f"slot-a:{step}" for step in OVERWRITE_STEPS),
    *(f"active:{step}" for step in STEPS),
]
FIRST_SWITCHED = ["active:sync-folder", "active:done"]
NAMES = {STORED: "a stored file"}


def spoken(point: str) -> str:
    """A point for people."""
    name, _, step = point.partition(":")
    return f"{NAMES.get(name, name)}:{step}"


def install(cache_of: OpenCache, verified: VerifiedSet) -> None:
    cache = cache_of()
    high_water = cache.read_high_water()
    cache.activate(cache.write_idle(verified))
    cache.write_high_water(next_high_water(high_water, verified, NOW_MS))


def kill_at(point: str, folder: Path, verified: VerifiedSet, high_water: HighWater) -> None:
    """Install in a process that dies at a point."""
    prepared = folder / "prepared"
    told = (OUTPOST, ORG, WRAPPING_KEY), verified, next_high_water(high_water, verified, NOW_MS)
    prepared.write_bytes(pickle.dumps(told))
    program = [sys.executable, "-m", "tests.unit.cache.dying", str(folder / ORG), str(prepared), point]
    died = subprocess.run(program, cwd=REPOSITORY_ROOT, capture_output=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr


def with_large_file(signed: SignedSet, made: Forge) -> SignedSet:
    return repository(made.keys).publish(signed, {**update(signed, 2), "vendor/model.bin": LARGE}, NOW_MS)


@pytest.mark.parametrize("point", POINTS, ids=spoken)
def test_death_at_any_step_leaves_a_whole_set(point: str, open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    install(open_cache, verify(made.root, made.signed, NOTHING, NOW_MS, AUDIENCE))
    signed = with_large_file(made.signed, made)
    second = verify(made.root, signed, NOTHING, NOW_MS, AUDIENCE)
    kill_at(point, tmp_path, second, open_cache().read_high_water())

    cache = open_cache()
    found = reverify(made.root, cache.load_active(), cache.read_high_water(), AUDIENCE)
    assert found.revision == ("2.2" if point in SWITCHED else "1.1")
    install(open_cache, second)
    assert open_cache().load_active() == signed
    assert open_cache().read_high_water() == HighWater(second.versions, NOW_MS)
    assert stored_files(tmp_path) == [STORED]


@pytest.mark.parametrize("point", FIRST_POINTS, ids=spoken)
def test_death_during_the_first_installation(point: str, open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    signed = with_large_file(made.signed, made)
    first = verify(made.root, signed, NOTHING, NOW_MS, AUDIENCE)
    kill_at(point, tmp_path, first, NOTHING)

    assert open_cache().read_high_water() == NOTHING
    if point in FIRST_SWITCHED:
        assert open_cache().load_active() == signed
    install(open_cache, first)
    assert open_cache().load_active() == signed
    assert stored_files(tmp_path) == [STORED]


def stored_files(folder: Path) -> list[str]:
    return [path.name for path in (folder / ORG / "cache" / "store").iterdir()]
