"""The wheel is built twice and is bit-identical, and holds the product and nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.house.repository import PACKAGES, ROOT, tracked

EPOCH = "1767225600"  # any fixed time


def build(folder: Path, into: str) -> Path:
    """Build a wheel offline with the back end that pyproject.toml pins."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", into],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return next((folder / into).glob("*.whl"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy of what git knows, so that nobody changes it meanwhile."""
    for path in tracked():
        name = path.relative_to(ROOT)
        if name.parts[0] in {*PACKAGES, "proto"} or len(name.parts) == 1:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, tmp_path / name)
    return tmp_path


def test_two_builds_are_bit_identical(checkout: Path) -> None:
    first = build(checkout, "first").read_bytes()
    for path in checkout.rglob("*.py"):  # another clone: other time stamps
        os.utime(path, (1, 1))
    assert build(checkout, "second").read_bytes() == first


def test_the_wheel_holds_the_product_and_nothing_else(checkout: Path) -> None:
    names = zipfile.ZipFile(build(checkout, "dist")).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {*PACKAGES, "outpost_wire"}
    assert "outpost_wire/v1/sync_pb2.py" in names
    assert [n for n in names if n.endswith((".key", ".pem", ".pyc"))] == []
