"""The whole outpost in one process (`--workers 0`): for the demo, for tests, and for the smallest installations."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from outpost.admin.views import join_views
from outpost.bootstrap import listener
from outpost.bootstrap.agents import Agents, Shared
from outpost.bootstrap.detectors import load_scanner
from outpost.bootstrap.state import wrap_key
from outpost.bootstrap.worker import Worker, World
from outpost.bootstrap.world import SystemChance, SystemClock
from outpost.ledger.door import LocalLedger
from outpost.ledger.ledger import Ledger
from outpost.paths import StatePaths
from outpost.settings import Settings


class Single:
    """Ledger, agent and one worker on one event loop. Same parts as the processes, other doors between them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = StatePaths(settings.state)
        self._ledger = Ledger(self._paths.state / "orgs")
        self._world = World(SystemClock(), SystemChance(), LocalLedger(self._ledger))
        self._orgs: Mapping[str, Any] = {}
        self._jobs: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self.port = settings.port
        self.worker: Worker

    async def start(self) -> None:
        """Start everything; the listener is open when this returns."""
        key = wrap_key(self._paths, self._world.chance)
        scanner = await asyncio.to_thread(load_scanner, self._paths, key, self._world.chance)
        await asyncio.to_thread(self._ledger.open_all)
        self.worker = Worker(self._settings, self._world, scanner)
        socket = listener.share(self._settings.host, self._settings.port)
        self.port = socket.getsockname()[1]
        agents = Agents(
            Shared(
                settings=self._settings,
                paths=self._paths,
                wrap_key=key,
                ledger=self._world.ledger,
                activator=self.worker,
                scanner=scanner.clone(),
                clock=self._world.clock,
                chance=self._world.chance,
                publish=self._publish,
                fleet=lambda: (1, 1),
                state=lambda org: self.worker.programs.state_of(org).state.value,
                running=lambda org: self.worker.states().get(org, {}).get("running", {}),
            )
        )
        self._runner = await self.worker.serve(socket, listener.tls_context(self._settings))
        jobs = (agents.run(), self.worker.keep_canary(), self.worker.watch_states())
        self._jobs = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        """Drain, then let the log go last."""
        if self._runner is not None:
            await self.worker.close()
            await self._runner.cleanup()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await asyncio.to_thread(self._ledger.close)

    def status(self) -> dict[str, Any]:
        """What `outpost status` shows."""
        states = self.worker.states()
        process = {"role": "single", "index": 0, "pid": os.getpid(), "ready": True, "starts": 1}
        return {
            "schema": "outpost.status/1",
            "pid": os.getpid(),
            "port": self.port,
            "orgs": join_views(self._orgs, states),
            "processes": [process],
        }

    async def metrics_text(self) -> bytes:
        """Metrics of the one worker."""
        return self.worker.gateway.metrics.render()

    def _publish(self, orgs: Mapping[str, Any]) -> None:
        self._orgs = orgs
        self.worker.health(orgs)
