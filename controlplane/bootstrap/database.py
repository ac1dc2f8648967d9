"""Which database a control plane works on: SQLite files in its state folder, or PostgreSQL behind a URL in a file."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from certs.shell.pkcs11 import KeyToken
from controlplane.bootstrap.key_places import openers
from controlplane.domain.errors import ConfigurationError
from controlplane.settings import Settings
from controlplane.store.migrations.listing import HEAD, STEPS, position, revision_at
from controlplane.store.migrations.postgres_schema import migrate
from controlplane.store.postgres import PostgresEngine
from controlplane.store.postgres_address import read_address
from controlplane.store.postgres_checks import require_ready
from controlplane.store.sealing import Keyring
from controlplane.store.sqlite import SqliteEngine, bring_files
from controlplane.store.store import DatabaseStore

KEK_FILE = "kek"


class MigrationDirectionError(ConfigurationError):
    """The wanted revision is older than the one that is there: going back loses what newer programs stored."""

    code = "migrate.down"


class RevisionUnknownError(ConfigurationError):
    """This program has no such revision of the schema."""

    code = "migrate.revision"


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did.

    Attributes:
        database: "postgresql" or "sqlite".
        before: the oldest revision that was found.
        after: the one that is there now.
        steps: titles of the steps that were done or undone, in that order.
        app_roles: roles that may use a PostgreSQL database.
    """

    database: str
    before: str
    after: str
    steps: tuple[str, ...]
    app_roles: tuple[str, ...] = ()


def keyring_of(folder: Path, settings: Settings) -> Keyring:
    """The key-encryption key that the settings name."""
    return Keyring(folder / (settings.kek_file or KEK_FILE))


def database_file(folder: Path, settings: Settings) -> Path | None:
    """The file with the database's URL; None for SQLite."""
    return folder / settings.database_url_file if settings.database_url_file else None


@contextlib.asynccontextmanager
async def opened_store(folder: Path, settings: Settings, token: KeyToken | None = None) -> AsyncIterator[DatabaseStore]:
    """The store that the settings name, closed at the end; ``token`` holds keys that are not in the database.

    Raises:
        DatabaseAddressError: the URL; so is DatabaseRoleError.
        SchemaError: the database has another schema.
        DatabaseError: it cannot be asked.
    """
    keyring, path = keyring_of(folder, settings), database_file(folder, settings)
    reach = openers(token)
    if path is None:
        store = DatabaseStore(SqliteEngine(folder), keyring, reach)
    else:
        engine = PostgresEngine(read_address(path), settings.database_pool)
        await require_ready(engine)
        store = DatabaseStore(engine, keyring, reach)
    try:
        yield store
    finally:
        await store.close()


async def migrate_postgres(url_file: Path, revision: str, app_role: str, *, down: bool) -> Migration:
    """Bring a PostgreSQL database to a revision, as the owner of its schema. Raises MigrationDirectionError."""
    _require_revision(revision)
    address = read_address(url_file)

    def allow(found: str) -> None:
        _require_direction(position(found), position(revision), down=down)

    done = await migrate(address, revision, app_role, allow)
    steps = _titles(position(done.before), position(done.after))
    return Migration("postgresql", done.before, done.after, steps, done.app_roles)


def migrate_files(folder: Path, revision: str, *, down: bool) -> Migration:
    """Bring the SQLite files of a folder to a revision; nothing else may use them. Raises MigrationDirectionError."""
    _require_revision(revision)

    def allow(found: int) -> None:
        _require_direction(found, position(revision), down=down)

    before = bring_files(folder, position(revision), allow)
    return Migration("sqlite", revision_at(before), revision, _titles(before, position(revision)))


def _require_revision(revision: str) -> None:
    try:
        position(revision)
    except LookupError as error:
        raise RevisionUnknownError(str(error), field="to", next_step=f"the newest is {HEAD}; leave out --to") from None


def _require_direction(before: int, after: int, *, down: bool) -> None:
    if after < before and not down:
        raise MigrationDirectionError(
            f"the database is at {revision_at(before)}; {revision_at(after)} would lose what newer programs stored",
            field="to",
            next_step="take a backup, stop every replica, then run it again with --down",
        )


def _titles(before: int, after: int) -> tuple[str, ...]:
    if after >= before:
        return tuple(f"{step.revision} {step.title}" for step in STEPS[before:after])
    return tuple(f"{step.revision} {step.title}" for step in reversed(STEPS[after:before]))
