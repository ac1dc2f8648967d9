"""Counts the starts of an outpost: each start has a boot id that no other start of this machine ever had.

A boot id is 8 hex digits of a counter and 24 random ones. The counter is on the disk before the id is used, and a lock
on a file beside it is held for as long as the process lives: the start before must be gone, whatever held it up. So two
starts with one counter, or an earlier start that still speaks, are two machines (docs/identity.md). A disk that cannot
take the counter keeps the outpost from connecting, and says so; enforcement goes on.
"""

import fcntl
import os
import threading
from pathlib import Path

from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from outpost import ports
from outpost.core.errors import StoreError

COUNTER = "boot"
LOCK = "boot.lock"
COUNTER_DIGITS = 8  # hex, of 32: the control plane reads them
CHANCE_BYTES = 12
MAX_COUNTER = 16**COUNTER_DIGITS - 1
ANEW = "enroll anew: controlplane outpost reenroll NAME --org ORG"


class BootCounterError(StoreError):
    """The counter of starts cannot be read or stored: without it the control plane would take us for a copy."""

    code = "identity.boot_counter"
    fatal = False


class IdentityInUseError(StoreError):
    """Another process holds this identity: a start before this one has not ended yet."""

    code = "identity.in_use"
    fatal = False


class BootCounter:
    """Starts with one identity.

    Args:
        folder: of the identity.
    """

    def __init__(self, folder: Path, chance: ports.Chance) -> None:
        self._folder = folder
        self._chance = chance
        self._lock = -1
        self._boot_id = ""
        self._counting = threading.Lock()

    def boot_id(self) -> str:
        """The id of this start: counted at the first call, the same ever after. Blocks on the disk.

        A stream and a renewal may ask at one moment, each in a thread of its own; two ids of one start were a clone.

        Raises:
            BootCounterError: the counter cannot be read or stored.
            IdentityInUseError: the start before still lives.
        """
        with self._counting:
            if not self._boot_id:
                self._hold()
                counter = self._counter() + 1
                self._store(counter)
                self._boot_id = f"{counter:0{COUNTER_DIGITS}x}" + self._chance.token_bytes(CHANCE_BYTES).hex()
            return self._boot_id

    def close(self) -> None:
        """Let another start count: this one says nothing any more."""
        with self._counting:
            if self._lock >= 0:
                os.close(self._lock)
            self._lock, self._boot_id = -1, ""

    def _hold(self) -> None:
        if self._lock >= 0:
            return
        try:
            descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(error.strerror or "the system refused") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise IdentityInUseError(
                "an earlier start of this outpost has not ended yet",
                field=str(self._folder),
                next_step="it is tried again by itself; outpost status shows the processes",
            ) from error
        self._lock = descriptor

    def _counter(self) -> int:
        path = self._folder / COUNTER
        if not path.exists():
            return 0  # the first start after the enrollment, which removes the file
        try:
            counter = int(read_private_file(path))
        except (TrustError, ValueError) as error:
            raise _unusable("it cannot be read", ANEW) from error
        if not 0 <= counter < MAX_COUNTER:
            raise _unusable("it is out of its bounds", ANEW)
        return counter

    def _store(self, counter: int) -> None:
        try:
            replace_private_file(self._folder / COUNTER, b"%d\n" % counter)
        except TrustError as error:
            raise _unusable(error.message.rstrip(".").lower()) from error


def _unusable(cause: str, next_step: str = "free space or repair the disk; it is tried again by itself") -> StoreError:
    return BootCounterError(f"the counter of starts cannot be used: {cause}", field=COUNTER, next_step=next_step)
