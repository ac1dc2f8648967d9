"""What belongs to no org: the list of orgs, intents of CA and server certificates, and the replicas that serve."""

from certs.issue import IssuanceIntent
from controlplane.domain.orgs import OPERATOR, Org, OrgExistsError, checked_id
from controlplane.store.session import Engine, integer
from controlplane.store.statements import LIST_ORGS


class OrgList:
    """All orgs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def all(self) -> tuple[Org, ...]:
        """All orgs but the operator's own."""
        async with self._engine.registry(write=False) as session:
            rows = await session.fetch(session.choose(LIST_ORGS))
        orgs = (Org(str(row[0]), integer(row[1]), bool(row[2])) for row in rows)
        return tuple(org for org in orgs if org.id != OPERATOR)

    async def add(self, org: str, now_ms: int) -> None:
        """Register an org; one that a crash left unready is taken up again."""
        async with self._engine.registry(write=True, org=checked_id(org)) as session:
            row = await session.fetch_one("SELECT ready FROM orgs WHERE org = $1")
            if row is not None and row[0]:
                raise OrgExistsError(f"org {org} exists already", field="org", next_step="choose another id")
            await session.execute(
                "INSERT INTO orgs (org, created_ms, ready) VALUES ($1, $2, 0) ON CONFLICT (org) DO NOTHING", now_ms
            )
        await self._engine.make_space(org)
        async with self._engine.org(org, write=True) as session:
            await session.execute("INSERT INTO heads (org, number) VALUES ($1, 0) ON CONFLICT (org) DO NOTHING")

    async def make_ready(self, org: str) -> None:
        """The org's signed configuration exists."""
        async with self._engine.registry(write=True, org=checked_id(org)) as session:
            await session.execute("UPDATE orgs SET ready = 1 WHERE org = $1")


async def record_issuance(engine: Engine, intent: IssuanceIntent) -> None:
    """Record a CA or server certificate that is about to be signed."""
    async with engine.registry(write=True) as session:
        await session.execute(
            "INSERT INTO issuances (serial, kind, spiffe_id, spki_sha256, issuer_spki_sha256,"
            " not_before_s, not_after_s, tbs_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            f"{intent.serial:x}",
            intent.kind.value,
            intent.spiffe_id,
            intent.spki_sha256,
            intent.issuer_spki_sha256,
            intent.not_before,
            intent.not_after,
            intent.tbs_sha256,
        )
