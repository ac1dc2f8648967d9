"""What a backup says of itself, and the order in which its items come: written by one class, read by another.

The head stands first: which program wrote it, over which schema, when, the settings, and the key-encryption key (so
that everything sealed in the database opens again; the passphrase protects it). The manifest stands last: how many rows
each space has, with a digest over its sections. A reader that reached it has seen everything, unchanged.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.domain.backup_errors import BackupNewerError
from controlplane.domain.backup_items import (
    END,
    HEAD,
    MANIFEST,
    MAX_COLUMNS,
    ROW,
    SECTION,
    Item,
    Row,
    Section,
    Tally,
    Value,
    checked_space,
    content,
    pack_item,
    pack_row,
    read_items,
    unpack_row,
)
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.limits import MAX_INTEGER
from outpost.core.errors import BundleError

SCHEMA = "outpost.backup/1"
FAMILY = "outpost.backup/"
KEK_BYTES = 32
MAX_SPACES = 100_000  # orgs of a control plane, and what belongs to none
MAX_TABLES = 256  # of a space; ours have 30
MAX_SETTINGS = 128
MAX_SETTING_CHARS = 8192


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What a backup says first.

    Attributes:
        software: version of the program that wrote it.
        revision: of the schema.
        created_ms: before anything was read, Unix milliseconds: what happened since may not be in it.
        trust_domain: of the control plane.
        settings: name to text, as ``controlplane.toml`` had them.
        kek: key-encryption key, 32 bytes.
        modules: names of keys that lie in a key module, and so are not in the backup.
    """

    software: str
    revision: str
    created_ms: int
    trust_domain: str
    settings: Mapping[str, object]
    kek: bytes = field(repr=False)
    modules: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return encode(
            {
                "schema": SCHEMA,
                "software": self.software,
                "revision": self.revision,
                "created_ms": self.created_ms,
                "trust_domain": self.trust_domain,
                "settings": dict(self.settings),
                "kek": self.kek.hex(),
                "modules": list(self.modules),
            }
        )


@dataclass(frozen=True, slots=True)
class SpaceTotal:
    """What a space has in a backup.

    Attributes:
        space: org id; empty for what belongs to no org.
        rows: of all its tables.
        sha256: over the digests of its sections, 64 hex digits.
    """

    space: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says last."""

    finished_ms: int
    spaces: tuple[SpaceTotal, ...]

    @property
    def orgs(self) -> tuple[str, ...]:
        """Ids of all orgs, in order."""
        return tuple(each.space for each in self.spaces if each.space)

    @property
    def rows(self) -> int:
        """Of everything."""
        return sum(each.rows for each in self.spaces)


class BackupWriter:
    """Makes the plain bytes of a backup."""

    def __init__(self) -> None:
        self._spaces: dict[str, _Space] = {}
        self._section: Section | None = None
        self._tally = Tally()

    def head(self, head: BackupHead) -> bytes:
        """The first item."""
        return pack_item(HEAD, head.to_bytes())

    def begin(self, section: Section) -> bytes:
        """The next table."""
        self._section, self._tally = section, Tally()
        listed = {"space": section.space, "table": section.table, "columns": list(section.columns)}
        return pack_item(SECTION, encode(listed))

    def row(self, row: Row) -> bytes:
        """One row of it."""
        body = pack_row(row)
        self._tally.add(body)
        return pack_item(ROW, body)

    def end(self) -> bytes:
        """The end of the table."""
        if self._section is None:
            raise RuntimeError("a section ends that did not begin")
        self._spaces.setdefault(self._section.space, _Space()).add(self._section, self._tally)
        self._section = None
        return pack_item(END, encode({"rows": self._tally.rows, "sha256": self._tally.sha256}))

    def manifest(self, finished_ms: int) -> tuple[bytes, Manifest]:
        """The last item."""
        manifest = Manifest(finished_ms, tuple(each.total(name) for name, each in self._spaces.items()))
        spaces = [{"space": each.space, "rows": each.rows, "sha256": each.sha256} for each in manifest.spaces]
        return pack_item(MANIFEST, encode({"finished_ms": finished_ms, "spaces": spaces})), manifest


class BackupReader:
    """Reads a backup: first the head, then every row, then the manifest, which is held against what was read.

    Args:
        chunks: plain bytes of its chunks, in order.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._items = read_items(chunks)
        self._spaces: dict[str, _Space] = {}
        self._manifest: Manifest | None = None
        self.head = self._read_head()

    @property
    def manifest(self) -> Manifest:
        """What the backup holds, once everything was read."""
        if self._manifest is None:
            raise RuntimeError("the manifest stands at the end")
        return self._manifest

    def rows(self) -> Iterator[tuple[Section, tuple[Value, ...] | None]]:
        """Every row with its section; None in the place of a row at the beginning of each.

        Raises:
            BackupContentError: out of order, or not what counts and digests say.
        """
        while (item := self._next()).kind == SECTION:
            section = _section(item.body)
            if section.table in self._spaces.setdefault(section.space, _Space()).tables:
                raise content("a table stands twice")
            yield section, None
            yield from self._rows_of(section)
        if item.kind != MANIFEST:
            raise content("its items are out of order")
        self._manifest = _manifest(item.body)
        if self._manifest.spaces != tuple(each.total(name) for name, each in self._spaces.items()):
            raise content("it holds other rows than its manifest says")
        if next(self._items, None) is not None:
            raise content("something stands behind its manifest")

    def _rows_of(self, section: Section) -> Iterator[tuple[Section, tuple[Value, ...]]]:
        tally = Tally()
        while (item := self._next()).kind == ROW:
            tally.add(item.body)
            yield section, unpack_row(item.body, len(section.columns))
        if item.kind != END:
            raise content("its items are out of order")
        if _end(item.body) != (tally.rows, tally.sha256):
            raise content(f"the table {section.table} has other rows than were written")
        self._spaces[section.space].add(section, tally)

    def _next(self) -> Item:
        item = next(self._items, None)
        if item is None:
            raise content("it ends before its manifest")
        return item

    def _read_head(self) -> BackupHead:
        item = self._next()
        if item.kind != HEAD:
            raise content("it does not begin with its head")
        try:
            return _head(item.body)
        except BundleError as error:
            raise content(error.message) from None


class _Space:
    """What was written or read of one space."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self._rows = 0
        self._digest = hashlib.sha256()

    def add(self, section: Section, tally: Tally) -> None:
        self.tables.add(section.table)
        self._rows += tally.rows
        self._digest.update(encode({"table": section.table, "rows": tally.rows, "sha256": tally.sha256}))

    def total(self, name: str) -> SpaceTotal:
        return SpaceTotal(name, self._rows, self._digest.hexdigest())


def _head(body: bytes) -> BackupHead:
    fields = Fields(decode(body, "head"), "head")
    schema = fields.text("schema")
    if schema != SCHEMA and schema.startswith(FAMILY):
        raise BackupNewerError(
            "a newer version of this program wrote this backup",
            field="backup",
            next_step="restore it with that version",
        )
    fields.choice("schema", (SCHEMA,))
    settings = fields.nested("settings").whole()
    if len(settings) > MAX_SETTINGS or any(len(str(value)) > MAX_SETTING_CHARS for value in settings.values()):
        raise fields.fail("settings", "must be settings")
    head = BackupHead(
        software=fields.text("software"),
        revision=fields.text("revision", limit=16),
        created_ms=fields.integer("created_ms", 0, MAX_INTEGER),
        trust_domain=fields.text("trust_domain", limit=255),
        settings=settings,
        kek=bytes.fromhex(fields.sha256("kek")),
        modules=fields.texts("modules", MAX_TABLES),
    )
    fields.done()
    return head


def _section(body: bytes) -> Section:
    fields = _fields(body, "section")
    try:
        section = Section(
            space=checked_space(fields.text("space", empty=True)),
            table=fields.text("table", limit=64),
            columns=fields.texts("columns", MAX_COLUMNS),
        )
        fields.done()
    except BundleError as error:
        raise content(error.message) from None
    return section


def _end(body: bytes) -> tuple[int, str]:
    fields = _fields(body, "end")
    try:
        return fields.integer("rows", 0, MAX_INTEGER), fields.sha256("sha256")
    except BundleError as error:
        raise content(error.message) from None


def _manifest(body: bytes) -> Manifest:
    fields = _fields(body, "manifest")
    try:
        spaces = tuple(
            SpaceTotal(
                checked_space(each.text("space", empty=True)),
                each.integer("rows", 0, MAX_INTEGER),
                each.sha256("sha256"),
            )
            for each in fields.objects("spaces", MAX_SPACES)
        )
        return Manifest(fields.integer("finished_ms", 0, MAX_INTEGER), spaces)
    except BundleError as error:
        raise content(error.message) from None


def _fields(body: bytes, name: str) -> Fields:
    try:
        return Fields(decode(body, name), name)
    except BundleError as error:
        raise content(error.message) from None
