"""A process full of simulated outposts. Orders come as JSON lines on standard input, answers go to standard output.

python -m bench.fleet.simulator
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from bench.fleet import troubles
from bench.fleet.outposts import Notes, Options, Outpost, Programs, enrolled
from outpost.core.errors import OutpostError
from outpost.sync import schedule

LEAF_MS = 24 * 3600 * 1000  # certs.profiles: life of an outpost's certificate
LINE_BYTES = 16 * 1024 * 1024  # folders of thousands of outposts in one order


class Simulator:
    """Outposts by number, and the orders about them."""

    def __init__(self) -> None:
        self._programs = Programs()
        self._outposts: dict[int, Outpost] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._failed: list[str] = []
        self._probes: list[asyncio.Future[float | None]] = []

    async def load(self, org: str, folders: dict[str, str], **options: Any) -> dict[str, Any]:
        """Read outposts from their folders."""
        for number, folder in folders.items():
            self._outposts[int(number)] = Outpost(Path(folder), org, self._programs, Options(**options))
        # One outpost has few objects; thousands in one process would make the collector look through all of them.
        gc.collect()
        gc.freeze()
        return {"loaded": len(self._outposts)}

    async def start(
        self, below: int | None = None, per_second: float = 0.0, only: list[int] | None = None
    ) -> dict[str, Any]:
        """Let agents run that do not yet, all or those with lower numbers; spread over time when a rate is given."""
        for number in tuple(self._outposts) if only is None else only:
            if number not in self._tasks and (below is None or number < below):
                self._run(number)
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

    async def race(self, token: str, folders: list[str]) -> dict[str, Any]:
        """Spend one join token in many folders at the same time: who is enrolled, and how the others were refused."""
        answers = await asyncio.gather(*(enrolled(Path(each), token) for each in folders), return_exceptions=True)
        failed = [each for each in answers if each is not None]
        codes = (str(each.as_dict()["code"]) if isinstance(each, OutpostError) else repr(each) for each in failed)
        return {"enrolled": len(answers) - len(failed), "refused": Counter(codes)}

    async def wire(self, source: str, numbers: list[int] | None = None) -> dict[str, Any]:
        """Put outposts, all or some, on wires that can be cut, and that end at an address."""
        for number in self._outposts if numbers is None else numbers:
            await self._outposts[number].put_on_wire(source)
        return {}

    async def suffer(self, numbers: list[int], events: int) -> dict[str, Any]:
        """Let events befall outposts, each one after the other, all outposts at the same time."""
        told = await asyncio.gather(
            *(troubles.suffer(number, events, self._outposts.__getitem__, self._restarted) for number in numbers),
            return_exceptions=True,
        )
        happened = sum((each for each in told if isinstance(each, Counter)), Counter[str]())
        wires = [wire for number in numbers if (wire := self._outposts[number].wire) is not None]
        return {
            "happened": happened,
            "failed": [repr(each) for each in told if isinstance(each, BaseException)] + self._failed,
            "lost": sum(wire.lost.total() for wire in wires),
            "cut": sum(wire.count for wire in wires),
        }

    async def halt(self, number: int) -> dict[str, Any]:
        """End one agent; it is made anew from its folder, and not started."""
        await self._made_again(number)
        return {}

    async def rotate(self, number: int) -> dict[str, Any]:
        """Let one outpost renew now."""
        self._outposts[number].rotate()
        return {}

    async def renew(self, number: int) -> dict[str, Any]:
        """Renew once, without an agent."""
        await self._outposts[number].renew_once()
        return {}

    async def certificates(self) -> dict[str, Any]:
        """How agents that run do: linked with their newest certificate, what they told, what is on record."""
        running = [self._outposts[number] for number in self._tasks]
        late_ms = time.time() * 1000 + LEAF_MS * (1 - schedule.LATE_SHARE)
        return {
            "settled": sum(each.is_settled() for each in running),
            "running": len(running),
            "late": sum(each.agent.knowledge.certificate_expires_ms < late_ms for each in running),
            "told": sum((each.told for each in running), Counter[str]()),
            "events": sum((each.ledger.events for each in running), Counter[str]()),
            "failed": self._failed,
        }

    async def look(self) -> dict[str, Any]:
        """Let agents that run look at their certificates now: what they do each minute, which a leap skipped."""
        for number in self._tasks:
            self._outposts[number].look()
        return {}

    async def stop_some(self, numbers: list[int]) -> dict[str, Any]:
        """End some agents; they are made anew from their folders, and not started."""
        for number in numbers:
            if number in self._outposts:
                await self._made_again(number)
        return {}

    async def withdrawn(self) -> dict[str, Any]:
        """What outposts were told of their identity, by number; empty while it is good."""
        return {"withdrawn": {number: each.agent.knowledge.withdrawn for number, each in self._outposts.items()}}

    async def _restarted(self, number: int) -> Outpost:
        again = await self._made_again(number)
        self._run(number)
        return again

    async def _made_again(self, number: int) -> Outpost:
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._outposts[number] = again = self._outposts[number].again()
        return again

    def _run(self, number: int) -> None:
        task = asyncio.ensure_future(self._outposts[number].run())
        task.add_done_callback(self._ended)
        self._tasks[number] = task

    async def probe(self, numbers: list[int]) -> dict[str, Any]:
        """Let some outposts call every replica again and again from now on, until each refused them."""
        mine = [self._outposts[number] for number in numbers if number in self._outposts]
        self._probes += [asyncio.ensure_future(probe) for each in mine for probe in each.probes()]
        return {"probes": len(self._probes)}

    async def probed(self) -> dict[str, Any]:
        """When each replica refused."""
        moments = await asyncio.gather(*self._probes)
        self._probes.clear()
        return {"moments": [moment for moment in moments if moment is not None]}

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
