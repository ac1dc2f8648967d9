"""Time that leaps: every process of a bench reads the wall clock through libfaketime, from one file.

The monotonic clock stays real, so waits and timeouts last as long as they do; the wall clock, by which certificates
and signatures are judged, leaps for all processes in the same moment. Servers that a bench only uses, such as the
database, are not part of it.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)
FILE = "FAKETIME_TIMESTAMP_FILE"


def library() -> str | None:
    """The library; None when it is not installed."""
    return next((each for each in LIBRARIES if Path(each).exists()), None)


def environment(file: Path) -> dict[str, str]:
    """What a process needs so that its wall clock follows a file."""
    found = library()
    if found is None:
        raise FileNotFoundError("libfaketime is not installed: apt-get install faketime")
    return {
        "LD_PRELOAD": found,
        FILE: str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def without(environ: dict[str, str]) -> dict[str, str]:
    """An environment in which time is real."""
    return {name: value for name, value in environ.items() if name != "LD_PRELOAD" and "FAKE" not in name}


class Warp:
    """The file that all clocks follow."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds = 0
        self.leap(0)

    def leap(self, seconds: int) -> None:
        """Move every clock forward, at once."""
        self.seconds += seconds
        beside = self.file.with_suffix(".new")
        beside.write_text(f"+{self.seconds}\n")
        beside.replace(self.file)


def warped(module: str) -> Warp:
    """The file of this process's clock; the process is replaced by one whose clock follows a file, if need be."""
    if FILE not in os.environ:
        _start_again(module)
    return Warp(Path(os.environ[FILE]))


def _start_again(module: str) -> NoReturn:
    handle, name = tempfile.mkstemp(prefix="warp-")
    os.write(handle, b"+0\n")
    os.close(handle)
    os.execve(sys.executable, [sys.executable, "-m", module], {**os.environ, **environment(Path(name))})
