"""How far an outpost got with a signed set, and when: which release it runs, since when its bytes are all there."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step


def _column(name: str) -> Change:
    return Change(
        f"ALTER TABLE deliveries ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0",
        f"ALTER TABLE deliveries DROP COLUMN {name}",
    )


STEP = Step(
    revision="0003",
    title="delivery times",
    org=(_column("release"), _column("downloaded_ms"), _column("activated_ms")),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
