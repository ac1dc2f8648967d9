"""Reads whole tables, page by page along their keys, and fills empty ones: the same text for both engines.

The tables and their columns are those of the steps (``migrations/shapes``), so a step that adds one is in the next
backup without a word here. What lives no longer than a process, or is good for one answer, is left out.
"""
# ruff: noqa: S608 -- names come from the steps of the schema; values are always bound

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from controlplane.domain.backup_errors import BackupSchemaError
from controlplane.domain.backup_items import Row, Section
from controlplane.store.migrations.listing import HEAD, STEPS
from controlplane.store.migrations.shapes import Shape, shapes_at
from controlplane.store.session import Engine, Session
from controlplane.store.statements import LIST_ORGS

LEFT_OUT = frozenset({"replicas", "replies"})  # who serves now; answers that are kept for a day, some of them secrets
ORGS = "orgs"
PAGE_ROWS = 256  # of a table at once; the largest such rows, audit entries, then have 16 MiB
LARGE_PAGE_ROWS = 16  # of a table whose rows have up to 256 KiB


class StoreDumps:
    """Adapter of ``ports.backup.Dumps``."""

    revision = HEAD

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def spaces(self) -> tuple[str, ...]:
        """Every org, the operator's own too."""
        async with self._engine.registry(write=False) as session:
            return tuple(str(row[0]) for row in await session.fetch(session.choose(LIST_ORGS)))

    @asynccontextmanager
    async def open(self, space: str) -> AsyncIterator["TableDump"]:
        """One moment of a space."""
        shapes = [shape for shape in shapes_at(HEAD) if shape.name not in LEFT_OUT]
        if not space:
            async with self._engine.registry(write=False) as session:
                yield TableDump("", [shape for shape in shapes if not shape.of_org], session)
            return
        async with self._engine.registry(write=False, org=space) as session:
            own = [each async for page in _pages(session, shapes[0]) for each in page]
        async with self._engine.org(space, write=False) as session:
            yield TableDump(space, [shape for shape in shapes if shape.of_org], session, own)


class TableDump:
    """Adapter of ``ports.backup.Dump``.

    Args:
        own: the org's row in the list of orgs, which lies in another file on SQLite.
    """

    def __init__(self, space: str, shapes: Sequence[Shape], session: Session, own: Sequence[Row] = ()) -> None:
        self._space = space
        self._shapes = {shape.name: shape for shape in shapes}
        self._session = session
        self._own = own

    def sections(self) -> Sequence[Section]:
        """Tables of the space."""
        return [Section(self._space, shape.name, shape.columns) for shape in self._shapes.values()]

    async def rows(self, section: Section) -> AsyncIterator[Sequence[Row]]:
        """Rows of a table, page by page."""
        if section.table == ORGS:
            yield self._own
            return
        async for page in _pages(self._session, self._shapes[section.table]):
            yield page


class StoreLanding:
    """Adapter of ``ports.backup.Landing``.

    Args:
        engine: of an empty database at the newest revision.
        revision: that the rows are of.
    """

    def __init__(self, engine: Engine, revision: str) -> None:
        self._engine = engine
        require_restorable(revision)
        self._shapes = {shape.name: shape for shape in shapes_at(revision) if shape.name not in LEFT_OUT}

    def require(self, section: Section) -> None:
        """Whether a table may come in."""
        shape = self._shapes.get(section.table)
        if shape is None or shape.columns != section.columns or shape.of_org != bool(section.space):
            raise BackupSchemaError(
                f"the backup has a table {section.table} that its schema has not, or has otherwise", field="backup"
            )

    async def put(self, section: Section, rows: Sequence[Row]) -> None:
        """Add rows."""
        org = section.space
        if section.table == ORGS:
            async with self._engine.registry(write=True, org=org) as session:
                await _insert(session, section, rows)
            await self._engine.make_space(org)
        elif org:
            async with self._engine.org(org, write=True) as session:
                await _insert(session, section, rows)
        else:
            async with self._engine.registry(write=True) as session:
                await _insert(session, section, rows)


def require_restorable(revision: str) -> None:
    """Whether rows of a revision fit the newest schema: what is newer there has defaults.

    Raises:
        BackupSchemaError: the revision is not known, or its columns have gone since.
    """
    if revision not in {step.revision for step in STEPS}:
        raise BackupSchemaError(
            f"the backup is of schema {revision}, which this program does not know",
            field="backup",
            next_step="restore it with the version of the program that wrote it, or a newer one",
        )
    oldest = max(step.oldest for step in STEPS)
    if revision < oldest:
        raise BackupSchemaError(
            f"the backup is of schema {revision}; this program restores {oldest} and newer ones",
            field="backup",
            next_step="restore it with an older version of the program, then upgrade that",
        )


async def is_empty(engine: Engine) -> bool:
    """Whether a database holds no control plane and no org, not even the operator's own."""
    async with engine.registry(write=False) as session:
        orgs = await session.fetch(session.choose(LIST_ORGS))
        return not orgs and not await session.fetch("SELECT name FROM vault LIMIT 1")


async def _pages(session: Session, shape: Shape) -> AsyncIterator[list[Row]]:
    """A table along its key, some rows at a time."""
    size = LARGE_PAGE_ROWS if shape.large else PAGE_ROWS
    places = [shape.columns.index(column) for column in shape.key]
    after: tuple[object, ...] = ()
    while True:
        rows = await session.fetch(_select(shape, size, behind=bool(after)), *after)  # type: ignore[arg-type]
        if rows:
            yield list(rows)
        if len(rows) < size or not shape.key:
            return
        after = tuple(rows[-1][place] for place in places)


def _select(shape: Shape, size: int, *, behind: bool) -> str:
    conditions = ["org = $1"] if shape.of_org else []
    if behind:
        first = 2 if shape.of_org else 1
        marks = ", ".join(f"${number}" for number in range(first, first + len(shape.key)))
        conditions.append(f"({', '.join(shape.key)}) > ({marks})")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f" ORDER BY {', '.join(shape.key)}" if shape.key else ""
    return f"SELECT {', '.join(shape.columns)} FROM {shape.name}{where}{order} LIMIT {size:d}"


async def _insert(session: Session, section: Section, rows: Sequence[Row]) -> None:
    columns = (("org",) if section.space else ()) + section.columns
    marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await session.execute_many(f"INSERT INTO {section.table} ({', '.join(columns)}) VALUES ({marks})", rows)
