"""What must hold of a database before anything is done: its schema is ours, and our role sees one org at a time."""

from typing import Any

import asyncpg

from controlplane.store.errors import DatabaseRoleError, SchemaError
from controlplane.store.migrations.listing import HEAD, STEPS
from controlplane.store.postgres import PostgresEngine
from controlplane.store.postgres_faults import translated

ROLE = """
SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
  SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'public' AND c.relname = 'orgs' AND pg_catalog.pg_has_role(r.oid, c.relowner, 'MEMBER'))
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
REVISION = "SELECT version_num FROM public.alembic_version"
OLDEST = "SELECT oldest FROM public.schema_floor"


async def require_ready(engine: PostgresEngine) -> None:
    """Check the schema and the role.

    Raises:
        SchemaError: there is none, it is older than this program, or newer than it can work on.
        DatabaseRoleError: the role owns the tables or is exempt from row level security.
        DatabaseError: the database cannot be asked.
    """
    connection = await engine.connect()
    try:
        with translated():
            await _require_schema(connection)
            if await connection.fetchval(ROLE):
                raise DatabaseRoleError(
                    "the role of the database's address owns the tables or is exempt from row level security",
                    field="database_url_file",
                    next_step="log in as a role of its own: CREATE ROLE controlplane LOGIN, then controlplane migrate "
                    "--app-role controlplane",
                )
    finally:
        connection.terminate()


async def _require_schema(connection: Any) -> None:
    try:
        revision = await connection.fetchval(REVISION)
    except asyncpg.UndefinedTableError:
        revision = None
    except asyncpg.InsufficientPrivilegeError:
        raise SchemaError(
            "the role of the database's address has no rights on the schema",
            field="database",
            next_step="give it to the role: controlplane migrate --database-url-file OWNER_URL_FILE --app-role ROLE",
        ) from None
    if revision is None:
        raise SchemaError(
            "the database has no schema yet",
            field="database",
            next_step="make it: controlplane migrate --database-url-file OWNER_URL_FILE --app-role ROLE",
        )
    if revision in {step.revision for step in STEPS}:
        if revision != HEAD:
            raise SchemaError(
                f"the database is at revision {revision}, and this program needs {HEAD}",
                field="database",
                next_step="bring it up: controlplane migrate --database-url-file OWNER_URL_FILE",
            )
    elif await connection.fetchval(OLDEST) > HEAD:
        raise SchemaError(
            f"the database is at revision {revision}, on which a program of revision {HEAD} cannot work any more",
            field="database",
            next_step="run the newer version of this program",
        )
