"""Restores of this control plane, and what each org remembers of the newest one."""

from controlplane.domain.restorations import Restoration, RestoredOrg
from controlplane.store.session import Engine, Session, integer


class RestorationTable:
    """Adapter of ``ports.restorations.Restorations``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, restoration: Restoration) -> None:
        """Note a restore."""
        async with self._engine.registry(write=True) as session:
            await session.execute(
                "INSERT INTO restorations (id, backup_ms, restored_ms, software) VALUES ($1, $2, $3, $4)",
                restoration.id,
                restoration.backup_ms,
                restoration.restored_ms,
                restoration.software,
            )

    async def all(self) -> tuple[Restoration, ...]:
        """All restores, newest first."""
        async with self._engine.registry(write=False) as session:
            rows = await session.fetch(
                "SELECT id, backup_ms, restored_ms, software FROM restorations ORDER BY restored_ms DESC, id"
            )
        return tuple(Restoration(str(row[0]), integer(row[1]), integer(row[2]), str(row[3])) for row in rows)


class RestoredTable:
    """Adapter of ``ports.restorations.RestoredRow``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self) -> RestoredOrg | None:
        """What the org remembers."""
        row = await self._session.fetch_one(
            "SELECT backup_ms, restored_ms, documents, returned, returned_ms, problem FROM restored WHERE org = $1"
        )
        return RestoredOrg(*row) if row else None  # type: ignore[arg-type]

    async def put(self, restored: RestoredOrg) -> None:
        """Replace it."""
        await self._session.execute(
            "INSERT INTO restored (org, backup_ms, restored_ms, documents, returned, returned_ms, problem)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org) DO UPDATE SET backup_ms = excluded.backup_ms,"
            " restored_ms = excluded.restored_ms, documents = excluded.documents, returned = excluded.returned,"
            " returned_ms = excluded.returned_ms, problem = excluded.problem",
            restored.backup_ms,
            restored.restored_ms,
            restored.documents,
            restored.returned,
            restored.returned_ms,
            restored.problem,
        )
