"""A control plane on its state directory: the place that sees settings, clocks and chance."""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from certs.shell.private_files import create_private_file, read_private_file
from controlplane import settings as settings_module
from controlplane.domain.condition import silent_after_ms
from controlplane.domain.errors import ConfigurationError, ConflictError
from controlplane.services.administer import Administration, Door
from controlplane.services.ceremonies import Ceremonies
from controlplane.services.configuration import Publisher
from controlplane.services.ingest import Ingest
from controlplane.services.setup import Foundation, Setup
from controlplane.settings import FILE_NAME, Settings
from controlplane.store.drafts import DraftFiles
from controlplane.store.keyring import Keyring, RoleKeyFiles, make_folder
from controlplane.store.store import SqliteStore

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
    store: SqliteStore
    keyring: Keyring
    setup: Setup
    publisher: Publisher
    ceremonies: Ceremonies
    administration: Administration
    clock: SystemClock = field(default_factory=SystemClock)
    chance: SystemChance = field(default_factory=SystemChance)

    def door(self) -> Door:
        """Where outposts enroll. Raises ServerNotRunningError."""
        endpoint = self.settings.enroll_endpoint or self._endpoint("enroll_port", self.settings.enroll_port)
        return Door(endpoint, self.setup.pin(), self.keyring.pepper())

    def ingest(self) -> Ingest:
        """The witness and its store of logs."""
        return Ingest(self.store, self.settings.trust_domain, self.setup.witness(), self.clock)

    @property
    def silent_ms(self) -> int:
        """An outpost that was not seen for longer is silent."""
        return silent_after_ms(self.settings.status_write_seconds * 1000)

    def require_running(self) -> None:
        """Raises ServerNotRunningError."""
        if not running_ports(self.folder):
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


def _assemble(folder: Path, settings: Settings) -> Plane:
    store, keyring = SqliteStore(folder), Keyring(folder)
    role_keys, drafts = RoleKeyFiles(folder, keyring), DraftFiles(folder)
    clock, chance = SystemClock(), SystemChance()
    return Plane(
        folder=folder,
        settings=settings,
        store=store,
        keyring=keyring,
        setup=Setup(keyring, store, clock, chance),
        publisher=Publisher(store, role_keys, clock, chance, drafts),
        ceremonies=Ceremonies(store, role_keys, drafts, clock),
        administration=Administration(store, clock, chance),
        clock=clock,
        chance=chance,
    )


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Plane]:
    """A control plane on its state directory, closed at the end.

    Raises:
        SettingsError: no control plane, or settings that cannot be used.
    """
    plane = _assemble(folder, settings_module.load(folder))
    try:
        yield plane
    finally:
        await plane.store.close()


async def initialise(folder: Path, settings: Settings, root_key_file: Path | None) -> Foundation:
    """Make a control plane.

    Args:
        folder: must not hold one.
        settings: written to ``controlplane.toml``, last: a directory without it is not a control plane.
        root_key_file: where the root's private key goes instead of the state directory; None keeps it there, sealed.

    Raises:
        InitialisedError: the directory holds one, or half of one.
        KeyStoreError: the disk refused.
    """
    _require_empty(folder)
    plane = _assemble(folder, settings)
    try:
        foundation = await plane.setup.create(settings.trust_domain, settings.hosts, root_stays=root_key_file is None)
        if root_key_file is not None:
            create_private_file(root_key_file, foundation.root_key_pem)
        create_private_file(folder / FILE_NAME, settings_module.render(settings).encode())
    finally:
        await plane.store.close()
    return foundation


def _require_empty(folder: Path) -> None:
    """Refuse a folder in use; make it when it is not there."""
    if (folder / FILE_NAME).exists() or (folder / "kek").exists():
        raise InitialisedError(
            f"{folder} holds a control plane already, or what an interrupted init left",
            field="state",
            next_step="use it, or name another directory with --state; nothing is ever overwritten",
        )
    make_folder(folder.absolute())
