"""The stored automaton: used when it is ours, compiled anew when it is not, and never a way to blind an outpost."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from outpost.bootstrap import detectors
from outpost.bootstrap.world import SystemChance
from outpost.cache.seal import Seal
from outpost.core.detect.pattern import Scanner, compile_rules
from outpost.core.detect.rules import RULES
from outpost.paths import StatePaths
from tests.unit.gateway.harness import CARD, EMAIL

KEY = bytes(range(32))


def load(state: Path, key: bytes = KEY) -> Scanner:
    return detectors.load_scanner(StatePaths(state), key, SystemChance())


def finds(scanner: Scanner) -> set[str]:
    return {finding.entity_type for finding in scanner.scan(f"card {CARD}, write to {EMAIL}")}


def stored(state: Path) -> list[Path]:
    return sorted((state / "cache").glob("detectors-*"))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts compilations."""
    found: list[int] = []

    def count(rules: object) -> bytes:
        found.append(1)
        return compile_rules(RULES)

    monkeypatch.setattr(detectors, "compile_rules", count)
    return found


def test_the_first_start_compiles_and_stores_and_the_second_loads(tmp_path: Path, compiled: list[int]) -> None:
    assert finds(load(tmp_path)) >= {"credit_card", "email"}
    (path,) = stored(tmp_path)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = path.read_bytes()
    assert finds(load(tmp_path)) >= {"credit_card", "email"}
    assert (len(compiled), path.read_bytes()) == (1, before)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _blind(path: Path) -> None:
    """An automaton that finds nothing, sealed well by somebody with another key."""
    seal = Seal(outpost="", org="", wrapping_key=lambda: bytes(32), random_bytes=SystemChance().token_bytes)
    path.write_bytes(seal.close(path.name, path.name.removeprefix("detectors-"), compile_rules(RULES[:1])))


def _nonsense(path: Path) -> None:
    """What our own key sealed, but no automaton."""
    seal = Seal(outpost="", org="", wrapping_key=lambda: KEY, random_bytes=SystemChance().token_bytes)
    path.write_bytes(seal.close(path.name, path.name.removeprefix("detectors-"), b"no automaton"))


ALTERED: dict[str, tuple[Callable[[Path], object], bool]] = {
    "has a flipped bit": (_flip, True),
    "is cut short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), True),
    "is empty": (lambda path: path.write_bytes(b""), True),
    "finds nothing and was sealed by another key": (_blind, True),
    "is no automaton": (_nonsense, False),
    "is gone": (lambda path: path.unlink(), False),
}


@pytest.mark.parametrize("what", ALTERED)
def test_detection_goes_on_when_the_stored_file(
    what: str, tmp_path: Path, compiled: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    alter, told = ALTERED[what]
    load(tmp_path)
    alter(stored(tmp_path)[0])
    with caplog.at_level(logging.WARNING, "outpost"):
        assert finds(load(tmp_path)) >= {"credit_card", "email"}
    assert len(compiled) == 2
    assert [record.message for record in caplog.records] == ["bundle.refused"] * told
    assert finds(load(tmp_path)) >= {"credit_card", "email"}
    assert len(compiled) == 2  # what was compiled is stored again


def test_another_rule_set_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path)
    monkeypatch.setattr(detectors, "RULES", tuple(rule for rule in RULES if rule.entity_type != "email"))
    assert "email" not in finds(load(tmp_path))
    assert len(stored(tmp_path)) == 2


def test_another_wrapping_key_compiles_anew(tmp_path: Path, compiled: list[int]) -> None:
    load(tmp_path)
    assert finds(load(tmp_path, bytes(32))) >= {"credit_card"}
    assert len(compiled) == 2
