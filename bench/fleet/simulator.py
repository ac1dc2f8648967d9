"""A process full of simulated outposts. Orders come as JSON lines on standard input, answers go to standard output.

python -m bench.fleet.simulator
"""

import asyncio
import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from bench.fleet.outposts import Notes, Options, Outpost, Programs, enrolled

LINE_BYTES = 16 * 1024 * 1024  # folders of thousands of outposts in one order


class Simulator:
    """Outposts by number, and the orders about them."""

    def __init__(self) -> None:
        self._programs = Programs()
        self._outposts: dict[int, Outpost] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: list[str] = []

    async def load(self, org: str, folders: dict[str, str], **options: Any) -> dict[str, Any]:
        """Read outposts from their folders."""
        for number, folder in folders.items():
            self._outposts[int(number)] = Outpost(Path(folder), org, self._programs, Options(**options))
        # One outpost has few objects; thousands in one process would make the collector look through all of them.
        gc.collect()
        gc.freeze()
        return {"loaded": len(self._outposts)}

    async def start(self, below: int | None = None, per_second: float = 0.0) -> dict[str, Any]:
        """Let agents run, all or those with lower numbers; spread over time when a rate is given."""
        for number, outpost in self._outposts.items():
            if number not in self._tasks and (below is None or number < below):
                task = asyncio.ensure_future(outpost.run())
                task.add_done_callback(self._ended)
                self._tasks[number] = task
                await asyncio.sleep(1 / per_second if per_second else 0)
        return {"started": len(self._tasks)}

    async def stop(self) -> dict[str, Any]:
        """End every agent; folders stay, so that they can be started anew."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        return {}

    async def restart(self, org: str, folders: dict[str, str], **options: Any) -> dict[str, Any]:
        """Stop, and read all outposts anew from their folders."""
        await self.stop()
        self._outposts.clear()
        return await self.load(org, folders, **options)

    async def enroll(self, tokens: dict[str, str]) -> dict[str, Any]:
        """Spend join tokens, each for the state folder of another outpost, all at the same time."""
        await asyncio.gather(*(enrolled(Path(folder), token) for folder, token in tokens.items()))
        return {"enrolled": len(tokens)}

    async def count(self, revision: str = "") -> dict[str, Any]:
        """How many are linked, and how many of them run a revision."""
        linked = sum(each.is_linked() for each in self._outposts.values())
        active = sum(each.agent.knowledge.revision == revision for each in self._outposts.values())
        return {"linked": linked, "active": active, "failed": self._failed}

    async def notes(self, only: list[int] | None = None) -> dict[str, Any]:
        """Notes since the last time, of all outposts or of some."""
        chosen = {n: each for n, each in self._outposts.items() if only is None or n in only}
        found = {number: asdict(each.notes) for number, each in chosen.items()}
        for each in chosen.values():
            fresh = Notes()
            for name in fresh.__slots__:
                value = getattr(each.notes, name)
                setattr(each.notes, name, getattr(fresh, name)) if isinstance(value, int) else value.clear()
        return {"notes": found, "failed": self._failed}

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failed.append(repr(task.exception()))


async def serve() -> None:
    """Take orders until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    simulator = Simulator()
    print(json.dumps({"pid": os.getpid()}), flush=True)
    while line := await reader.readline():
        order = json.loads(line)
        answer = await getattr(simulator, order.pop("do"))(**order)
        print(json.dumps(answer), flush=True)
    os._exit(0)  # thousands of open connections are not worth an orderly goodbye


def main() -> None:
    gc.set_threshold(100_000, 20, 100)
    uvloop.run(serve())


if __name__ == "__main__":
    main()
