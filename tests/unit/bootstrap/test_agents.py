"""The agents of one outpost: one for each org, and what is wrong with one org stops no other."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from outpost.bootstrap import agents
from outpost.bootstrap.programs import Programs
from outpost.bootstrap.state import NotEnrolledError
from outpost.bootstrap.world import SystemChance, SystemClock
from outpost.core.bundle.trust import State
from outpost.core.errors import StoreError
from outpost.paths import StatePaths
from outpost.settings import Settings
from outpost.sync.agent import Knowledge
from tests.unit.core.bundle.samples import ORG
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import OUTPOST, Chance, Enrolled

PATIENCE = 10.0
OTHER = "globex"


class LedgerDownError(StoreError):
    code = "test.ledger_down"


@dataclass
class Records:
    """``ports.Ledger`` that can refuse for a while."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        if self.refusals.get(org, 0) > 0:
            self.refusals[org] -= 1
            raise LedgerDownError("no")
        self.taken += [(org, orjson.loads(record)["event"]) for record in records]
        return range(len(records))


class Workers:
    async def prepare(self, org: str, slot: str) -> None:
        raise AssertionError("nothing is offered here")

    async def commit(self, org: str) -> None:
        raise AssertionError("nothing is offered here")


@dataclass
class Fleet:
    """Agents on a state folder, and what they publish."""

    state: Path
    ledger: Records = field(default_factory=Records)
    told: Mapping[str, Any] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, orgs: Mapping[str, Any]) -> None:
        self.told = orgs
        self.changed.set()

    def shared(self) -> agents.Shared:
        paths = StatePaths(self.state)
        return agents.Shared(
            settings=Settings(state=self.state, reconnect_cap_seconds=0.05),
            paths=paths,
            wrap_key=paths.wrap_key.read_bytes() if paths.wrap_key.exists() else b"",
            ledger=self.ledger,
            activator=Workers(),
            scanner=shared_database().clone(),
            clock=SystemClock(),
            chance=SystemChance(),
            publish=self.publish,
            fleet=lambda: (2, 1),
            state=lambda org: "ACTIVE",
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Fleet"]:
        job = asyncio.create_task(agents.Agents(self.shared()).run())
        try:
            yield self
        finally:
            assert not job.done()
            job.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job

    async def until(self, holds: Callable[[Mapping[str, Any]], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds(self.told):
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("agents") / "state"
    Enrolled(time.time_ns() // 1_000_000).fill(state, records=1)
    return state


@pytest.fixture
def state(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "state")
    return tmp_path / "state"


def add_org(state: Path) -> Path:
    """A second org beside the first; its documents are the first's, so nothing of it verifies."""
    shutil.copytree(state / "orgs" / ORG, state / "orgs" / OTHER)
    return state / "orgs" / OTHER


async def test_a_start_is_recorded_and_told_with_the_active_revision(state: Path) -> None:
    async with Fleet(state).running() as fleet:
        await fleet.until(lambda told: told[ORG]["functions"]["control_link"] == "controlplane.unreachable")
        assert fleet.ledger.taken == [(ORG, "outpost.started")]
        told = fleet.told[ORG]
        assert (told["outpost"], told["revision"], told["functions"]["policy"]) == (OUTPOST, "1.1", "ok")
        assert told["functions"]["certificate"] == "ok"
        assert "control_link" in told["notes"]


async def test_a_log_that_takes_no_records_is_told_and_the_start_recorded_later(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "LEDGER_RETRY_SECONDS", 0.05)
    fleet = Fleet(state, Records(refusals={ORG: 3}))
    async with fleet.running():
        await fleet.until(lambda told: told[ORG]["functions"].get("audit") == "test.ledger_down")
        await fleet.until(lambda told: told[ORG]["functions"]["audit"] == "ok")
        assert fleet.ledger.taken == [(ORG, "outpost.started")]


async def test_the_log_of_one_org_does_not_hold_up_another(state: Path) -> None:
    add_org(state)
    fleet = Fleet(state, Records(refusals={OTHER: 1_000_000}))
    async with fleet.running():
        await fleet.until(lambda told: told[OTHER]["functions"].get("audit") == "test.ledger_down")
        await fleet.until(lambda told: told[ORG]["functions"]["control_link"] == "controlplane.unreachable")
        assert fleet.ledger.taken == [(ORG, "outpost.started")]


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "the enrollment is no JSON": (lambda f: (f / "identity" / "enrollment.json").write_bytes(b"{"), "identity."),
    "the enrollment may be read by others": (
        lambda f: (f / "identity" / "enrollment.json").chmod(0o644),
        "identity.",
    ),
    "the certificate is gone": (lambda f: (f / "identity" / "leaf.pem").unlink(), "identity."),
    "the enrolled root is gone": (lambda f: (f / "root.json").unlink(), "identity."),
    "the key of the log is gone": (lambda f: (f / "audit" / "log.key").unlink(), "ledger."),
}


@pytest.mark.parametrize("what", SPOILT)
async def test_another_org_goes_on_when(what: str, state: Path) -> None:
    spoil, code = SPOILT[what]
    spoil(add_org(state))
    async with Fleet(state).running() as fleet:
        await fleet.until(lambda told: told[ORG]["functions"]["control_link"] == "controlplane.unreachable")
        assert fleet.told[OTHER]["functions"]["identity"].startswith(code)
        assert fleet.told[OTHER]["notes"]["identity"]
        assert fleet.ledger.taken == [(ORG, "outpost.started")]


@pytest.mark.parametrize("what", [what for what, (_, code) in SPOILT.items() if code == "identity."])
def test_workers_seal_that_org_only_when(what: str, state: Path) -> None:
    SPOILT[what][0](add_org(state))
    paths = StatePaths(state)
    world = (SystemClock(), SystemChance())
    programs = Programs(paths, paths.wrap_key.read_bytes(), shared_database().clone(), world)
    assert programs.orgs == (ORG,)
    assert programs.state_of(ORG).state.serves
    assert (programs.state_of(OTHER).state, programs.state_of(OTHER).code) == (State.SEALED, "identity.unreadable")
    assert programs.program(OTHER) is None


async def test_agents_of_an_outpost_without_any_usable_org_wait_to_be_stopped(state: Path) -> None:
    (state / "orgs" / ORG / "root.json").unlink()
    async with Fleet(state).running() as fleet:
        await fleet.until(lambda told: ORG in told)
        assert fleet.ledger.taken == []


def test_an_outpost_that_is_not_enrolled_has_no_agents(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolledError):
        agents.Agents(Fleet(tmp_path).shared())


def test_what_others_may_know_has_no_empty_notes() -> None:
    known = Knowledge(ORG, OUTPOST, "1.1", functions={"policy": "ok"}, notes={"policy": "", "audit": "why"})
    assert agents.view(known)["notes"] == {"audit": "why"}
    assert "active" not in agents.view(known)


async def called(dialer: agents.Dialer, identity: Any, attempts: Sequence[int]) -> list[str]:
    """Addresses that are called, one after the other."""
    found = []
    for number in attempts:
        plane = dialer.connect(identity, number)
        found.append(plane._endpoint)
        await plane.close()
    return found


async def test_a_dead_address_costs_one_attempt_and_all_are_tried_before_any_again() -> None:
    told = ("a.example:1", "b.example:1", "c.example:1")
    identity = Enrolled(int(time.time() * 1000)).identity(sync_endpoint="first.example:1", sync_endpoints=told)
    everyone = {*told, "first.example:1"}
    for _ in range(20):
        dialer = agents.Dialer(SystemChance())
        calls = await called(dialer, identity, range(12))
        assert [set(calls[at : at + 4]) for at in (0, 4, 8)] == [everyone] * 3


async def test_the_address_is_chosen_by_chance_once_somebody_answered() -> None:
    told = ("a.example:1", "b.example:1", "c.example:1", "d.example:1")
    identity = Enrolled(int(time.time() * 1000)).identity(sync_endpoint=told[0], sync_endpoints=told)
    for number, endpoint in zip((0.0, 0.26, 0.5, 0.999), told, strict=True):
        dialer = agents.Dialer(Chance(number))
        assert await called(dialer, identity, [1, 1, 1]) == [endpoint] * 3


def test_the_leaf_travels_alone_where_its_issuer_is_known_and_not_for_ever() -> None:
    made = Enrolled(int(time.time() * 1000))
    counts = {
        (alone, attempts): agents.shown(made.identity(leaf_alone=alone), attempts).chain_pem.count(b"BEGIN CERTIFICATE")
        for alone in (True, False)
        for attempts in (0, 4, 5)
    }
    assert counts == {(True, 0): 1, (True, 4): 1, (True, 5): 2, (False, 0): 2, (False, 4): 2, (False, 5): 2}
