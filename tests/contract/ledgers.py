"""Every adapter of the ledger port over real logs; as a program, the ledger's process without a supervisor."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from outpost import ports
from outpost.core.audit.record import BundleActivated, RecordHead
from outpost.ledger.door import LedgerClient, LedgerServer, LocalLedger
from outpost.ledger.identity import create_identity
from outpost.ledger.ledger import Ledger
from outpost.ledger.reader import iterate
from outpost.ledger.writer import LogOptions
from tests.unit.ledger.support import FailingDisk

ORGS = ("acme", "globex")
OUTPOST = "op-0123456789abcdef"
GROUP_BYTES = 60_000  # of one append; small, so that a test reaches it


def body(text: str, org: str = ORGS[0]) -> bytes:
    """A record that tells which one it is."""
    return BundleActivated(RecordHead(1_700_000_000_000, org, OUTPOST), text).to_bytes()


@dataclass
class Way:
    """One adapter, and what stands behind it."""

    port: ports.Ledger
    ledger: Ledger
    folder: Path
    disk: FailingDisk = field(default_factory=FailingDisk)

    def on_disk(self, org: str = ORGS[0]) -> list[str]:
        """The texts of the records of an org, in the order of the log."""
        self.ledger.log(org).checkpoint()
        return [orjson.loads(record)["revision"] for record in iterate(self.folder / org / "audit")]


def make_orgs(folder: Path) -> None:
    """An identity for the log of each org."""
    for org in ORGS:
        create_identity(folder / org / "audit", f"outpost.internal/org/{org}/outpost/{OUTPOST}")


def _ledger(folder: Path, disk: FailingDisk) -> Ledger:
    options = LogOptions(segment_bytes=72_000, group_bytes=GROUP_BYTES, checkpoint_seconds=3600.0, sync=disk.sync)
    return Ledger(folder, options)


@contextlib.asynccontextmanager
async def here(tmp: Path) -> AsyncIterator[Way]:
    """In the same process."""
    folder, disk = tmp / "orgs", FailingDisk()
    make_orgs(folder)
    ledger = _ledger(folder, disk)
    try:
        yield Way(LocalLedger(ledger), ledger, folder, disk)
    finally:
        ledger.close()


@contextlib.asynccontextmanager
async def over_a_socket(tmp: Path) -> AsyncIterator[Way]:
    """Through server and client."""
    async with here(tmp) as way:
        server = await LedgerServer(way.ledger).start(tmp / "run" / "ledger.sock")
        client = LedgerClient(tmp / "run" / "ledger.sock")
        try:
            yield Way(client, way.ledger, way.folder, way.disk)
        finally:
            await client.close()
            server.close()


WAYS: dict[str, Callable[[Path], AbstractAsyncContextManager[Way]]] = {
    "in this process": here,
    "over a socket": over_a_socket,
}


class LedgerProcess:
    """A ledger that can be killed: logs below ``tmp/orgs``, socket in ``tmp``."""

    def __init__(self, tmp: Path) -> None:
        self.folder, self.socket = tmp / "orgs", tmp / "ledger.sock"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start; returns when it listens."""
        arguments = ("-m", "tests.contract.ledgers", str(self.folder), str(self.socket))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


async def _serve(folder: Path, path: Path) -> None:
    ledger = Ledger(folder)
    ledger.open_all()
    await LedgerServer(ledger).start(path)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the test has gone


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
