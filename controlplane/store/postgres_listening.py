"""Hearing of commits on PostgreSQL: a connection of its own that listens, and comes back when it is lost.

It is never inside a transaction, so neither long transactions of others nor our own keep a notification back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from controlplane import telemetry
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.orgs import ORG_ID
from controlplane.ports.store import Heard
from controlplane.store.postgres_faults import translated

CHANNEL = "outpost_changes"
PING_SECONDS = 5.0  # a server that went silent is noticed after this and the time of an answer
ANSWER_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class Listener:
    """One ``listen`` of the engine.

    Args:
        connect: opens a connection.
        heard: told of orgs; of "" when anything may have changed.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], heard: Heard) -> None:
        self._connect = connect
        self._heard = heard
        self._pause = FIRST_PAUSE_SECONDS
        self._told = False  # of a loss that lasts, the log tells once

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except ControlPlaneError as error:
                if not self._told:
                    telemetry.log(telemetry.Event.STORE_LOST, level=logging.WARNING, kind="listen", code=error.code)
                self._told = True
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _listen(self) -> None:
        """Listen on one connection until it is lost."""
        connection = await self._connect()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            with translated():
                await connection.add_listener(CHANNEL, self._notified)
            self._heard("")  # what was committed before this moment was not heard
            self._pause, self._told = FIRST_PAUSE_SECONDS, False
            while not lost.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_SECONDS):  # wait_for may lose a cancellation
                        await lost.wait()
                with translated():
                    await connection.execute("SELECT 1", timeout=ANSWER_SECONDS)
        finally:
            connection.terminate()

    def _notified(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self._heard(payload if ORG_ID.fullmatch(payload) else "")
