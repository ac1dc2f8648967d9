"""How a bench of the fleet ends: a table for people, remarks on the circumstances, and one JSON line."""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

TINY = int(os.environ.get("OUTPOSTS", "0"))  # so many outposts, and no longer than they need: for tests
QUICK = bool(TINY or os.environ.get("QUICK"))
SECONDS = 45.0 if QUICK else 570.0  # a bench that hangs ends, with what it knows, before its time is over


def outposts(quick: int, full: int) -> int:
    """How many outposts a bench works with."""
    return TINY or (quick if QUICK else full)


def seconds(tiny: float, quick: float, full: float) -> float:
    """How long a bench watches something."""
    return tiny if TINY else quick if QUICK else full


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a head, columns as wide as they must be."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells), flush=True)


def remark(text: str) -> None:
    """A line below the table."""
    print(text, flush=True)


def load() -> str:
    """How busy the machine is, for the output."""
    one, five = os.getloadavg()[:2]
    return f"{os.cpu_count()} cores, load {one:.1f} (5 min {five:.1f})"


def ms(values: Sequence[float | None]) -> list[str]:
    """Seconds as milliseconds for a table."""
    return ["-" if value is None else f"{value * 1000:.0f}" for value in values]


def run(bench: Callable[[dict[str, Any]], Awaitable[None]], keys: Sequence[str]) -> int:
    """Run a bench to its end, whatever happens, and print its line.

    Args:
        bench: fills the result; what it did not reach stays null.
        keys: of the JSON line.
    """
    result: dict[str, Any] = dict.fromkeys(keys)

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await bench(result)

    status = 0
    try:
        asyncio.run(bounded())
    except TimeoutError:
        result["why"] = f"not finished after {SECONDS:.0f} s"
        status = 1
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        result["why"] = f"{type(error).__name__}: {error}"
        status = 1
    print(json.dumps(result), flush=True)
    return status


def where(folder: Path) -> str:
    """Kind of file system of a folder, for the output."""
    best, kind = "", "?"
    for line in Path("/proc/mounts").read_text().splitlines():
        place, found = line.split()[1:3]
        if str(folder.resolve()).startswith(place.rstrip("/") + "/") and len(place) > len(best):
            best, kind = place, found
    return kind
