"""Install the second of two sets and die by SIGKILL at a chosen step: run as a program by the tests."""

import os
import pickle
import signal
import sys
from pathlib import Path

from outpost.cache.slots import SlotCache
from outpost.core.bundle.trust import next_high_water
from tests.unit.cache.conftest import seal_of
from tests.unit.core.bundle.samples import NOW_MS


def main() -> None:
    folder, prepared, dying_step = sys.argv[1:]
    verified = pickle.loads(Path(prepared).read_bytes())

    def die(step: str) -> None:
        if step == dying_step:
            os.kill(os.getpid(), signal.SIGKILL)

    cache = SlotCache(Path(folder), seal_of(), die)
    high_water = cache.read_high_water()
    cache.activate(cache.write_idle(verified))
    cache.write_high_water(next_high_water(high_water, verified, NOW_MS))


if __name__ == "__main__":
    main()
