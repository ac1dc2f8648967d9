"""Install a set and die by SIGKILL at a chosen step: run as a program by the tests."""

import os
import pickle
import signal
import sys
from pathlib import Path

from outpost.cache.seal import Seal
from outpost.cache.slots import SlotCache


def main() -> None:
    folder, prepared, dying_step = sys.argv[1:]
    (outpost, org, key), verified, high_water = pickle.loads(Path(prepared).read_bytes())

    def die(step: str) -> None:
        if step == dying_step:
            os.kill(os.getpid(), signal.SIGKILL)

    cache = SlotCache(Path(folder), Seal(outpost, org, lambda: key, os.urandom), die)
    cache.activate(cache.write_idle(verified))
    cache.write_high_water(high_water)


if __name__ == "__main__":
    main()
