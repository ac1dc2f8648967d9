"""The first schema: orgs, keys of the control plane, outposts, configuration, audit logs, and the change feed."""

from controlplane.store.migrations.alembic_step import functions_of
from controlplane.store.migrations.step import Change, OnPostgres, Step, Table, lookup, owner_reads

ORGS = Table("orgs", "org TEXT NOT NULL PRIMARY KEY, created_ms BIGINT NOT NULL, ready BIGINT NOT NULL")

ISSUANCES = Table(
    "issuances",
    """
    serial TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    spiffe_id TEXT NOT NULL,
    spki_sha256 TEXT NOT NULL,
    issuer_spki_sha256 TEXT NOT NULL,
    not_before_s BIGINT NOT NULL,
    not_after_s BIGINT NOT NULL,
    tbs_sha256 TEXT NOT NULL
    """,
    append_only=True,
)

VAULT = Table(
    "vault",
    """
    name TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    label TEXT NOT NULL,
    certificates TEXT NOT NULL
    """,
)

HEADS = Table("heads", "org TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL")

CHANGES = Table(
    "changes",
    """
    org TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    PRIMARY KEY (org, number)
    """,
)

OUTPOSTS = Table(
    "outposts",
    """
    org TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    activated_ms BIGINT NOT NULL,
    revoked_ms BIGINT NOT NULL,
    reason TEXT NOT NULL,
    join_sequence BIGINT NOT NULL,
    serial TEXT NOT NULL,
    next_serial TEXT NOT NULL,
    audit_public_key BYTEA NOT NULL,
    software_version TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    superseded_boots TEXT NOT NULL,
    alert TEXT NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, name)
    """,
)

HEARTBEATS = Table(
    "heartbeats",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    seen_ms BIGINT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (org, outpost_id)
    """,
)

TOKENS = Table(
    "tokens",
    """
    org TEXT NOT NULL,
    digest TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    spent_ms BIGINT NOT NULL,
    csr_sha256 TEXT NOT NULL,
    serial TEXT NOT NULL,
    PRIMARY KEY (org, digest),
    FOREIGN KEY (org, outpost_id) REFERENCES outposts (org, id)
    """,
)

CERTIFICATES = Table(
    "certificates",
    """
    org TEXT NOT NULL,
    serial TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    csr_sha256 TEXT NOT NULL,
    spki_sha256 TEXT NOT NULL,
    tbs_sha256 TEXT NOT NULL,
    issued_s BIGINT NOT NULL,
    not_after_s BIGINT NOT NULL,
    leaf_der BYTEA NOT NULL,
    PRIMARY KEY (org, serial),
    FOREIGN KEY (org, outpost_id) REFERENCES outposts (org, id)
    """,
)

CLIENT_KEYS = Table(
    "client_keys",
    """
    org TEXT NOT NULL,
    position BIGINT NOT NULL,
    id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    group_names TEXT NOT NULL,
    agent TEXT NOT NULL,
    channel TEXT NOT NULL,
    data_class TEXT NOT NULL,
    models TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    PRIMARY KEY (org, id),
    UNIQUE (org, position),
    UNIQUE (org, sha256)
    """,
)

ROLE_KEYS = Table(
    "role_keys",
    """
    org TEXT NOT NULL,
    role TEXT NOT NULL,
    number BIGINT NOT NULL,
    kind TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (org, role, number)
    """,
)

BLOBS = Table("blobs", "org TEXT NOT NULL, sha256 BYTEA NOT NULL, size BIGINT NOT NULL, PRIMARY KEY (org, sha256)")

BLOB_CHUNKS = Table(
    "blob_chunks",
    """
    org TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    number BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (org, sha256, number),
    FOREIGN KEY (org, sha256) REFERENCES blobs (org, sha256)
    """,
    large=True,
)

RELEASES = Table(
    "releases",
    """
    org TEXT NOT NULL,
    number BIGINT NOT NULL,
    revision TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    timestamp_expires_ms BIGINT NOT NULL,
    PRIMARY KEY (org, number)
    """,
)

RELEASE_FILES = Table(
    "release_files",
    """
    org TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    sha256 BYTEA NOT NULL,
    metadata BIGINT NOT NULL,
    PRIMARY KEY (org, number, name),
    FOREIGN KEY (org, number) REFERENCES releases (org, number),
    FOREIGN KEY (org, sha256) REFERENCES blobs (org, sha256)
    """,
)

DELIVERIES = Table(
    "deliveries",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    revision TEXT NOT NULL,
    state TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    code TEXT NOT NULL,
    message TEXT NOT NULL,
    resource TEXT NOT NULL,
    PRIMARY KEY (org, outpost_id)
    """,
)

LOG_HEADS = Table(
    "log_heads",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    size BIGINT NOT NULL,
    frontier BYTEA NOT NULL,
    cosigned_size BIGINT NOT NULL,
    cosigned BYTEA NOT NULL,
    PRIMARY KEY (org, outpost_id),
    UNIQUE (org, origin),
    FOREIGN KEY (org, outpost_id) REFERENCES outposts (org, id)
    """,
)

LOG_ENTRIES = Table(
    "log_entries",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    leaf BYTEA NOT NULL,
    entry BYTEA NOT NULL,
    PRIMARY KEY (org, outpost_id, sequence)
    """,
    append_only=True,
)

LOG_TILES = Table(
    "log_tiles",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    tile BIGINT NOT NULL,
    root BYTEA NOT NULL,
    PRIMARY KEY (org, outpost_id, tile)
    """,
    append_only=True,
)

LOG_CHECKPOINTS = Table(
    "log_checkpoints",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    size BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    cosigned BYTEA NOT NULL,
    PRIMARY KEY (org, outpost_id, size)
    """,
)

LOG_REFUSALS = Table(
    "log_refusals",
    """
    org TEXT NOT NULL,
    outpost_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    status BIGINT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (org, outpost_id, position)
    """,
)

STEP = Step(
    revision="0001",
    title="orgs, keys, outposts, configuration, audit logs, change feed",
    registry=(
        ORGS,
        ISSUANCES,
        VAULT,
        OnPostgres("CREATE TABLE schema_floor (oldest TEXT NOT NULL)", "DROP TABLE schema_floor"),
        OnPostgres("INSERT INTO schema_floor VALUES ('0001')"),
        owner_reads("orgs"),
        lookup(
            "list_orgs",
            "",
            "org text, created_ms bigint, ready bigint",
            "SELECT org, created_ms, ready FROM public.orgs",
        ),
    ),
    org=(
        HEADS,
        CHANGES,
        OUTPOSTS,
        HEARTBEATS,
        TOKENS,
        Change("CREATE INDEX tokens_outpost ON tokens (org, outpost_id)", "DROP INDEX tokens_outpost"),
        CERTIFICATES,
        Change(
            "CREATE INDEX certificates_outpost ON certificates (org, outpost_id, issued_s)",
            "DROP INDEX certificates_outpost",
        ),
        CLIENT_KEYS,
        Change(
            "CREATE UNIQUE INDEX client_keys_live_name ON client_keys (org, name) WHERE revoked = 0",
            "DROP INDEX client_keys_live_name",
        ),
        ROLE_KEYS,
        BLOBS,
        BLOB_CHUNKS,
        # What is stored there is signed, compressed or small: compressing it again costs time on every read.
        OnPostgres("ALTER TABLE blob_chunks ALTER COLUMN body SET STORAGE EXTERNAL"),
        RELEASES,
        RELEASE_FILES,
        Change("CREATE INDEX release_files_blob ON release_files (org, sha256)", "DROP INDEX release_files_blob"),
        DELIVERIES,
        LOG_HEADS,
        LOG_ENTRIES,
        LOG_TILES,
        LOG_CHECKPOINTS,
        LOG_REFUSALS,
        owner_reads("heads"),
        lookup(
            "newest_changes",
            "wanted text[]",
            "org text, number bigint",
            "SELECT h.org, h.number FROM public.heads h WHERE h.org = ANY (wanted)",
        ),
    ),
)
revision, down_revision, upgrade, downgrade = functions_of(STEP)
