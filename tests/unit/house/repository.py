"""The repository as the house's own tests see it."""

import importlib
import pkgutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("outpost", "controlplane", "certs")


@cache
def tracked() -> tuple[Path, ...]:
    """Files that git knows, below the root; files that are deleted but not yet committed are left out."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    names = listing.stdout.decode().split("\0")
    return tuple(ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file())


def text_of(path: Path) -> str | None:
    """Content of a text file; None for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def product_modules() -> tuple[Path, ...]:
    """Python files of the product, generated ones aside (those live below proto/)."""
    return tuple(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))


@cache
def import_everything() -> None:
    """Import every module of the product, so that every class exists."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
