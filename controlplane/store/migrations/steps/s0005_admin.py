"""Those who administer: users, machine clients, approvals, the act log, kept answers, keys of access tokens."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, Step, Table

USERS = Table(
    "users",
    """
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    password_hash TEXT NOT NULL,
    totp BYTEA NOT NULL,
    totp_step BIGINT NOT NULL,
    new_totp BYTEA NOT NULL,
    new_password_hash TEXT NOT NULL,
    code_digest TEXT NOT NULL,
    code_expires_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    signed_in_ms BIGINT NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name)
    """,
)

CLIENTS = Table(
    "clients",
    """
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    seen_by TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    life_ms BIGINT NOT NULL,
    digest TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    old_digest TEXT NOT NULL,
    old_until_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (org, id)
    """,
)

APPROVALS = Table(
    "approvals",
    """
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    operation TEXT NOT NULL,
    verb TEXT NOT NULL,
    subject TEXT NOT NULL,
    content TEXT NOT NULL,
    digest TEXT NOT NULL,
    author TEXT NOT NULL,
    author_name TEXT NOT NULL,
    behind TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_ms BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (org, id)
    """,
)

ACTS = Table(
    "acts",
    """
    org TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    operation TEXT NOT NULL,
    principal TEXT NOT NULL,
    outcome TEXT NOT NULL,
    leaf BYTEA NOT NULL,
    entry BYTEA NOT NULL,
    PRIMARY KEY (org, sequence)
    """,
    append_only=True,
)

ACT_HEADS = Table(
    "act_heads",
    """
    org TEXT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    frontier BYTEA NOT NULL,
    signed_size BIGINT NOT NULL,
    note BYTEA NOT NULL
    """,
)

ACT_CHECKPOINTS = Table(
    "act_checkpoints",
    """
    org TEXT NOT NULL,
    size BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    note BYTEA NOT NULL,
    PRIMARY KEY (org, size)
    """,
    append_only=True,
)

REPLIES = Table(
    "replies",
    """
    org TEXT NOT NULL,
    principal TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    digest TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    status BIGINT NOT NULL,
    answer BYTEA NOT NULL,
    PRIMARY KEY (org, principal, idempotency_key)
    """,
)

ADMIN_RULES = Table("admin_rules", "org TEXT NOT NULL PRIMARY KEY, two_person BIGINT NOT NULL")

TOKEN_KEYS = Table(
    "token_keys",
    """
    org TEXT NOT NULL,
    number BIGINT NOT NULL,
    public_key BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (org, number)
    """,
    append_only=True,
)

STEP = Step(
    revision="0005",
    title="users, machine clients, approvals, act log",
    org=(
        USERS,
        CLIENTS,
        Change(
            "CREATE UNIQUE INDEX clients_live_name ON clients (org, name) WHERE revoked_ms = 0",
            "DROP INDEX clients_live_name",
        ),
        APPROVALS,
        Change("CREATE INDEX approvals_subject ON approvals (org, subject, state)", "DROP INDEX approvals_subject"),
        Change("CREATE INDEX approvals_newest ON approvals (org, created_ms, id)", "DROP INDEX approvals_newest"),
        ACTS,
        ACT_HEADS,
        ACT_CHECKPOINTS,
        REPLIES,
        Change("CREATE INDEX replies_age ON replies (org, at_ms)", "DROP INDEX replies_age"),
        ADMIN_RULES,
        TOKEN_KEYS,
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
