"""Offers: bounds before anything is fetched, what travels, and the order in which a set becomes active."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from outpost import ports
from outpost.bootstrap.programs import open_cache
from outpost.bootstrap.world import SystemChance
from outpost.cache.slots import SlotCache
from outpost.core.bundle import limits
from outpost.core.bundle.errors import OversizedError
from outpost.core.bundle.release import SignedSet, VerifiedSet
from outpost.core.errors import BundleError, InternalError, OutpostError, PeerError
from outpost.sync import install, tuf
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, ORG, Forge, repository, signed_part
from tests.unit.sync.enrolled import Clock, Enrolled, fetcher, offer

NOW_MS = 1_790_000_000_000
MADE = Enrolled(NOW_MS)
FIRST = MADE.signed()


def active(signed: SignedSet) -> VerifiedSet:
    """The set in force, as the agent has it."""
    return tuf.reverify(FIRST.metadata["1.root.json"], signed, NOTHING, AUDIENCE)


def file(name: str = "x", size: int = 0, inline: bytes = b"", *, metadata: bool = False) -> ports.OfferedFile:
    return ports.OfferedFile(name, bytes(32), size, metadata, inline)


def offered(*files: ports.OfferedFile) -> ports.Offer:
    return ports.Offer("n", "1.1", files, 0)


ANY = limits.MAX_NAME_BYTES
OVERSIZED: dict[str, ports.Offer] = {
    "too many files": offered(*(file(f"f{n}") for n in range(limits.MAX_SET_FILES + 1))),
    "a target over its bound": offered(file(size=limits.MAX_TARGET_BYTES + 1)),
    "metadata over its bound": offered(file(size=limits.MAX_METADATA_BYTES + 1, metadata=True)),
    "inline bytes over the bound, whatever size is told": offered(
        file(size=1, inline=bytes(limits.MAX_METADATA_BYTES + 1), metadata=True)
    ),
    "a name over its bound": offered(file("n" * (ANY + 1))),
    "files that are too much together": offered(
        *(file(f"f{n}", limits.MAX_TARGET_BYTES) for n in range(limits.MAX_SET_BYTES // limits.MAX_TARGET_BYTES + 1))
    ),
}


async def never(sha256: bytes, size: int) -> bytes:
    raise AssertionError("nothing may be fetched")


@pytest.mark.parametrize("what", OVERSIZED)
async def test_an_offer_is_refused_before_anything_is_fetched_for(what: str) -> None:
    with pytest.raises(OversizedError):
        await install.collect(OVERSIZED[what], None, never)


async def test_an_offer_at_the_bounds_is_collected() -> None:
    async def empty(sha256: bytes, size: int) -> bytes:
        return b""

    files = [file("n" * ANY, limits.MAX_METADATA_BYTES, metadata=True)]
    files += [file(f"f{n}", 1) for n in range(limits.MAX_SET_FILES - 1)]
    signed = await install.collect(offered(*files), None, empty)
    assert len(signed.metadata) + len(signed.targets) == limits.MAX_SET_FILES


async def test_what_is_inline_or_held_does_not_travel() -> None:
    asked: list[bytes] = []
    assert await install.collect(offer(FIRST), None, never) == FIRST
    assert await install.collect(offer(FIRST, inline=False), active(FIRST), never) == FIRST
    assert await install.collect(offer(FIRST, inline=False), None, fetcher(FIRST, asked)) == FIRST
    assert len(asked) == len(FIRST.metadata) + len(FIRST.targets)


def test_what_is_held_is_listed_by_hash() -> None:
    assert {item.name: item.sha256 for item in offer(FIRST).files} == active(FIRST).listing


@dataclass
class Workers:
    """``Activator`` that notes what it was asked, and fails when told to."""

    calls: list[str] = field(default_factory=list)
    fail_at: str = ""

    async def prepare(self, org: str, slot: str) -> None:
        await self._call(f"prepare {slot}")

    async def commit(self, org: str) -> None:
        await self._call("commit")

    async def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.fail_at and what.startswith(self.fail_at):
            raise InternalError("a worker refuses")


def make(tmp_path: Path, workers: Workers, **changes: Any) -> tuple[install.Installer, SlotCache]:
    paths = MADE.fill(tmp_path / "state", records=4)
    cache = open_cache(paths, ORG, paths.wrap_key.read_bytes(), SystemChance())
    installer = install.Installer(
        org=ORG,
        cache=cache,
        activator=workers,
        verify=tuf.Verifier(FIRST.metadata["1.root.json"], AUDIENCE).verify,
        attempt=lambda verified: None,
        clock=Clock(NOW_MS + 1000),
    )
    return replace(installer, **changes), cache


async def test_a_set_becomes_active_in_order(tmp_path: Path) -> None:
    workers = Workers()
    installer, cache = make(tmp_path, workers)
    before = cache.active_slot()
    update = repository(MADE.keys).refresh(cache.load_active(), NOW_MS + 1000)
    verified = await installer.install(offer(update), active(cache.load_active()), never)
    assert workers.calls == [f"prepare {cache.active_slot()}", "commit"]
    assert cache.active_slot() != before
    assert cache.load_active() == update == verified.signed
    assert dict(cache.read_high_water().versions) == dict(verified.versions)


def refuse(verified: VerifiedSet) -> object:
    raise BundleError("does not compile")


BROKEN: dict[str, tuple[Workers, dict[str, Any], list[str]]] = {
    "the set does not compile": (Workers(), {"attempt": refuse}, []),
    "a worker refuses": (Workers(fail_at="prepare"), {}, ["prepare"]),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_the_last_good_set_stays_when(what: str, tmp_path: Path) -> None:
    workers, changes, calls = BROKEN[what]
    installer, cache = make(tmp_path, workers, **changes)
    slot, held, high_water = cache.active_slot(), cache.load_active(), cache.read_high_water()
    update = repository(MADE.keys).refresh(held, NOW_MS + 1000)
    with pytest.raises(OutpostError):
        await installer.install(offer(update), active(held), never)
    assert [call.split()[0] for call in workers.calls] == calls
    assert (cache.active_slot(), cache.load_active(), cache.read_high_water()) == (slot, held, high_water)


async def test_another_set_of_the_same_version_is_refused(tmp_path: Path) -> None:
    """Only who signs timestamps can make it; somebody else was told the first one."""
    workers = Workers()
    installer, cache = make(tmp_path, workers)
    held = cache.load_active()
    second = repository(MADE.keys).refresh(held, NOW_MS + 1000)
    with pytest.raises(BundleError) as refused:
        await installer.install(offer(relabelled(held, second)), active(held), never)
    assert refused.value.code == "bundle.equivocation"
    assert workers.calls == []
    assert cache.load_active() == held
    assert (await installer.install(offer(held), active(held), never)).signed == held


def relabelled(held: SignedSet, second: SignedSet) -> SignedSet:
    """The second timestamp under the version of the first, by the holder of its key."""
    version = signed_part(held.metadata["timestamp.json"])["version"]
    return Forge(MADE.keys, second).edited("timestamp", lambda part: part.update(version=version))


async def test_an_unsigned_set_reaches_no_worker(tmp_path: Path) -> None:
    workers = Workers()
    installer, cache = make(tmp_path, workers)
    held = cache.load_active()
    forged = Enrolled(NOW_MS).signed()
    with pytest.raises(BundleError):
        await installer.install(offer(forged), active(held), never)
    assert workers.calls == []
    assert cache.load_active() == held


async def test_how_far_an_installation_came_is_told_whatever_becomes_of_it(tmp_path: Path) -> None:
    installer, cache = make(tmp_path, Workers(fail_at="prepare"))
    held = cache.load_active()
    update = repository(MADE.keys).refresh(held, NOW_MS + 1000)
    good, forged, away = install.Progress(), install.Progress(), install.Progress()
    for progress, signed in ((good, update), (forged, Enrolled(NOW_MS).signed())):
        with pytest.raises(OutpostError):
            await installer.install(offer(signed), active(held), never, progress)
    with pytest.raises(AssertionError):
        await installer.install(offer(update, inline=False), None, never, away)
    assert good.taken() == ports.Taken(NOW_MS + 1000, 1)
    assert forged.taken() == ports.Taken(NOW_MS + 1000, 0)  # every byte was there, and none could be believed
    assert away.taken() == ports.Taken()


async def test_a_fetch_that_fails_is_the_peer_s(tmp_path: Path) -> None:
    async def broken(sha256: bytes, size: int) -> bytes:
        raise PeerError("the connection broke")

    workers = Workers()
    installer, cache = make(tmp_path, workers)
    update = repository(MADE.keys).refresh(cache.load_active(), NOW_MS + 1000)
    with pytest.raises(PeerError):
        await installer.install(offer(update, inline=False), None, broken)
    assert workers.calls == []
