"""A control plane on its state directory: the place that sees settings, clocks and chance."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certs.shell.pkcs11 import KeyToken
from certs.shell.private_files import create_private_file, read_private_file, replace_private_file
from controlplane import settings as settings_module
from controlplane.bootstrap.database import (
    KEK_FILE,
    Migration,
    database_file,
    migrate_files,
    migrate_postgres,
    opened_store,
)
from controlplane.bootstrap.key_places import TokenKeys, VaultKeys, token_of
from controlplane.domain.condition import silent_after_ms
from controlplane.domain.errors import ConfigurationError, ConflictError
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.replicas import LOST_MS
from controlplane.ports.authorities import KeyMaker
from controlplane.services.administer import Administration, Door
from controlplane.services.authorities import Authorities
from controlplane.services.ceremonies import Ceremonies
from controlplane.services.certification import Certifier
from controlplane.services.configuration import Publisher
from controlplane.services.ingest import Ingest
from controlplane.services.ingresses import IngressDesk
from controlplane.services.locks import Locks
from controlplane.services.setup import ROOT, Foundation, Setup
from controlplane.services.trust import Trust, TrustBoard
from controlplane.settings import FILE_NAME, Settings
from controlplane.store.migrations.listing import HEAD
from controlplane.store.postgres_address import read_address, user_of
from controlplane.store.postgres_faults import wrong_address
from controlplane.store.sealing import Keyring, make_folder
from controlplane.store.sqlite import REGISTRY_FILE
from controlplane.store.store import DatabaseStore

LOCK_FILE = "serve.lock"
RUN_FILE = "run.json"  # ports of the running server, for commands beside it


class InitialisedError(ConflictError):
    """The state directory has a control plane already, or half of one."""

    code = "init.exists"


class StateInUseError(ConfigurationError):
    """Another server runs on the state directory."""

    code = "state.in_use"


class ServerNotRunningError(ConfigurationError):
    """No server runs on the state directory, and the command needs one."""

    code = "serve.not_running"


class SystemClock:
    """Adapter of ``ports.Clock``."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()


class SystemChance:
    """Adapter of ``ports.Chance``."""

    def token_bytes(self, size: int) -> bytes:
        """``size`` bytes fit for secrets."""
        return secrets.token_bytes(size)


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane on its state directory, embedded: what every command works with."""

    folder: Path
    settings: Settings
    store: DatabaseStore
    keyring: Keyring
    setup: Setup
    board: TrustBoard
    authorities: Authorities
    ingresses: IngressDesk
    locks: Locks
    publisher: Publisher
    ceremonies: Ceremonies
    administration: Administration
    clock: SystemClock = field(default_factory=SystemClock)
    chance: SystemChance = field(default_factory=SystemChance)

    async def door(self) -> Door:
        """Where outposts enroll. Raises ServerNotRunningError."""
        endpoint = self.settings.enroll_endpoint or self._endpoint("enroll_port", self.settings.enroll_port)
        return Door(endpoint, (await self.trust()).pin, self.keyring.pepper())

    async def trust(self) -> Trust:
        """Who is believed and who signs, as the store says now."""
        await self.board.refresh()
        return self.board.current

    async def ingest(self) -> Ingest:
        """The witness and its store of logs."""
        at_once = self.settings.database_pool // 2
        return Ingest(self.store, self.settings.trust_domain, await self.setup.witness(), self.clock, at_once)

    @property
    def silent_ms(self) -> int:
        """An outpost that was not seen for longer is silent."""
        return silent_after_ms(self.settings.status_write_seconds * 1000)

    async def is_served(self) -> bool:
        """Whether a server runs on this folder, or a replica on the same database."""
        if running_ports(self.folder) or not self.settings.database_url_file:
            return bool(running_ports(self.folder))
        now_ms = await self.store.replicas.now_ms(self.clock.now_ms())
        return bool(await self.store.replicas.live(now_ms - LOST_MS))

    async def require_running(self) -> None:
        """Raises ServerNotRunningError."""
        if not await self.is_served():
            raise ServerNotRunningError(
                f"no control plane serves {self.folder}, so no outpost can be told; nothing was done",
                field="state",
                next_step=f"start it: controlplane serve --state {self.folder}; or leave out --wait",
            )

    def _endpoint(self, name: str, port: int) -> str:
        if not port:
            port = running_ports(self.folder).get(name, 0)
        if not port:
            raise ServerNotRunningError(
                f"{name} is 0, so the port is known only while the server runs",
                field=name,
                next_step="start it: controlplane serve, or set the port in controlplane.toml",
            )
        return endpoint_of(self.settings.hosts[0], port)


def endpoint_of(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve_lock(folder: Path) -> int:
    """Take the lock of the one server of a state directory.

    Returns:
        A descriptor to be closed at the end; the kernel does so when the process dies.

    Raises:
        StateInUseError: another server runs on it.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateInUseError(
            f"another control plane serves {folder}", field="state", next_step="stop it, or name another directory"
        ) from None
    return descriptor


def is_served(folder: Path) -> bool:
    """Whether a server holds the lock of a state directory."""
    try:
        os.close(serve_lock(folder))
    except StateInUseError:
        return True
    return False


def running_ports(folder: Path) -> Mapping[str, int]:
    """Ports that the running server wrote down; empty when none runs."""
    path = folder / RUN_FILE
    if not path.exists() or not is_served(folder):  # a killed server leaves its file behind, but never its lock
        return {}
    values = json.loads(read_private_file(path))
    return {name: int(values[name]) for name in ("enroll_port", "grpc_port")}


def _assemble(folder: Path, settings: Settings, store: DatabaseStore, token: KeyToken | None) -> Plane:
    clock, chance = SystemClock(), SystemChance()
    maker: KeyMaker = VaultKeys() if token is None else TokenKeys(token, chance)
    certifier = Certifier(store, clock, chance, settings.trust_domain)
    board = TrustBoard(store, clock, settings.trust_domain)
    return Plane(
        folder=folder,
        settings=settings,
        store=store,
        keyring=store.keyring,
        setup=Setup(store, clock, certifier, maker),
        board=board,
        authorities=Authorities(store, board, certifier, maker),
        ingresses=IngressDesk(store, board, certifier),
        locks=Locks(store, clock),
        publisher=Publisher(store, clock, chance),
        ceremonies=Ceremonies(store, clock),
        administration=Administration(store, clock, chance),
        clock=clock,
        chance=chance,
    )


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Plane]:
    """A control plane on its state directory, closed at the end.

    Raises:
        SettingsError: no control plane, or settings that cannot be used.
        StateError: its database cannot be used.
    """
    settings = settings_module.load(folder)
    token = token_of(folder, settings)
    async with opened_store(folder, settings, token) as store:
        yield _assemble(folder, settings, store, token)


def migrate_state(folder: Path, revision: str, *, down: bool) -> Migration:
    """Bring the SQLite files of a state directory to a revision.

    Raises:
        StateInUseError: a server runs on it.
        DatabaseAddressError: its database is PostgreSQL, which only its owner may migrate.
    """
    settings = settings_module.load(folder)
    if settings.database_url_file:
        raise wrong_address("the schema of a PostgreSQL database is changed by its owner: name --database-url-file")
    lock = serve_lock(folder)
    try:
        return migrate_files(folder, revision, down=down)
    finally:
        os.close(lock)


async def initialise(
    folder: Path, settings: Settings, root_key_file: Path | None, owner_url_file: Path | None = None
) -> Foundation:
    """Make a control plane.

    Args:
        folder: must not hold one.
        settings: written to ``controlplane.toml``, last: a directory without it is not a control plane.
        root_key_file: where the root's private key goes instead of the vault; None keeps it there, sealed.
        owner_url_file: URL of the PostgreSQL database as its owner, who makes the schema first.

    Raises:
        InitialisedError: the directory or the database holds one, or half of one.
        SchemaError: the database has no schema, and no owner was named.
        KeyStoreError: the disk refused.
    """
    _require_empty(folder)
    url_file = database_file(folder, settings)
    if url_file is not None and owner_url_file is not None:
        await migrate_postgres(owner_url_file, HEAD, user_of(read_address(url_file)), down=False)
    token, laid = token_of(folder, settings), False
    try:
        async with opened_store(folder, settings, token) as store:
            if await store.vault.find_certificates(ROOT):
                raise _initialised("the database", "for one more replica, copy controlplane.toml and kek of the first")
            plane = _assemble(folder, settings, store, token)
            with _reserved(root_key_file):
                foundation = await _founded(plane, root_key_file)
                laid = True
                create_private_file(folder / FILE_NAME, settings_module.render(settings).encode())
    finally:
        if not laid:
            _sweep(folder)
    return foundation


async def _founded(plane: Plane, root_key_file: Path | None) -> Foundation:
    """Keys, CAs and the operator's own space."""
    if not plane.keyring.path.exists():
        plane.keyring.create()
    settings = plane.settings
    foundation = await plane.setup.create(settings.hosts, root_stays=root_key_file is None)
    if root_key_file is not None:
        replace_private_file(root_key_file, foundation.root_key_pem)
    await plane.store.add_org(OPERATOR, plane.clock.now_ms())
    return foundation


@contextlib.contextmanager
def _reserved(path: Path | None) -> Iterator[None]:
    """Hold the file of the root's key before there is a key to lose; it goes when nothing was made."""
    if path is None:
        yield
        return
    create_private_file(path, b"")
    try:
        yield
    except BaseException:
        if not path.stat().st_size:
            path.unlink()
        raise


def _sweep(folder: Path) -> None:
    """Remove what an init that failed left: nothing depends on it, and the next try would take it for half of one."""
    for path in (folder / KEK_FILE, *folder.glob(f"{REGISTRY_FILE}*")):
        path.unlink(missing_ok=True)


def _require_empty(folder: Path) -> None:
    """Refuse a folder in use; make it when it is not there."""
    if any((folder / name).exists() for name in (FILE_NAME, KEK_FILE, REGISTRY_FILE)):
        raise _initialised(str(folder), "use it, or name another directory with --state; nothing is ever overwritten")
    make_folder(folder.absolute())


def _initialised(where: str, next_step: str) -> InitialisedError:
    return InitialisedError(
        f"{where} holds a control plane already, or what an interrupted init left", field="state", next_step=next_step
    )
