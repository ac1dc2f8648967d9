"""A child process that does what a test says, on the real control socket.

Started as the supervisor starts its children; its behaviour is `<role>-<index>.json` in the folder that STAND_IN names,
and everything that happens to it is appended to `log` there. Where it waits for a test, it waits on a FIFO.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from outpost.core.errors import StoreError
from outpost.ipc import control, frames

FOLDER = Path(os.environ["STAND_IN"])


class SpoiltError(StoreError):
    """What a stand-in refuses with."""

    code = "test.spoilt"


class BusyError(StoreError):
    """What a stand-in refuses with for now."""

    code = "test.busy"
    fatal = False


class StandIn:
    """One child."""

    def __init__(self, role: str, index: str) -> None:
        self.name = f"{role}-{index}"
        self.role, self.index = role, int(index)
        path = FOLDER / f"{self.name}.json"
        self.behaviour: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}

    def log(self, *words: object) -> None:
        """Append one line; lines of several processes do not mix."""
        line = " ".join([self.name, *map(str, words)]) + "\n"
        descriptor = os.open(FOLDER / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    async def handle(self, frame: frames.Frame) -> object:
        """Serve one frame of the supervisor."""
        kind = frame["type"]
        told = {key: value for key, value in frame.items() if key not in {"type", "id"}}
        self.log(kind, json.dumps(told, sort_keys=True))
        does = self.behaviour.get(kind, "ok")
        if does == "refuse":
            raise SpoiltError("no")
        if does == "put off":
            raise BusyError("not now")
        if does == "die":
            os._exit(9)
        if does == "hang":
            await asyncio.Event().wait()
        return does if kind == "metrics" else None

    async def run(self, socket: Path) -> None:
        """Live until SIGTERM or until the supervisor has gone."""
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        self.log("started", os.getpid())
        if self.behaviour.get("start") == "die":
            os._exit(7)
        link = await control.connect(socket, self.handle)
        running = asyncio.create_task(link.run())
        hello = {"type": "hello", "role": self.role, "index": self.index, "pid": os.getpid()}
        answer = await link.call(hello, 10)
        self.log("hello", answer["port"])
        if self.behaviour.get("start") == "hang":
            await asyncio.Event().wait()
        if self.behaviour.get("start") == "wait":
            await asyncio.to_thread((FOLDER / f"{self.name}.fifo").read_bytes)
        link.cast({"type": "ready", "info": {"stand_in": self.name}})
        await asyncio.wait({running, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if self.behaviour.get("stop") == "hang" and not running.done():
            self.log("ignores SIGTERM")
            await running
        self.log("orphaned" if running.done() else "stopped")
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(StandIn(sys.argv[-3], sys.argv[-2]).run(Path(sys.argv[-1])))
