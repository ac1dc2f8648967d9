"""Serving processes of one control plane, in the registry."""

from controlplane.domain.replicas import Replica
from controlplane.store.session import Engine, integer
from controlplane.store.statements import SHARED_CLOCK


class ReplicaTable:
    """Adapter of ``ports.store.Replicas``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def now_ms(self, own_ms: int) -> int:
        """The database's clock: those of two replicas may differ by more than the time after which one is lost."""
        async with self._engine.registry(write=False) as session:
            row = await session.fetch_one(session.choose(SHARED_CLOCK), own_ms)
        return integer(row[0]) if row is not None else own_ms

    async def register(self, replica: Replica) -> None:
        """Say that a replica serves."""
        async with self._engine.registry(write=True) as session:
            await session.execute(
                "INSERT INTO replicas (id, endpoint, seen_ms) VALUES ($1, $2, $3)"
                " ON CONFLICT (id) DO UPDATE SET endpoint = excluded.endpoint, seen_ms = excluded.seen_ms",
                replica.id,
                replica.endpoint,
                replica.seen_ms,
            )

    async def remove(self, replica_id: str) -> None:
        """It ended."""
        async with self._engine.registry(write=True) as session:
            await session.execute("DELETE FROM replicas WHERE id = $1", replica_id)

    async def expire(self, before_ms: int) -> int:
        """Remove those not seen since."""
        async with self._engine.registry(write=True) as session:
            return await session.execute("DELETE FROM replicas WHERE seen_ms < $1", before_ms)

    async def live(self, since_ms: int) -> tuple[Replica, ...]:
        """Those seen since, by id."""
        async with self._engine.registry(write=False) as session:
            rows = await session.fetch(
                "SELECT id, endpoint, seen_ms FROM replicas WHERE seen_ms >= $1 ORDER BY id", since_ms
            )
        return tuple(Replica(str(row[0]), str(row[1]), integer(row[2])) for row in rows)
