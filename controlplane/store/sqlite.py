"""The embedded engine: ``registry.db`` knows the orgs, each org has a file of its own below ``orgs/``.

Nothing that is done in one org's file can reach another's. Scopes make no difference: a file has one writer.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane import telemetry
from controlplane.domain.errors import StateError
from controlplane.domain.orgs import OPERATOR, OrgUnknownError, checked_id, unknown_org
from controlplane.ports.store import Heard
from controlplane.store.guard import Guard
from controlplane.store.migrations.sqlite_files import FileKind
from controlplane.store.session import Session, integer
from controlplane.store.sqlite_file import File, bring_file, steps_seen

REGISTRY_FILE = "registry.db"
ORGS_FOLDER = "orgs"
LOOK_SECONDS = 0.2  # between two looks at files for commits of other processes
SETTLED_SECONDS = 1.0  # a file written no longer ago is read whatever its time says: clocks of files tick coarsely
HEAD = "SELECT COALESCE(MAX(number), 0) FROM heads WHERE org = $1"

Stamp = tuple[int, ...]


class SqliteEngine:
    """Adapter of ``session.Engine``.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registry = File(folder / REGISTRY_FILE, FileKind.REGISTRY)
        self._files: dict[str, File] = {}
        self._guard = Guard()
        self._listeners: set[Heard] = set()

    @asynccontextmanager
    async def org(self, org: str, *, write: bool, scope: str = "") -> AsyncIterator[Session]:
        """A transaction in an org's file."""
        file = self._file(org)
        with self._guard.entered():
            async with file.transaction(org, write=write) as session:
                yield session
        if session.announced:
            for heard in tuple(self._listeners):
                heard(org)

    @asynccontextmanager
    async def named(self, org: str) -> AsyncIterator[Session]:
        """A view of an org, or of the operator's own space, in which no outpost ever is."""
        known = self.path(org).is_file()  # asked of every org: what is remembered would be answered sooner
        async with self.org(org if known else OPERATOR, write=False) as session:
            yield session

    @asynccontextmanager
    async def registry(self, *, write: bool, org: str = "") -> AsyncIterator[Session]:
        """A transaction in the registry."""
        with self._guard.entered():
            async with self._registry.transaction(org, write=write) as session:
                yield session

    async def make_space(self, org: str) -> None:
        """Make the org's file."""
        file = self._files.setdefault(org, File(self.path(org), FileKind.ORG))
        await file.writer.run(lambda link: None)

    def beside(self) -> "SqliteEngine":
        """Itself: heads are read by a link of their own, and a file has one reader at a time whoever opens it."""
        return self

    async def heads(self, orgs: Sequence[str]) -> Mapping[str, int]:
        """Number of the newest change of each org."""
        found = {}
        for org in orgs:
            with contextlib.suppress(OrgUnknownError):
                found[org] = integer(await self._file(org).look(HEAD, org))
        return found

    async def listen(self, heard: Heard) -> None:
        """Tell of commits: of this process at once, of others by looking."""
        self._listeners.add(heard)
        try:
            known = await self._answering(self._orgs())
            heard("")  # whoever asks now knows at least that much
            seen: dict[str, Stamp] = {}
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                stamps = {org: stamp for org in self._orgs() if (stamp := self._stamp(org))}
                due = [org for org in stamps if may_differ(stamps[org], seen.get(org), time.time_ns())]
                now = await self._answering(due)
                for org, number in now.items():
                    if known.get(org) != number:
                        heard(org)
                known = {**known, **now}
                seen = {org: stamp for org, stamp in stamps.items() if org in now or org not in due}
        finally:
            self._listeners.discard(heard)

    async def _answering(self, orgs: Sequence[str]) -> dict[str, int]:
        """Heads of the orgs whose files can be read now: one that is locked or damaged is looked at again, and keeps
        nobody from hearing of the others.
        """
        found: dict[str, int] = {}
        for org in orgs:
            try:
                found.update(await self.heads((org,)))
            except StateError as error:
                telemetry.log(
                    telemetry.Event.STORE_LOST, level=logging.WARNING, org=org, kind="listen", code=error.code
                )
        return found

    async def close(self) -> None:
        """Close every file."""
        for file in (self._registry, *self._files.values()):
            await file.close()
        self._files.clear()

    def path(self, org: str) -> Path:
        """File of an org, whether or not it is there. Raises OrgNameError."""
        return self._folder / ORGS_FOLDER / f"{checked_id(org)}.db"

    def _file(self, org: str) -> File:
        file = self._files.get(org)
        if file is None:
            path = self.path(org)
            if not path.is_file():
                raise unknown_org()
            file = self._files[org] = File(path, FileKind.ORG)
        return file

    def _orgs(self) -> list[str]:
        return sorted(path.stem for path in (self._folder / ORGS_FOLDER).glob("*.db"))

    def _stamp(self, org: str) -> Stamp:
        """Times and sizes of an org's files; empty when they are just gone."""
        path = self.path(org)
        stamp: list[int] = []
        for each in (path, path.with_name(f"{path.name}-wal")):
            with contextlib.suppress(FileNotFoundError):
                status = each.stat()
                stamp += (status.st_mtime_ns, status.st_size)
        return tuple(stamp)


def bring_files(folder: Path, steps: int, allow: Callable[[int], None]) -> int:
    """Bring the registry and every org's file to the schema after so many steps.

    Args:
        folder: the state directory.
        steps: up or down to these.
        allow: told how many steps each file has seen, before anything is done; raises to leave all as they are.

    Returns:
        The fewest steps that a file had seen; none when there is no file.
    """
    files = [(folder / REGISTRY_FILE, FileKind.REGISTRY)]
    files += [(path, FileKind.ORG) for path in sorted((folder / ORGS_FOLDER).glob("*.db"))]
    before = {path: steps_seen(path) for path, _ in files if path.exists()}
    for found in before.values():
        allow(found)
    for path, kind in files:
        if path in before:
            bring_file(path, kind, steps)
    return (max if steps < max(before.values(), default=0) else min)(before.values(), default=0)


def may_differ(stamp: Stamp, before: Stamp | None, now_ns: int) -> bool:
    """Whether files of this stamp may hold other data than when they had the one before."""
    return stamp != before or now_ns - max(stamp[::2]) < SETTLED_SECONDS * 1e9
