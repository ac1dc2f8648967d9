"""What a restored control plane must remember: from when its data is, and what it took up again since."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step, Table

RESTORATIONS = Table(
    "restorations",
    """
    id TEXT NOT NULL PRIMARY KEY,
    backup_ms BIGINT NOT NULL,
    restored_ms BIGINT NOT NULL,
    software TEXT NOT NULL
    """,
)

RESTORED = Table(
    "restored",
    """
    org TEXT NOT NULL PRIMARY KEY,
    backup_ms BIGINT NOT NULL,
    restored_ms BIGINT NOT NULL,
    documents TEXT NOT NULL,
    returned BIGINT NOT NULL,
    returned_ms BIGINT NOT NULL,
    problem TEXT NOT NULL
    """,
)

STEP = Step(
    revision="0007",
    title="restorations, tokens that travel by courier",
    registry=(RESTORATIONS,),
    org=(
        RESTORED,
        Change(
            "ALTER TABLE outposts ADD COLUMN adopted_ms BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE outposts DROP COLUMN adopted_ms",
        ),
        Change(
            "ALTER TABLE tokens ADD COLUMN offline BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE tokens DROP COLUMN offline",
        ),
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
