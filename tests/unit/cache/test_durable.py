"""Files that are the old ones or the new ones, and what else may stand in their place."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from outpost.cache.durable import OVERWRITE_STEPS, STEPS, make_folder, overwrite_file, read_file, replace_file
from outpost.cache.errors import CacheTamperedError, CacheWriteError

ROOT = Path(__file__).parents[3]
OLD, NEW = b"the old content", b"quite new content"
RENAMED = ("sync-folder", "done")


def kill_at(way: str, path: Path, step: str) -> None:
    """Write the new content in a process that dies at a step."""
    program = [sys.executable, "-m", "tests.unit.cache.dying_file", way, str(path), NEW.decode(), f"{path.name}:{step}"]
    died = subprocess.run(program, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.parametrize("step", STEPS)
def test_a_replaced_file_is_the_old_one_or_the_new_one(step: str, tmp_path: Path) -> None:
    """So are marks, stored files and the high water."""
    path = tmp_path / "file"
    replace_file(path, OLD)
    kill_at("replace_file", path, step)
    assert path.read_bytes() == (NEW if step in RENAMED else OLD)
    replace_file(path, b"and the next")
    assert path.read_bytes() == b"and the next"


@pytest.mark.parametrize("step", [step for step in OVERWRITE_STEPS if step != "sync-folder"])
def test_a_torn_file_is_written_over(step: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    overwrite_file(path, OLD)
    kill_at("overwrite_file", path, step)
    overwrite_file(path, NEW)
    assert path.read_bytes() == NEW


def linked(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(OLD)
    os.link(path.with_name("elsewhere"), path)


def symlinked(path: Path) -> None:
    path.with_name("elsewhere").write_bytes(OLD)
    path.symlink_to(path.with_name("elsewhere"))


def open_to_all(path: Path) -> None:
    path.write_bytes(OLD)
    path.chmod(0o666)


IN_PLACE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a longer file": lambda path: path.write_bytes(OLD * 100),
    "a file that anybody may write": open_to_all,
    "a file with a second name": linked,
    "a symbolic link": symlinked,
    "a link to nowhere": lambda path: path.symlink_to("/nowhere"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("way", [replace_file, overwrite_file])
@pytest.mark.parametrize("what", IN_PLACE)
def test_what_stands_in_the_place_is_not_followed(what: str, way: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    IN_PLACE[what](path)
    way(path, NEW)
    assert read_file(path, 100) == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.is_symlink()
    elsewhere = tmp_path / "elsewhere"
    assert not elsewhere.exists() or elsewhere.read_bytes() == OLD


@pytest.mark.parametrize("way", [replace_file, overwrite_file])
def test_a_folder_in_the_place_is_refused(way: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(CacheWriteError):
        way(tmp_path / "file", NEW)
    with pytest.raises(CacheTamperedError):
        read_file(tmp_path / "file", 100)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(CacheWriteError):
        make_folder(tmp_path / "file" / "below")
