"""A signed order to wipe: who must have signed it, what goes, what stays, and what a crash leaves to be finished."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from outpost import ports
from outpost.bootstrap.programs import Programs, open_cache
from outpost.bootstrap.world import SystemChance
from outpost.core.bundle.lock import LockOrder, build_lock
from outpost.core.bundle.release import VerifiedSet
from outpost.core.bundle.trust import State
from outpost.core.detect.pattern import Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.paths import StatePaths
from outpost.sync import identity as identities
from outpost.sync import obey, tuf
from outpost.sync.knowledge import Knowledge, Report
from tests.unit.core.bundle.samples import AUDIENCE, NOW_MS, ORG, key_id
from tests.unit.sync.agent_world import Ledger, World
from tests.unit.sync.enrolled import OUTPOST, Chance, Clock, Enrolled

MADE = Enrolled(NOW_MS)
ORDER = LockOrder(ORG, OUTPOST, 1, NOW_MS, "operator.lock")
SCANNER = Scanner(compile_rules(RULES), RULES)


def signed(order: LockOrder, role: str = "access", **changes: bytes) -> ports.Locked:
    data = build_lock(order)
    key = MADE.keys[role][0]
    return ports.Locked(order.reason, changes.get("data", data), ((key_id(key), key.sign(data)),))


class Site:
    """A state folder with an outpost that may be ordered to wipe itself."""

    def __init__(self, folder: Path) -> None:
        self.paths = MADE.fill(folder / "state", records=5)
        self.files = self.paths.org(ORG)
        self.stopped: list[str] = []
        self.ledger = Ledger()
        self.locker = obey.StateLocker(self.paths, ORG, self._stop, Clock(NOW_MS))
        self.known = Knowledge(ORG, outpost=OUTPOST, active=self.active())
        parts = World(folder / "world").parts()
        self.report = Report(self.known, replace(parts, ledger=self.ledger))

    async def _stop(self, org: str) -> None:
        assert obey.read_mark(self.files) is not None  # the mark is there before anybody is told
        self.stopped.append(org)

    def active(self) -> VerifiedSet:
        cache = open_cache(self.paths, ORG, self.paths.wrap_key.read_bytes(), SystemChance())
        root = self.files.tuf_root.read_bytes()
        return tuf.reverify(root, cache.load_active(), cache.read_high_water(), AUDIENCE)

    async def obey(self, order: ports.Locked) -> bool:
        return await self.locker.obey(order, identities.load(self.files.identity), self.report)

    def programs(self) -> Programs:
        return Programs(self.paths, bytes(32), SCANNER, (Clock(NOW_MS), Chance()))


async def test_an_order_is_marked_put_on_record_and_carried_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    log = {path.name: path.read_bytes() for path in site.files.audit.iterdir() if path.is_file()}
    assert await site.obey(signed(ORDER))
    digest = hashlib.sha256(build_lock(ORDER)).hexdigest()
    mark = obey.read_mark(site.files)
    assert mark is not None
    assert (mark.outpost_id, mark.reason, mark.wiped, mark.order_sha256) == (OUTPOST, "operator.lock", False, digest)
    assert (site.stopped, site.ledger.events) == ([ORG], ["outpost.locked"])
    await site.locker.wipe()
    left = {path.name for path in site.files.folder.iterdir()}
    assert left == {"audit", "locked.json"}
    assert {path.name: path.read_bytes() for path in site.files.audit.iterdir() if path.is_file()} == log
    assert not site.paths.wrap_key.exists()
    assert (site.paths.state / "secrets" / "main-key").exists()
    assert (site.locker.is_locked(), site.paths.orgs()) == (True, (ORG,))


REFUSED: dict[str, tuple[Callable[[], ports.Locked], str]] = {
    "without a signature": (lambda: replace(signed(ORDER), signatures=()), "bundle.unsigned"),
    "signed by another role": (lambda: signed(ORDER, "rollout"), "bundle.unknown_key"),
    "over other bytes": (
        lambda: signed(ORDER, data=build_lock(replace(ORDER, reason="other"))),
        "bundle.signature",
    ),
    "for another org": (lambda: signed(replace(ORDER, org="globex")), "bundle.other_org"),
    "for another outpost": (lambda: signed(replace(ORDER, outpost="op-" + "f" * 16)), "lock.other_outpost"),
    "for an identity of before": (lambda: signed(replace(ORDER, join_sequence=0)), "lock.sequence"),
    "of no bytes": (lambda: ports.Locked("x"), "lock.malformed"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_an_order_is_refused_and_put_on_record(what: str, tmp_path: Path) -> None:
    order, code = REFUSED[what]
    site = Site(tmp_path)
    assert not await site.obey(order())
    assert (site.stopped, obey.read_mark(site.files)) == ([], None)
    assert site.ledger.records == [{**site.ledger.records[0], "event": "lock.refused", "error_code": code}]


async def test_without_a_configuration_no_order_can_be_believed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.known.active = None
    assert not await site.obey(signed(ORDER))


@pytest.mark.parametrize("survivors", range(9))
async def test_a_crash_while_removing_is_finished_at_the_next_start(
    survivors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    await site.obey(signed(ORDER))
    left = [survivors]

    def remove(path: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt  # as a SIGKILL: nothing behind it runs
        left[0] -= 1
        real(path)

    real = obey._remove
    monkeypatch.setattr(obey, "_remove", remove)
    with pytest.raises(KeyboardInterrupt) if survivors < 8 else contextlib.nullcontext():
        await site.locker.wipe()
    monkeypatch.undo()
    assert site.programs().state_of(ORG).state is State.LOCKED
    obey.finish_wipes(site.paths)
    assert {path.name for path in site.files.folder.iterdir()} == {"audit", "locked.json"}
    mark = obey.read_mark(site.files)
    assert mark is not None
    assert mark.wiped


async def test_workers_refuse_before_and_after_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path)
    running = site.programs()
    await site.obey(signed(ORDER))
    running.lock(ORG)
    for programs in (running, site.programs()):
        state = programs.state_of(ORG)
        assert (state.state, state.code, programs.program(ORG)) == (State.LOCKED, "outpost.locked", None)
        assert (programs.orgs, programs.outpost_id(ORG)) == ((ORG,), OUTPOST)


async def test_another_org_keeps_what_its_configuration_is_sealed_with(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutil.copytree(site.files.folder, site.paths.org("globex").folder)
    await site.obey(signed(ORDER))
    await site.locker.wipe()
    assert site.paths.wrap_key.exists()
    assert (site.paths.org("globex").cache / "active").exists()


async def test_a_mark_that_cannot_be_read_locks_as_well(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.files.lock_mark.write_bytes(b"{")
    assert site.programs().state_of(ORG).state is State.LOCKED
    obey.finish_wipes(site.paths)
    assert not site.files.identity.exists()


async def test_only_a_new_enrollment_leads_on(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.obey(signed(ORDER))
    await site.locker.wipe()
    identities.save(site.files.identity, MADE.identity(join_sequence=2))
    assert not site.locker.is_locked()  # a crash before the mark was taken away does not lock the new identity
    obey.finish_wipes(site.paths)
    assert site.files.identity.exists()
    obey.lift(site.files)
    assert StatePaths(site.paths.state).orgs() == (ORG,)
