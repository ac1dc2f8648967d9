"""Steps on PostgreSQL, by Alembic, as the owner of the schema; and the application's rights.

Everything is one transaction: a step that fails leaves the schema as it was. Two migrations at once take turns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from controlplane.store.errors import SchemaError
from controlplane.store.migrations.listing import BASE, HEAD, STEPS, position
from controlplane.store.postgres_faults import CAUGHT, translate

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER = Path(__file__).parent
TURN = 0x4F504350  # advisory lock of whoever migrates
LOCK_SECONDS = 10  # a step that waits longer for a table would hold up everybody behind it; it can be tried again
READ_ONLY = ("alembic_version", "schema_floor")


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did.

    Attributes:
        before: revision that was found.
        after: revision that is now there.
        app_roles: roles that may use it.
    """

    before: str
    after: str
    app_roles: tuple[str, ...]


async def migrate(
    address: str, revision: str = HEAD, app_role: str = "", allow: Callable[[str], None] = lambda found: None
) -> Migrated:
    """Bring the schema to a revision, up or down, and give the application its rights.

    Args:
        address: URL of the database, as its owner.
        revision: one of the steps', or ``BASE``.
        app_role: may use it from now on; without one, the rights of those who may already are made complete.
        allow: told which revision was found; raises to leave it as it is.

    Raises:
        SchemaError: the database is newer than this program, or the role does not exist.
        DatabaseError: the database cannot be asked.
    """
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def connect() -> Any:
        return await asyncpg.connect(address, server_settings={"search_path": "public"})

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_migrate, revision, app_role, allow)
    except DBAPIError as error:
        raise translate(_cause(error)) from error
    except CAUGHT as error:
        raise translate(error) from error
    finally:
        await engine.dispose()


def _migrate(connection: "Connection", revision: str, app_role: str, allow: Callable[[str], None]) -> Migrated:
    from alembic import command
    from alembic.config import Config

    run = connection.exec_driver_sql
    run(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
    run(f"SELECT pg_advisory_xact_lock({TURN})")
    found = _found(connection)
    allow(found)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER / "environment").replace("%", "%%"))
    config.set_main_option("version_locations", str(FOLDER / "steps").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    if position(revision) > position(found):
        command.upgrade(config, revision)
    elif position(revision) < position(found):
        command.downgrade(config, revision)
    if revision == BASE:
        return Migrated(found, BASE, ())
    oldest = max(step.oldest for step in STEPS[: position(revision)])
    run("UPDATE schema_floor SET oldest = $1", (oldest,))
    return Migrated(found, revision, _grant(connection, revision, app_role))


def _found(connection: "Connection") -> str:
    """The revision that the database is at. Raises SchemaError: none that this program knows."""
    run = connection.exec_driver_sql
    if run("SELECT to_regclass('public.alembic_version')").scalar() is None:
        return BASE
    found = str(run("SELECT COALESCE(MAX(version_num), 'base') FROM alembic_version").scalar())
    try:
        position(found)
    except LookupError:
        raise SchemaError(
            f"the database is at revision {found}, which this program does not know",
            field="database",
            next_step="migrate with the newer version of this program",
        ) from None
    return found


def _grant(connection: "Connection", revision: str, app_role: str) -> tuple[str, ...]:
    """Let the application read and write rows; it owns nothing, and what is append-only it cannot change."""
    run = connection.exec_driver_sql
    known = run("SELECT rolname FROM pg_roles WHERE rolname = $1", (app_role,)).fetchall()
    if app_role and not known:
        raise SchemaError(
            f"the database has no role {app_role}",
            field="app-role",
            next_step=f"make it first: CREATE ROLE {app_role} LOGIN PASSWORD '...'",
        )
    grantees = run(
        "SELECT DISTINCT grantee::text FROM information_schema.role_table_grants"
        " WHERE table_schema = 'public' AND table_name = 'orgs' AND grantee <> grantor ORDER BY 1"
    ).scalars()
    roles = tuple(sorted({*grantees, *([app_role] if app_role else [])}))
    tables = [table for step in STEPS[: position(revision)] for table in step.tables()]
    for role in roles:
        name = '"' + role.replace('"', '""') + '"'
        for statement in _grants(name, [t.name for t in tables if t.append_only], [t.name for t in tables]):
            run(statement)
    run("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    return roles


def _grants(role: str, append_only: Sequence[str], tables: Sequence[str]) -> list[str]:
    changed = ", ".join(name for name in tables if name not in append_only)
    return [
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {changed} TO {role}",
        f"GRANT SELECT, INSERT ON {', '.join(append_only)} TO {role}",
        f"GRANT SELECT ON {', '.join(READ_ONLY)} TO {role}",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}",
    ]


def _cause(error: BaseException) -> BaseException:
    """The error of asyncpg below SQLAlchemy's own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, CAUGHT):
        cause = cause.__cause__
    return cause or error
