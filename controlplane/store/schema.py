"""Schemas as lists of migrations; ``user_version`` counts those that were applied. Steps are only added."""

REGISTRY = (
    """
    CREATE TABLE orgs (
      id TEXT PRIMARY KEY,
      created_ms INTEGER NOT NULL,
      ready INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE issuances (
      serial TEXT PRIMARY KEY,
      kind TEXT NOT NULL,
      spiffe_id TEXT NOT NULL,
      spki_sha256 TEXT NOT NULL,
      issuer_spki_sha256 TEXT NOT NULL,
      not_before_s INTEGER NOT NULL,
      not_after_s INTEGER NOT NULL,
      tbs_sha256 TEXT NOT NULL
    ) STRICT
    """,
)

ORG = (
    """
    CREATE TABLE outposts (
      id TEXT PRIMARY KEY,
      name TEXT NOT NULL UNIQUE,
      state TEXT NOT NULL,
      created_ms INTEGER NOT NULL,
      activated_ms INTEGER NOT NULL,
      revoked_ms INTEGER NOT NULL,
      reason TEXT NOT NULL,
      join_sequence INTEGER NOT NULL,
      serial TEXT NOT NULL,
      next_serial TEXT NOT NULL,
      audit_public_key BLOB NOT NULL,
      software_version TEXT NOT NULL,
      boot_id TEXT NOT NULL,
      superseded_boots TEXT NOT NULL,
      alert TEXT NOT NULL
    ) STRICT;
    CREATE TABLE changes (count INTEGER NOT NULL) STRICT;
    INSERT INTO changes VALUES (0);
    CREATE TABLE heartbeats (
      outpost_id TEXT PRIMARY KEY REFERENCES outposts(id),
      seen_ms INTEGER NOT NULL,
      status TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tokens (
      digest TEXT PRIMARY KEY,
      outpost_id TEXT NOT NULL REFERENCES outposts(id),
      created_ms INTEGER NOT NULL,
      expires_ms INTEGER NOT NULL,
      spent_ms INTEGER NOT NULL,
      csr_sha256 TEXT NOT NULL,
      serial TEXT NOT NULL
    ) STRICT;
    CREATE TABLE certificates (
      serial TEXT PRIMARY KEY,
      outpost_id TEXT NOT NULL REFERENCES outposts(id),
      csr_sha256 TEXT NOT NULL,
      spki_sha256 TEXT NOT NULL,
      tbs_sha256 TEXT NOT NULL,
      issued_s INTEGER NOT NULL,
      not_after_s INTEGER NOT NULL,
      leaf_der BLOB NOT NULL
    ) STRICT;
    CREATE INDEX certificates_outpost ON certificates(outpost_id, issued_s);
    CREATE TABLE keys (
      position INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      sha256 TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL,
      user TEXT NOT NULL,
      groups TEXT NOT NULL,
      agent TEXT NOT NULL,
      channel TEXT NOT NULL,
      data_class TEXT NOT NULL,
      models TEXT NOT NULL,
      not_before INTEGER NOT NULL,
      expires INTEGER NOT NULL,
      revoked INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX keys_live_name ON keys(name) WHERE revoked = 0;
    CREATE TABLE blobs (
      sha256 BLOB PRIMARY KEY,
      size INTEGER NOT NULL,
      body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE releases (
      number INTEGER PRIMARY KEY,
      revision TEXT NOT NULL,
      created_ms INTEGER NOT NULL,
      timestamp_expires_ms INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE release_files (
      number INTEGER NOT NULL REFERENCES releases(number),
      name TEXT NOT NULL,
      sha256 BLOB NOT NULL REFERENCES blobs(sha256),
      metadata INTEGER NOT NULL,
      PRIMARY KEY (number, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deliveries (
      outpost_id TEXT PRIMARY KEY REFERENCES outposts(id),
      number INTEGER NOT NULL,
      revision TEXT NOT NULL,
      state TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      code TEXT NOT NULL,
      message TEXT NOT NULL,
      resource TEXT NOT NULL
    ) STRICT;
    CREATE TABLE log_heads (
      outpost_id TEXT PRIMARY KEY REFERENCES outposts(id),
      origin TEXT NOT NULL UNIQUE,
      size INTEGER NOT NULL,
      frontier BLOB NOT NULL,
      cosigned_size INTEGER NOT NULL,
      cosigned BLOB NOT NULL
    ) STRICT;
    CREATE TABLE log_entries (
      outpost_id TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      leaf BLOB NOT NULL,
      entry BLOB NOT NULL,
      PRIMARY KEY (outpost_id, sequence)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE log_tiles (
      outpost_id TEXT NOT NULL,
      tile INTEGER NOT NULL,
      root BLOB NOT NULL,
      PRIMARY KEY (outpost_id, tile)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE log_checkpoints (
      outpost_id TEXT NOT NULL,
      size INTEGER NOT NULL,
      at_ms INTEGER NOT NULL,
      cosigned BLOB NOT NULL,
      PRIMARY KEY (outpost_id, size)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE log_refusals (
      position INTEGER PRIMARY KEY,
      outpost_id TEXT NOT NULL,
      at_ms INTEGER NOT NULL,
      status INTEGER NOT NULL,
      size INTEGER NOT NULL
    ) STRICT
    """,
)
