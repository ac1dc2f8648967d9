"""Secrets as container platforms mount them: links, folders, and files that are swapped as a whole."""

from pathlib import Path

import pytest

from outpost.secrets.files import FileSecrets, SecretMissingError


def test_a_mounted_volume_is_read_through_its_links_and_swapped_at_once(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "provider").write_text(version)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "provider").symlink_to("..data/provider")
    secrets = FileSecrets(tmp_path)
    assert secrets.get("provider") == b"one"
    (tmp_path / "..next").symlink_to("..two")
    (tmp_path / "..next").replace(tmp_path / "..data")
    assert secrets.get("provider") == b"two"


def test_a_folder_under_the_name_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "provider").mkdir()
    with pytest.raises(SecretMissingError):
        FileSecrets(tmp_path).get("provider")


def test_a_link_to_nothing_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "provider").symlink_to("gone")
    with pytest.raises(SecretMissingError):
        FileSecrets(tmp_path).get("provider")
