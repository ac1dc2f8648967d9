"""A gateway worker put together: programs, data path, listener, canary; alone in a process or with the rest."""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from aiohttp import web

from outpost import ports
from outpost.bootstrap.programs import Programs
from outpost.bootstrap.state import wrap_key
from outpost.bootstrap.trials import Trials
from outpost.core.audit.record import StateChanged
from outpost.core.bundle.trust import OrgState, State
from outpost.core.detect.pattern import Scanner
from outpost.gateway import canary, probes, server
from outpost.gateway.context import Gateway, GatewayOptions, GatewayPorts, OrgFunctions
from outpost.gateway.upstream import AiohttpUpstream
from outpost.paths import StatePaths
from outpost.secrets.files import FileSecrets
from outpost.settings import Settings
from outpost.telemetry import Event, emit

STATE_CHECK_SECONDS = 1.0
STARTING = "STARTING"  # in a record of a state: there was none before, the process has just started
DRAIN_SECONDS = 2.5  # streams may end; then each gets an error event. Below the supervisor's patience


@dataclass(frozen=True, slots=True)
class World:
    """Time, chance and the audit log."""

    clock: ports.Clock
    chance: ports.Chance
    ledger: ports.Ledger


class Worker:
    """One event loop that serves clients."""

    def __init__(self, settings: Settings, world: World, scanner: Scanner) -> None:
        paths = StatePaths(settings.state)
        self._settings = settings
        self.programs = Programs(paths, wrap_key(paths, world.chance), scanner, (world.clock, world.chance))
        self._health: Mapping[str, Any] = {}
        self._states: dict[str, OrgState] = {}
        self._upstream = AiohttpUpstream()
        self.gateway = Gateway(
            ports=GatewayPorts(
                ledger=world.ledger,
                upstream=self._upstream,
                secrets=FileSecrets(settings.secrets_folder()),
                clock=world.clock,
                chance=world.chance,
            ),
            functions=OrgFunctions(
                state_of=self.programs.state_of,
                outpost_of=self.programs.outpost_id,
                certificate_expires_ms=lambda org: int(self._health.get(org, {}).get("certificate_expires_ms", 0)),
            ),
            orgs=lambda: self.programs.orgs,
            options=GatewayOptions(version=metadata.version("ai-outpost"), workers=max(1, settings.workers)),
        )
        self._trials = Trials(self.programs, self.gateway, scanner, self._publish)
        for org in self.programs.orgs:
            self._publish(org)
            self._trials.begin(org)

    async def serve(self, listener: socket.socket, tls: ssl.SSLContext | None) -> web.AppRunner:
        """Accept clients on a socket."""
        await self.check_canary()
        return await server.serve(self.gateway, listener, tls)

    async def prepare(self, org: str, slot: str) -> None:
        """Load a slot and try it."""
        self.programs.prepare(org, slot)  # on the loop: the scanner serves one scan at a time

    async def commit(self, org: str) -> None:
        """Use what was prepared, and judge a canary with it at once."""
        self.programs.commit(org)
        self._publish(org)
        self._trials.begin(org)
        await self.check_canary()

    async def lock(self, org: str) -> None:
        """Refuse everything of an org: a signed order was obeyed."""
        self.programs.lock(org)
        self._publish(org)

    def health(self, orgs: Mapping[str, Any]) -> None:
        """Take what the agents know."""
        self._health = orgs
        for org, known in orgs.items():
            self.programs.contact(org, int(known.get("last_contact_ms", 0)), str(known.get("withdrawn", "")))

    def states(self) -> dict[str, dict[str, Any]]:
        """State of each org, now, whether the keys of its providers are here, and how its release does."""
        found = {org: self.programs.state_of(org) for org in self.programs.orgs}
        return {
            org: {
                "state": item.state.value,
                "code": item.code,
                "reason": item.reason,
                "provider_keys": probes.provider_keys(self.gateway, org),
                "running": self._trials.facts(org),
            }
            for org, item in found.items()
        }

    async def check_canary(self) -> None:
        """One canary per org; its failure seals the org in this process."""
        for report in await canary.run_once(self.gateway):
            after = self._trials.judged(report)
            self.programs.inspection(after.org, after.code)
            self._trials.compare(after.org)

    async def keep_canary(self) -> None:
        """Judge canaries until cancelled."""
        while True:
            await asyncio.sleep(self._settings.canary_seconds)
            await self.check_canary()

    async def watch_states(self) -> None:
        """Record each change of an org's state until cancelled. Done by one worker only."""
        while True:
            for org in self.programs.orgs:
                self._note_state(org)
            await asyncio.sleep(STATE_CHECK_SECONDS)

    async def close(self) -> None:
        """Drain: streams end or get an error event, then the records are finished."""
        await self.gateway.drain(DRAIN_SECONDS)
        await self._upstream.close()

    def _note_state(self, org: str) -> None:
        now = self.programs.state_of(org)
        before = self._states.get(org)
        self._states[org] = now
        if before is None and now.state is not State.SEALED:
            return  # nothing changed by our start; but what was altered while nobody looked must be on record
        if before is not None and before.state == now.state:
            return
        emit(Event.STATE_CHANGED, org=org, state=now.state.value, code=now.code)
        change = StateChanged(
            self.gateway.head(org), before.state.value if before else STARTING, now.state.value, now.code or "ok"
        )
        self.gateway.record_later(org, change.to_bytes())

    def _publish(self, org: str) -> None:
        program = self.programs.program(org)
        if program is not None:
            self.gateway.programs.put(program)
