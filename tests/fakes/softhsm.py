"""A real SoftHSM2 with tokens of its own, below one temporary folder for the whole test process.

The library reads SOFTHSM2_CONF when it is initialised, once in a process, and finds only tokens that exist by then:
so all tokens are made at once, and each test takes one that nobody used.
"""

import atexit
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from certs.shell.pkcs11 import KeyToken
from certs.shell.private_files import create_private_file, replace_private_file
from certs.shell.token_session import TokenPlace

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "4711-test"
TOKENS = 8


class SoftHSM:
    """The library with its folder."""

    def __init__(self, module: Path, folder: Path) -> None:
        self.module = module
        self.folder = folder
        self._unused = [f"token-{number}" for number in range(TOKENS)]
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
        create_private_file(folder / "pin", PIN.encode() + b"\n")
        for label in self._unused:
            self.command("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "so-" + PIN)

    def command(self, *arguments: str) -> None:
        """Run softhsm2-util."""
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=30)

    def place(self, pin: str = PIN) -> TokenPlace:
        """A token that nobody used."""
        label = self._unused.pop()
        pin_file = self.folder / f"pin-{label}"
        replace_private_file(pin_file, pin.encode())
        return TokenPlace(self.module, label, pin_file)

    @contextlib.contextmanager
    def pulled(self) -> Iterator[None]:
        """All tokens are out of their slots."""
        away = self.folder / "away"
        (self.folder / "tokens").rename(away)
        try:
            yield
        finally:
            away.rename(self.folder / "tokens")


@cache
def softhsm() -> SoftHSM:
    """The SoftHSM of this process; skips the test where none is installed."""
    module = next((Path(each) for each in MODULES if Path(each).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return SoftHSM(module, folder)


@cache
def shared_token() -> KeyToken:
    """One token for all tests that only need some token."""
    return KeyToken(softhsm().place())
