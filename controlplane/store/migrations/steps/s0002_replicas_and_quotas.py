"""Several replicas on one database, and what each org may use."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Step, Table

REPLICAS = Table("replicas", "id TEXT NOT NULL PRIMARY KEY, endpoint TEXT NOT NULL, seen_ms BIGINT NOT NULL")

QUOTAS = Table(
    "quotas",
    """
    org TEXT NOT NULL PRIMARY KEY,
    outposts BIGINT NOT NULL,
    certificates_per_day BIGINT NOT NULL,
    connects_per_second BIGINT NOT NULL,
    stored_releases BIGINT NOT NULL
    """,
)

STEP = Step(revision="0002", title="replicas and quotas", registry=(REPLICAS,), org=(QUOTAS,))
revision, down_revision, upgrade, downgrade = functions_of(STEP)
