"""This process among those that serve one control plane: it says that it serves, and learns who else does."""

import asyncio
from collections.abc import Callable

from controlplane import telemetry
from controlplane.bootstrap.plane import Plane
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.replicas import BEAT_SECONDS, LOST_MS, REPLICA_ID_BYTES, Replica

ALONE_BEATS = 6  # a minute: replicas that are started together, on a busy machine, have registered by then

Told = Callable[[tuple[str, ...]], None]


class ReplicaBeat:
    """Registers a replica again and again.

    Args:
        endpoint: host:port that outposts call.
        told: called with the addresses of all live replicas whenever they are others than before, and once when this
            replica is alone: outposts may know those of others that are gone. That is not said before others that
            start at the same time had theirs to register. What the settings name counts instead.
    """

    def __init__(self, plane: Plane, endpoint: str, told: Told) -> None:
        self._plane = plane
        self._endpoint = endpoint
        self._told = told
        self._id = plane.chance.token_bytes(REPLICA_ID_BYTES).hex()
        self.endpoints: tuple[str, ...] = (endpoint,)
        self._has_told = False
        self._beats = 0

    async def start(self) -> None:
        """Register for the first time. Raises StateError."""
        self._tell(await self._beat())

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                self._beats += 1
                self._tell(await self._beat(), anyway=not self._has_told and self._beats >= ALONE_BEATS)
            except ControlPlaneError as error:
                telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="replica", code=error.code)

    async def leave(self) -> None:
        """Say that this replica ended; when the store cannot be told, it finds out by the silence."""
        try:
            await self._plane.store.replicas.remove(self._id)
        except ControlPlaneError as error:
            telemetry.log(telemetry.Event.MAINTENANCE_FAILED, kind="replica", code=error.code)

    async def _beat(self) -> tuple[str, ...]:
        """Register; the addresses of those that live."""
        replicas = self._plane.store.replicas
        now_ms = await replicas.now_ms(self._plane.clock.now_ms())
        await replicas.register(Replica(self._id, self._endpoint, now_ms))
        await replicas.expire(now_ms - LOST_MS)
        live = {replica.endpoint for replica in await replicas.live(now_ms - LOST_MS)}
        return self._plane.settings.sync_endpoints or tuple(sorted({*live, self._endpoint}))

    def _tell(self, endpoints: tuple[str, ...], *, anyway: bool = False) -> None:
        if anyway or endpoints != self.endpoints:
            self.endpoints, self._has_told = endpoints, True
            self._told(endpoints)
