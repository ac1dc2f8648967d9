"""Identities through their whole life: locks, starts, recoveries, bound tokens, generations of CAs, ingresses."""

from collections.abc import Iterator

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step, Table


def _columns(table: str, *columns: str) -> Iterator[Change]:
    for column in columns:
        yield Change(f"ALTER TABLE {table} ADD COLUMN {column}", f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}")


AUTHORITIES = Table(
    "authorities",
    """
    kind TEXT NOT NULL,
    generation BIGINT NOT NULL,
    state TEXT NOT NULL,
    root BIGINT NOT NULL,
    name TEXT NOT NULL,
    certificate BYTEA NOT NULL,
    cross_certificate BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    list_number BIGINT NOT NULL,
    PRIMARY KEY (kind, generation)
    """,
)

INGRESSES = Table(
    "ingresses",
    """
    serial TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    issued_ms BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL
    """,
)

STEP = Step(
    revision="0004",
    title="identities: locks, starts, recoveries, bound tokens, generations of CAs, ingresses",
    registry=(AUTHORITIES, INGRESSES),
    org=(
        *_columns(
            "outposts",
            "logical TEXT NOT NULL DEFAULT ''",
            "locked_ms BIGINT NOT NULL DEFAULT 0",
            "enrolled_sequence BIGINT NOT NULL DEFAULT 0",
            "boot_source TEXT NOT NULL DEFAULT ''",
            "draining TEXT NOT NULL DEFAULT ''",
            "advanced_ms BIGINT NOT NULL DEFAULT 0",
            "recoveries BIGINT NOT NULL DEFAULT 0",
            "alert_sources TEXT NOT NULL DEFAULT ''",
            "alert_ms BIGINT NOT NULL DEFAULT 0",
            "lock_order TEXT NOT NULL DEFAULT ''",
            "lock_signatures TEXT NOT NULL DEFAULT ''",
            "lock_confirmed_ms BIGINT NOT NULL DEFAULT 0",
        ),
        *_columns("tokens", "network TEXT NOT NULL DEFAULT ''", "anew BIGINT NOT NULL DEFAULT 0"),
        *_columns(
            "certificates",
            "sequence BIGINT NOT NULL DEFAULT 0",
            "source TEXT NOT NULL DEFAULT ''",
            "issuer TEXT NOT NULL DEFAULT ''",
        ),
        Change(
            "CREATE INDEX certificates_request ON certificates (org, outpost_id, csr_sha256)",
            "DROP INDEX certificates_request",
        ),
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
