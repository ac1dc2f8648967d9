"""Who was shown a user's sign-in code, and how often somebody knew his password and not his one-time password."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step

STEP = Step(
    revision="0008",
    title="who was shown sign-in codes; wrong one-time passwords",
    org=(
        Change(
            "ALTER TABLE users ADD COLUMN seen_by TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE users DROP COLUMN seen_by",
        ),
        Change(
            "ALTER TABLE users ADD COLUMN wrong_codes BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE users DROP COLUMN wrong_codes",
        ),
        Change(
            "ALTER TABLE users ADD COLUMN wrong_code_ms BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE users DROP COLUMN wrong_code_ms",
        ),
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
