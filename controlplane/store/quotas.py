"""How much an org may use."""

from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.quotas import Quotas, checked
from controlplane.store.changes import ChangeTable
from controlplane.store.session import Session, integer


class QuotaTable:
    """Adapter of ``ports.fleet.QuotaRows``."""

    def __init__(self, session: Session, changes: ChangeTable) -> None:
        self._session = session
        self._changes = changes

    async def get(self) -> Quotas:
        """Those that were set, or the defaults."""
        row = await self._session.fetch_one(
            "SELECT outposts, certificates_per_day, connects_per_second, stored_releases FROM quotas WHERE org = $1"
        )
        return Quotas(*map(integer, row)) if row else Quotas()

    async def put(self, quotas: Quotas) -> None:
        """Replace them."""
        values = checked(quotas)
        await self._session.execute(
            "INSERT INTO quotas (org, outposts, certificates_per_day, connects_per_second, stored_releases)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (org) DO UPDATE SET outposts = excluded.outposts,"
            " certificates_per_day = excluded.certificates_per_day,"
            " connects_per_second = excluded.connects_per_second, stored_releases = excluded.stored_releases",
            values.outposts,
            values.certificates_per_day,
            values.connects_per_second,
            values.stored_releases,
        )
        self._changes.note(Change(ChangeKind.QUOTAS))
