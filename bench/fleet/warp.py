"""Time that leaps: every process of a bench reads the wall clock through ``leap.c``, from one file.

The monotonic clock stays real, so waits and timeouts last as long as they do; the wall clock, by which certificates
and signatures are judged, leaps for all processes in the same moment. Servers that a bench only uses, such as the
database, are not part of it.
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

SOURCE = Path(__file__).with_name("leap.c")
FILE, LIBRARY = "LEAP_FILE", "LD_PRELOAD"


def compiler() -> str | None:
    """The C compiler; None when there is none."""
    return shutil.which("cc")


def without(environ: dict[str, str]) -> dict[str, str]:
    """An environment in which time is real."""
    return {name: value for name, value in environ.items() if name not in (FILE, LIBRARY)}


class Warp:
    """The file that all clocks follow."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds = 0

    def leap(self, seconds: int) -> None:
        """Move every clock forward, at once."""
        self.seconds += seconds
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", self.seconds))


def warped(module: str) -> Warp:
    """The file of this process's clock; the process is replaced by one whose clock follows a file, if need be."""
    if FILE not in os.environ:
        _start_again(module)
    return Warp(Path(os.environ[FILE]))


def forget() -> None:
    """Remove the file and what was compiled, at the end."""
    shutil.rmtree(Path(os.environ[FILE]).parent, ignore_errors=True)


def _start_again(module: str) -> NoReturn:
    found = compiler() or sys.exit("cc is missing: make bench-setup")
    folder = Path(tempfile.mkdtemp(prefix="warp-"))
    file, library = folder / "seconds", folder / "leap.so"
    file.write_bytes(struct.pack("=q", 0))
    subprocess.run([found, "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    environment = {**os.environ, FILE: str(file), LIBRARY: str(library)}
    os.execve(sys.executable, [sys.executable, "-m", module], environment)
