"""Marks that outlive a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from outpost.cache.marker import UNREADABLE, Marker, clear_marker, read_marker, write_marker

MARKER = Marker("op-0123456789abcdef", "operator.lock", 1_790_000_000_000)


def test_a_mark_stays_until_it_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "org" / "locked.json"
    assert read_marker(path) is None
    write_marker(path, MARKER)
    assert read_marker(path) == MARKER
    clear_marker(path)
    clear_marker(path)
    assert read_marker(path) is None


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut short": lambda data: data[:-1],
    "of another schema": lambda data: data.replace(b"marker/1", b"marker/2"),
    "with a field more": lambda data: data.replace(b"{", b'{"a":1,', 1),
    "too large": lambda data: b" " * 5000,
}


@pytest.mark.parametrize("sentence", SPOILT)
def test_a_mark_that_cannot_be_read_is_a_mark(sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "locked.json"
    write_marker(path, MARKER)
    path.write_bytes(SPOILT[sentence](path.read_bytes()))
    found = read_marker(path)
    assert found is not None
    assert (found.outpost, found.code) == ("", UNREADABLE)
