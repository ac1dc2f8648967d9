"""Write a file and die by SIGKILL at a chosen step: run as a program by the tests."""

import os
import signal
import sys
from pathlib import Path

from outpost.cache.durable import overwrite_file, replace_file

WAYS = {"replace_file": replace_file, "overwrite_file": overwrite_file}


def main() -> None:
    way, path, content, dying_step = sys.argv[1:]

    def die(step: str) -> None:
        if step == dying_step:
            os.kill(os.getpid(), signal.SIGKILL)

    WAYS[way](Path(path), content.encode(), die)


if __name__ == "__main__":
    main()
