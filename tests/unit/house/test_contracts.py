"""Each import contract holds, and each would notice the fault that it is there for."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / ".importlinter"
SECTION = "importlinter:contract:"


def lint(tree: Path) -> dict[str, bool]:
    """Run import-linter on a tree: contract number to kept or not."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(tree / "proto")]), "COLUMNS": "200"}
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [program, "--no-cache", "--no-logo", "--config", CONFIG.name],
        cwd=tree,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    verdicts = {
        number: word == "KEPT" for number, word in re.findall(r"^(\d) .* (KEPT|BROKEN)\b", run.stdout, re.MULTILINE)
    }
    assert len(verdicts) == len(contract_numbers()), run.stdout + run.stderr
    assert (run.returncode == 0) == all(verdicts.values())
    return verdicts


def contract_numbers() -> list[str]:
    """Numbers of the contracts in the configuration."""
    config = configparser.ConfigParser()
    config.read(CONFIG)
    return [name.removeprefix(SECTION) for name in config.sections() if name.startswith(SECTION)]


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Our packages with empty modules: every room stands, nothing imports anything."""
    shutil.copy(CONFIG, tmp_path)
    for package in ("outpost", "controlplane", "certs", "proto/outpost_wire"):
        for path in (ROOT / package).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.touch()
    return tmp_path


@dataclass(frozen=True, slots=True)
class Fault:
    """Lines to plant, by file, and the contract that must break."""

    breaks: str
    plant: dict[str, str]


FAULTS: dict[str, Fault] = {
    "the gateway imports the agent's room": Fault("1", {"outpost/gateway/planted.py": "import outpost.sync\n"}),
    "ports import a room above them": Fault("1", {"outpost/ports.py": "import outpost.ledger\n"}),
    "a new room is not placed": Fault("1", {"outpost/attic/__init__.py": ""}),
    "policy imports audit": Fault("2", {"outpost/core/policy/planted.py": "import outpost.core.audit\n"}),
    "a new room of the core is not placed": Fault("2", {"outpost/core/attic.py": ""}),
    "the store imports the rpc room": Fault("3", {"controlplane/store/planted.py": "import controlplane.rpc\n"}),
    "a new room of the control plane is not placed": Fault("3", {"controlplane/attic.py": ""}),
    "certs know the outpost": Fault("4", {"certs/planted.py": "import outpost.core.errors\n"}),
    "the outpost knows the control plane": Fault("4", {"outpost/cli/planted.py": "import controlplane.domain\n"}),
    "the control plane uses the gateway": Fault("5", {"controlplane/services/planted.py": "import outpost.gateway\n"}),
    "the core reads the clock": Fault("6", {"outpost/core/policy/planted.py": "import time\n"}),
    "certs read a file": Fault("6", {"certs/planted.py": "import pathlib\n"}),
    "certs reach their own shell": Fault(
        "6", {"certs/planted.py": "import certs.shell.planted\n", "certs/shell/planted.py": ""}
    ),
    "the domain draws a random number, by a detour": Fault(
        "6",
        {
            "controlplane/domain/planted.py": "import controlplane.domain.detour\n",
            "controlplane/domain/detour.py": "import secrets\n",
        },
    ),
    "the agent touches generated messages": Fault(
        "7", {"outpost/sync/planted.py": "import outpost_wire.v1.sync_pb2\n"}
    ),
    "two modules import each other": Fault(
        "8",
        {
            "outpost/ledger/one.py": "import outpost.ledger.two\n",
            "outpost/ledger/two.py": "import outpost.ledger.one\n",
        },
    ),
}


def test_every_contract_is_kept() -> None:
    assert lint(ROOT) == dict.fromkeys(contract_numbers(), True)


def test_there_are_eight_contracts_and_each_has_a_fault() -> None:
    assert contract_numbers() == [str(n) for n in range(1, 9)]
    assert {fault.breaks for fault in FAULTS.values()} == set(contract_numbers())


def test_the_skeleton_keeps_every_contract(skeleton: Path) -> None:
    assert all(lint(skeleton).values())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_exactly_its_contract(skeleton: Path, fault: str) -> None:
    for name, text in FAULTS[fault].plant.items():
        path = skeleton / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    broken = {number for number, kept in lint(skeleton).items() if not kept}
    assert broken == {FAULTS[fault].breaks}
