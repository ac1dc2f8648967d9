"""A control plane out of a backup, in an empty place: all of it, or nothing.

Everything is made in the folder ``restoring`` below the state directory, and on PostgreSQL in one transaction. Once it
is complete the folder says so, the transaction commits, and what was made moves to its place, the settings last: a
directory without them is no control plane. What a crash leaves before that moment the next try removes; what it leaves
afterwards the next try finishes.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certs.shell.new_files import sync_folder
from certs.shell.private_files import create_private_file, read_private_file
from controlplane import settings as settings_module
from controlplane.bootstrap.backups import opened_backup
from controlplane.bootstrap.database import KEK_FILE, migrate_postgres
from controlplane.bootstrap.plane import SystemChance, SystemClock
from controlplane.bootstrap.recording import act_of
from controlplane.bootstrap.workbench import acts_signer
from controlplane.domain.backup_errors import BackupSchemaError, RestorePlaceError
from controlplane.domain.backups import BackupHead, BackupReader, Manifest
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.restorations import Restoration
from controlplane.services.acts import ActLog
from controlplane.services.restoring import SettledOrg, Settler, load
from controlplane.settings import FILE_NAME, Settings, SettingsError
from controlplane.store.dumping import StoreLanding, is_empty, require_restorable
from controlplane.store.migrations.listing import HEAD
from controlplane.store.postgres import PostgresEngine
from controlplane.store.postgres_address import read_address, user_of
from controlplane.store.postgres_checks import require_ready
from controlplane.store.postgres_landing import LandingEngine, landing
from controlplane.store.sealing import Keyring, make_folder
from controlplane.store.session import Engine
from controlplane.store.sqlite import ORGS_FOLDER, REGISTRY_FILE, SqliteEngine
from controlplane.store.store import DatabaseStore

RESTORE = "backup.restore"
STAGING = "restoring"
COMPLETE = "complete"  # in the staging folder: holds the id of the restoration
MOVED = (KEK_FILE, REGISTRY_FILE, ORGS_FOLDER, FILE_NAME)  # in this order; the last one makes it a control plane
ID_BYTES = 8
PLACE_FILES = ("database_url_file", "kek_file", "api_certificate_file", "api_key_file", "pkcs11_pin_file")


@dataclass(frozen=True, slots=True)
class Database:
    """Where the rows go.

    Attributes:
        url_file: URL of an empty PostgreSQL database; None for SQLite in the state directory.
        owner_url_file: the same as its owner, who makes the schema first.
    """

    url_file: Path | None = None
    owner_url_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        manifest: None when an earlier restore, cut off at the very end, was finished; so is ``orgs`` empty then.
        files: settings that name files which are not in a backup.
    """

    head: BackupHead
    restoration: Restoration
    settings: Settings
    manifest: Manifest | None = None
    orgs: tuple[SettledOrg, ...] = ()
    files: tuple[str, ...] = ()


async def restore(file: Path, passphrase: bytes, folder: Path, database: Database) -> Restored:
    """Restore a backup.

    Args:
        file: the backup; untrusted.
        passphrase: that opens it.
        folder: state directory; empty, or not there.
        database: empty.

    Raises:
        RestorePlaceError: something is there already.
        BackupError: the backup is not one, not whole, or not for this program; nothing was made.
        StateError: a database failed; nothing was made.
    """
    _require_free(folder)
    staging = folder / STAGING
    with opened_backup(file, passphrase) as reader:
        settings = _settings(reader.head, database)
        require_restorable(reader.head.revision)
        if not await _was_finished(folder, database):
            _sweep(folder)
            make_folder(staging.absolute())
            try:
                done = await _restored(reader, staging, settings, database)
            except BaseException:
                _sweep(folder)
                raise
            _move(folder)
            return done
    return Restored(reader.head, await _newest(folder, settings), settings)


async def _restored(reader: BackupReader, staging: Path, settings: Settings, database: Database) -> Restored:
    """Everything into the staging folder and the database, up to the mark that says so."""
    clock, head = SystemClock(), reader.head
    keyring = Keyring(staging / KEK_FILE)
    create_private_file(keyring.path, head.kek)
    create_private_file(staging / FILE_NAME, settings_module.render(settings).encode())
    restoration = Restoration(
        id=SystemChance().token_bytes(ID_BYTES).hex(),
        backup_ms=head.created_ms,
        restored_ms=clock.now_ms(),
        software=head.software,
    )
    async with _empty(staging, database) as engine:
        manifest = await load(reader, StoreLanding(engine, head.revision))
        store = DatabaseStore(engine, keyring)
        acts = ActLog(store, head.trust_domain, await acts_signer(store.vault), clock)
        act = act_of(OPERATOR, RESTORE, restoration.restored_ms, f"backup/{head.created_ms}")
        orgs = await Settler(store, acts).settle(restoration, act)
        if isinstance(engine, LandingEngine):
            create_private_file(staging / COMPLETE, restoration.id.encode())
    if not (staging / COMPLETE).exists():
        create_private_file(staging / COMPLETE, restoration.id.encode())
    files = tuple(name for name in PLACE_FILES[2:] if getattr(settings, name))
    return Restored(head, restoration, settings, manifest, orgs, files)


@contextlib.asynccontextmanager
async def _empty(staging: Path, database: Database) -> AsyncIterator[Engine]:
    """An empty database that takes everything or, on an exception, nothing. Raises RestorePlaceError."""
    if database.url_file is None:
        files = SqliteEngine(staging)
        try:
            yield files
        finally:
            await files.close()
        return
    if database.owner_url_file is not None:
        await migrate_postgres(database.owner_url_file, HEAD, user_of(read_address(database.url_file)), down=False)
    engine = PostgresEngine(read_address(database.url_file))
    try:
        await require_ready(engine)
        async with landing(engine) as one:
            if not await is_empty(one):
                raise RestorePlaceError(
                    "the database holds a control plane already",
                    field="database-url-file",
                    next_step="make a new database: CREATE DATABASE ...; nothing is ever overwritten",
                )
            yield one
    finally:
        await engine.close()


def _settings(head: BackupHead, database: Database) -> Settings:
    """The settings of the backup, for this place. Raises BackupSchemaError: this program does not know one of them."""
    place = {"database_url_file": str(database.url_file.absolute()) if database.url_file else "", "kek_file": ""}
    values: dict[str, Any] = {**head.settings, **place}
    try:
        return settings_module.checked(values)
    except SettingsError as error:
        raise BackupSchemaError(
            f"a setting in the backup is not usable here: {error.message}",
            field=error.field,
            next_step="restore it with the version of the program that wrote it",
        ) from None


async def _was_finished(folder: Path, database: Database) -> bool:
    """Finish what an earlier restore left when it was cut off at the very end."""
    mark = folder / STAGING / COMPLETE
    if not mark.exists():
        return False
    if database.url_file is not None:
        engine = PostgresEngine(read_address(database.url_file))
        try:
            known = await DatabaseStore(engine, Keyring(folder / STAGING / KEK_FILE)).restorations.all()
        finally:
            await engine.close()
        if read_private_file(mark).decode() not in {each.id for each in known}:
            return False
    _move(folder)
    return True


async def _newest(folder: Path, settings: Settings) -> Restoration:
    """The restoration that was finished."""
    from controlplane.bootstrap.plane import opened

    async with opened(folder) as plane:
        return (await plane.store.restorations.all())[0]


def _move(folder: Path) -> None:
    """Put what was made in its place; from the first move on, only this can happen to it."""
    staging = folder / STAGING
    for name in MOVED:
        if (staging / name).exists():
            (staging / name).rename(folder / name)
            sync_folder(folder)
    shutil.rmtree(staging)


def _sweep(folder: Path) -> None:
    """Remove what a restore made that did not complete."""
    shutil.rmtree(folder / STAGING, ignore_errors=True)


def _require_free(folder: Path) -> None:
    """Raises RestorePlaceError: something lies in the folder that no restore made."""
    unfinished = (folder / STAGING / COMPLETE).exists()
    allowed = {STAGING, *(MOVED[:-1] if unfinished else ())}
    others = sorted(path.name for path in folder.iterdir() if path.name not in allowed) if folder.is_dir() else []
    if others:
        raise RestorePlaceError(
            f"{folder} is not empty: {others[0]} is there",
            field="state",
            next_step="name an empty directory with --state DIR; nothing is ever overwritten",
        )
