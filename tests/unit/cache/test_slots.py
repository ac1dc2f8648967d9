import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from outpost.cache.errors import CacheMissingError, CacheTamperedError
from outpost.cache.slots import INLINE_BYTES
from outpost.core.bundle import names
from outpost.core.bundle.release import HighWater, VerifiedSet
from outpost.core.bundle.trust import next_high_water
from outpost.core.errors import BundleError, StoreError
from outpost.sync.tuf import reverify, verify
from tests.unit.cache.conftest import WRAPPING_KEY, OpenCache, seal_of
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, NOW_MS, ORG, Forge, repository, update

BIG = bytes(range(256)) * (INLINE_BYTES // 256 + 1)


def verified(made: Forge, version: int = 1) -> VerifiedSet:
    signed = made.signed
    if version > 1:
        signed = repository(made.keys).publish(signed, update(signed, version), NOW_MS)
    return verify(made.root, signed, NOTHING, NOW_MS, AUDIENCE)


def with_big_file(made: Forge) -> VerifiedSet:
    signed = repository(made.keys).publish(made.signed, {"vendor/geo.bin": BIG}, NOW_MS)
    return verify(made.root, signed, NOTHING, NOW_MS, AUDIENCE)


def activate(cache_of: OpenCache, chosen: VerifiedSet) -> None:
    cache = cache_of()
    cache.activate(cache.write_idle(chosen))
    cache.write_high_water(next_high_water(NOTHING, chosen, NOW_MS))


def test_a_new_cache_is_missing_not_tampered(open_cache: OpenCache) -> None:
    with pytest.raises(CacheMissingError):
        open_cache().load_active()
    assert open_cache().read_high_water() == NOTHING


def test_what_is_written_comes_back_exactly(open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))
    assert open_cache().load_active() == made.signed
    assert reverify(made.root, open_cache().load_active(), open_cache().read_high_water(), AUDIENCE).revision == "1.1"


def test_slots_take_turns_and_the_idle_one_can_be_loaded_before_activation(open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))
    cache = open_cache()
    assert cache.active_slot() == "a"
    slot = cache.write_idle(verified(made, 2))
    assert slot == "b"
    assert cache.load_active() == made.signed
    assert cache.load(slot) == verified(made, 2).signed
    cache.activate(slot)
    assert cache.active_slot() == "b"
    assert cache.write_idle(verified(made)) == "a"


def test_an_unknown_slot_cannot_be_activated(open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))
    for slot in ("b", "c", "../active"):
        with pytest.raises(CacheMissingError):
            open_cache().activate(slot)
    assert open_cache().active_slot() == "a"


def test_nobody_else_may_read(open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    activate(open_cache, with_big_file(made))
    for path in (tmp_path / ORG).rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_no_customer_document_stands_in_clear(open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    activate(open_cache, verified(made))
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"api.example.com" not in everything
    assert "Zoë".encode() not in everything
    assert WRAPPING_KEY not in everything


def test_large_vendor_files_stand_in_the_store_and_leave_with_their_set(
    open_cache: OpenCache, made: Forge, tmp_path: Path
) -> None:
    activate(open_cache, with_big_file(made))
    store = tmp_path / ORG / "cache" / "store"
    assert [path.read_bytes() for path in store.iterdir()] == [BIG]
    assert open_cache().load_active().targets["vendor/geo.bin"] == BIG
    (store / ".half.new").write_bytes(b"remains of a crash")
    cache = open_cache()
    cache.activate(cache.write_idle(verified(made)))
    cache.write_idle(verified(made, 2))
    assert list(store.iterdir()) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    moved = path.with_name("moved")
    path.rename(moved)
    path.symlink_to(moved)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def stored(folder: Path) -> Path:
    return next((folder / "cache" / "store").iterdir())


Tamper = Callable[[Path], None]
TAMPERED: dict[str, Tamper] = {
    "a flipped bit in the active slot": lambda folder: flip(folder / "cache" / "slot-a"),
    "the active slot cut short": lambda folder: cut(folder / "cache" / "slot-a"),
    "the active slot emptied": lambda folder: empty(folder / "cache" / "slot-a"),
    "the active slot deleted": lambda folder: (folder / "cache" / "slot-a").unlink(),
    "the active slot a link": lambda folder: link(folder / "cache" / "slot-a"),
    "the active slot a pipe": lambda folder: pipe(folder / "cache" / "slot-a"),
    "a pointer to no slot": lambda folder: (folder / "cache" / "active").write_bytes(b"slot-c\n"),
    "a pointer to a slot never written": lambda folder: (folder / "cache" / "active").write_bytes(b"slot-b\n"),
    "a flipped bit in a stored file": lambda folder: flip(stored(folder)),
    "a stored file deleted": lambda folder: stored(folder).unlink(),
}


@pytest.mark.parametrize("sentence", TAMPERED)
def test_tamper_of_what_is_active_is_called_tamper_and_a_fresh_set_heals_it(
    sentence: str, open_cache: OpenCache, made: Forge, tmp_path: Path
) -> None:
    activate(open_cache, with_big_file(made))
    TAMPERED[sentence](tmp_path / ORG)
    with pytest.raises(CacheTamperedError) as refused:
        open_cache().load_active()
    assert refused.value.code == ("cache.pointer" if sentence == "a pointer to no slot" else "cache.tampered")
    activate(open_cache, with_big_file(made))
    assert open_cache().load_active().targets["vendor/geo.bin"] == BIG


OTHERS = {
    "another outpost": (seal_of(outpost="op-ffffffffffffffff"), "cache.foreign"),
    "another org": (seal_of(org="rival"), "cache.foreign"),
    "another wrapping key": (seal_of(key=bytes(32)), "cache.other_wrapping_key"),
}


@pytest.mark.parametrize("sentence", OTHERS)
def test_files_of_somebody_else_do_not_open(sentence: str, open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))
    seal, code = OTHERS[sentence]
    other = open_cache(seal)
    for act, expected in ((other.load_active, code), (other.read_high_water, "cache.high_water")):
        with pytest.raises(StoreError) as refused:
            act()
        assert refused.value.code == expected
    assert other.surviving_high_water() == NOTHING


def test_a_wrapping_key_of_the_wrong_length_is_named(open_cache: OpenCache, made: Forge) -> None:
    with pytest.raises(StoreError) as refused:
        open_cache(seal_of(key=b"short")).write_idle(verified(made))
    assert refused.value.code == "cache.wrapping_key"


def test_a_torn_idle_slot_is_not_tamper(open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    activate(open_cache, verified(made))
    (tmp_path / ORG / "cache" / "slot-b").write_bytes(b"torn")
    cache = open_cache()
    assert cache.load_active() == made.signed
    with pytest.raises(StoreError):
        cache.activate("b")
    cache.activate(cache.write_idle(verified(made, 2)))
    assert cache.active_slot() == "b"


HIGH_WATERS: dict[str, Tamper] = {
    "a version lowered": lambda path: path.write_bytes(path.read_bytes().replace(b'"policy":1', b'"policy":0')),
    "a byte added": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "cut short": cut,
    "emptied": empty,
    "deleted": lambda path: path.unlink(),
    "too large": lambda path: path.write_bytes(b" " * 100_000),
}


@pytest.mark.parametrize("sentence", HIGH_WATERS)
def test_an_altered_high_water_is_tamper(sentence: str, open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    activate(open_cache, verified(made))
    HIGH_WATERS[sentence](tmp_path / ORG / "high-water.json")
    with pytest.raises(CacheTamperedError) as refused:
        open_cache().read_high_water()
    assert refused.value.code == ("cache.tampered" if sentence == "too large" else "cache.high_water")


def test_a_high_water_is_read_as_written(open_cache: OpenCache) -> None:
    high_water = HighWater({"root": 3, "policy": 7}, NOW_MS)
    open_cache().write_high_water(high_water)
    assert open_cache().read_high_water() == high_water


def test_an_old_slot_put_back_is_a_rollback(open_cache: OpenCache, made: Forge, tmp_path: Path) -> None:
    activate(open_cache, verified(made))
    old = (tmp_path / ORG / "cache" / "slot-a").read_bytes()
    activate(open_cache, verified(made, 2))
    (tmp_path / ORG / "cache" / "slot-b").write_bytes(old)
    with pytest.raises(BundleError) as refused:
        reverify(made.root, open_cache().load_active(), open_cache().read_high_water(), AUDIENCE)
    assert refused.value.code == "bundle.rollback"


def test_the_disk_refusing_leaves_the_last_good(open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))

    def full(step: str) -> None:
        if step == "slot-b:sync":
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreError) as refused:
        open_cache(failpoint=full).write_idle(verified(made, 2))
    assert refused.value.code == "cache.write_failed"
    assert not refused.value.fatal
    assert open_cache().load_active() == made.signed


def test_documents_are_all_there(open_cache: OpenCache, made: Forge) -> None:
    activate(open_cache, verified(made))
    assert set(open_cache().load_active().targets) == set(made.signed.targets) > set(names.REQUIRED_PATHS)
