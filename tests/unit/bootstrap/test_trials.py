"""A candidate on trial in a worker: gone back from when it cannot stop its canary, judged in the shadow, told of."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from controlplane.domain import releases
from controlplane.domain.releases import Draft
from controlplane.services.defaults import default_documents, default_policy, default_provider
from outpost.bootstrap.agents import current, functions_of
from outpost.bootstrap.worker import Worker, World
from outpost.bootstrap.world import SystemChance
from outpost.core.bundle import names
from outpost.core.bundle.reading import read_documents
from outpost.core.bundle.release import SignedSet
from outpost.core.bundle.rollout import EVERYBODY, RolloutDocument
from outpost.core.bundle.trust import State
from outpost.core.decision import Action, Decision, Direction, EntityCount, Features
from outpost.core.policy.document import canonical_bytes, parse_document
from outpost.paths import StatePaths
from outpost.settings import Settings
from tests.unit.bootstrap.test_programs import MADE, NOW_MS, Outpost
from tests.unit.core.bundle.samples import ORG, repository
from tests.unit.gateway.harness import shared_database
from tests.unit.sync.enrolled import Clock

CANDIDATE = 2


class Ledger:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    async def append(self, org: str, records: Sequence[bytes]) -> Sequence[int]:
        self.records += records
        return range(len(self.records))


def policy(*dropped: str) -> bytes:
    """The first policy without some rules."""
    document = json.loads(default_policy(ORG))
    rules = document["packs"][0]["rules"]
    document["packs"][0]["rules"] = [each for each in rules if each["id"] not in dropped]
    return canonical_bytes(parse_document(json.dumps(document).encode()))


def with_candidate(packs: bytes, stable: bytes | None = None, threshold: int = EVERYBODY) -> SignedSet:
    """A set whose candidate has this policy."""
    documents = default_documents(ORG, [default_provider("https://api.example.com/v1", "key")])
    signer = repository(MADE.keys)
    first = signer.create(documents, NOW_MS)
    if stable is not None:
        content = read_documents(first.targets, ORG)
        changes = releases.with_release(first.targets, content, Draft({names.PACKS: stable}), beside=False)
        first = signer.publish(first, {**changes, **releases.at_once(content, 2)}, NOW_MS)
    content = read_documents(first.targets, ORG)
    changes = releases.with_release(first.targets, content, Draft({names.PACKS: packs}), beside=True)
    version = content.rollout.stable + 1
    rollout = RolloutDocument(ORG, content.rollout.stable, version, threshold, 100)
    return signer.publish(first, {**changes, **releases.rolled_out(rollout)}, NOW_MS)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("trials") / "state"
    MADE.fill(state, records=1)
    return state


@pytest.fixture
def outpost(filled: Path, tmp_path: Path) -> Outpost:
    shutil.copytree(filled, tmp_path / "state")
    return Outpost(StatePaths(tmp_path / "state"), Clock(NOW_MS))


async def working(outpost: Outpost, signed: SignedSet) -> tuple[Worker, Ledger]:
    """A worker on which a set became active."""
    ledger = Ledger()
    world = World(outpost.clock, SystemChance(), ledger)
    worker = Worker(Settings(state=outpost.paths.state), world, shared_database().clone())
    slot = outpost.write(signed)
    await worker.prepare(ORG, slot)
    outpost.cache.activate(slot)
    await worker.commit(ORG)
    return worker, ledger


def running(worker: Worker) -> int:
    program = worker.programs.program(ORG)
    assert program is not None
    assert worker.gateway.programs.get(ORG) is program
    return program.release.version


async def test_a_candidate_that_stops_its_canary_stays(outpost: Outpost) -> None:
    worker, _ = await working(outpost, with_candidate(policy("personal-data")))
    facts = worker.states()[ORG]["running"]
    assert (running(worker), facts["release"], facts["left"], facts["inspection"]) == (CANDIDATE, CANDIDATE, "", "")
    assert functions_of(facts) == {"inspection": "ok"}
    await worker.close()


async def test_a_candidate_that_cannot_is_left_at_once_and_for_ever(outpost: Outpost) -> None:
    worker, ledger = await working(outpost, with_candidate(policy("payment-and-identity")))
    assert running(worker) == 1
    assert worker.programs.state_of(ORG).state.serves
    facts = worker.states()[ORG]["running"]
    assert (facts["release"], facts["left"]) == (1, "canary.not_stopped")
    assert functions_of(facts) == {"inspection": "ok", "release": "canary.not_stopped"}
    await worker.commit(ORG)  # the same set once more
    assert running(worker) == 1
    await worker.close()
    events = [json.loads(each)["event"] for each in ledger.records]
    assert events.count("release.left") == 1


async def test_when_the_stable_release_cannot_either_the_org_is_sealed(outpost: Outpost) -> None:
    broken = policy("payment-and-identity")
    worker, _ = await working(outpost, with_candidate(policy("payment-and-identity", "secrets"), broken))
    assert worker.programs.state_of(ORG).state is State.SEALED
    assert functions_of(worker.states()[ORG]["running"])["inspection"] == "canary.not_stopped"
    await worker.close()


async def test_the_release_that_does_not_decide_is_judged_in_the_shadow(outpost: Outpost) -> None:
    worker, _ = await working(outpost, with_candidate(policy("personal-data"), threshold=0))
    assert running(worker) == 1
    program = worker.programs.program(ORG)
    assert program is not None
    features = Features(Direction.INPUT, entities=(EntityCount("email", 1, 100),), model="m", provider="default")
    for _ in range(3):
        worker.gateway.watch.decided(program, features, Decision(Action.REDACT, ("email",)))
    await worker.check_canary()
    assert worker.states()[ORG]["running"]["shadow"] == {
        "release": CANDIDATE,
        "compared": 3,
        "changes": [{"direction": "input", "before": "REDACT", "after": "ALLOW", "count": 3}],
    }
    await worker.close()


WORDS: dict[str, tuple[str, str, bool]] = {
    "of the set that is active": ("2.7", "2.7", True),
    "of the release that it went back to": ("1.7", "2.7", True),
    "of the set before": ("1.6", "2.7", False),
    "of none yet": ("", "2.7", False),
}


@pytest.mark.parametrize("sentence", WORDS)
def test_what_a_worker_says_counts_only_for_the_set_that_is_active(sentence: str) -> None:
    said, active, counts = WORDS[sentence]
    facts = {"revision": said, "release": 1, "inspection": "", "left": ""}
    assert current(facts, active) == (facts if counts else {})
