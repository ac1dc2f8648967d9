"""What every place of secrets promises: the bytes, or one typed refusal that never shows a value."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from outpost import ports
from outpost.core.errors import StoreError
from outpost.secrets.files import MAX_SECRET_BYTES, FileSecrets, SecretMissingError

VALUE = "sk-" + "canary-" + "v" * 20

PLACES: dict[str, Callable[[Path], ports.Secrets]] = {"files": FileSecrets}
pytestmark = pytest.mark.parametrize("place", PLACES)


def put(folder: Path, name: str, value: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(value)


GIVEN: dict[str, tuple[bytes, bytes]] = {
    "as it is": (VALUE.encode(), VALUE.encode()),
    "without the line end that editors add": (VALUE.encode() + b"\r\n", VALUE.encode()),
    "without white space around it": (b" \t" + VALUE.encode() + b"\n\n", VALUE.encode()),
    "with the lines of a PEM chain": (b"one\ntwo\n", b"one\ntwo"),
    "of any bytes": (b"\xff\x00\xfe", b"\xff\x00\xfe"),
    "at the bound": (b"x" * MAX_SECRET_BYTES, b"x" * MAX_SECRET_BYTES),
}


@pytest.mark.parametrize("what", GIVEN)
def test_a_secret_comes(what: str, place: str, tmp_path: Path) -> None:
    stored, given = GIVEN[what]
    put(tmp_path / "s", "provider", stored)
    assert PLACES[place](tmp_path / "s").get("provider") == given


def test_a_rotated_secret_counts_at_once(place: str, tmp_path: Path) -> None:
    secrets = PLACES[place](tmp_path / "s")
    put(tmp_path / "s", "provider", b"old")
    assert secrets.get("provider") == b"old"
    put(tmp_path / "s", "provider", b"new")
    assert secrets.get("provider") == b"new"


def test_a_secret_that_is_mounted_later_is_found(place: str, tmp_path: Path) -> None:
    secrets = PLACES[place](tmp_path / "s")
    with pytest.raises(SecretMissingError):
        secrets.get("provider")
    put(tmp_path / "s", "provider", b"here")
    assert secrets.get("provider") == b"here"


NAMES: dict[str, str] = {
    "that is not there": "absent",
    "that leaves the folder": "../outside",
    "that is a path": "a/b",
    "that is absolute": "/etc/hostname",
    "that is empty": "",
    "that is the folder": ".",
    "that is hidden": ".hidden",
    "with a zero byte": "a\0b",
    "with a line end": "provider\n",
    "that is too long": "a" * 129,
    "in other letters": "schlüssel",
}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_is_refused(what: str, place: str, tmp_path: Path) -> None:
    put(tmp_path / "s", "provider", VALUE.encode())
    put(tmp_path / "s", ".hidden", VALUE.encode())
    (tmp_path / "outside").write_text(VALUE)
    with pytest.raises(StoreError) as refused:
        PLACES[place](tmp_path / "s").get(NAMES[what])
    assert refused.value.code == "secret.missing"
    assert refused.value.fatal is True  # a retry writes no file
    assert VALUE not in str(refused.value.as_dict())


EMPTY: dict[str, bytes] = {"empty": b"", "of white space only": b" \n"}


@pytest.mark.parametrize("what", EMPTY)
def test_a_secret_is_missing_when_it_is(what: str, place: str, tmp_path: Path) -> None:
    put(tmp_path / "s", "provider", EMPTY[what])
    with pytest.raises(SecretMissingError, match="empty"):
        PLACES[place](tmp_path / "s").get("provider")


def test_a_secret_over_the_bound_is_refused_without_a_word_of_it(place: str, tmp_path: Path) -> None:
    put(tmp_path / "s", "provider", (VALUE * MAX_SECRET_BYTES).encode())
    with pytest.raises(SecretMissingError) as refused:
        PLACES[place](tmp_path / "s").get("provider")
    assert VALUE not in str(refused.value.as_dict())


def test_the_name_of_a_secret_that_is_missing_tells_where_to_write_it(place: str, tmp_path: Path) -> None:
    with pytest.raises(SecretMissingError) as refused:
        PLACES[place](tmp_path / "s").get("provider")
    assert os.fspath(tmp_path / "s" / "provider") in refused.value.next_step
