"""The command line as a person runs it: arguments in, exit code and two streams out."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from outpost.cli.main import run
from outpost.paths import StatePaths
from tests.unit.sync.enrolled import Enrolled


@dataclass(frozen=True)
class Result:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["outpost", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            run()
        told = capsys.readouterr()
        return Result(ended.value.code if isinstance(ended.value.code, int) else 1, told.out, told.err)

    return invoke


@pytest.fixture(scope="session")
def made() -> Enrolled:
    from outpost.bootstrap.world import SystemClock

    return Enrolled(SystemClock().now_ms())


@pytest.fixture
def state(made: Enrolled, tmp_path: Path) -> StatePaths:
    return made.fill(tmp_path / "state")
