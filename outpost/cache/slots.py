"""The two slots of an org: the active set and the one being prepared.

Rules. A set is written whole into the slot that is not active, where it is, made durable, and becomes active when one
byte of the pointer changes. Whatever moment the process dies, the pointer names a whole slot: with one byte there is
nothing between old and new. A torn or altered idle slot harms nobody: it is overwritten next. An altered active slot,
pointer or high water is tamper: it raises, and nothing older takes its place. The way out is a fresh set: writing and
activating one works over a tampered one.

The high water is a file apart. It is created before the first slot, so that from then on its absence is tamper too.
Order at activation: slot → pointer → high water; a crash after the pointer, or a power cut soon after the high water,
leaves one that is too low by one set, which the next start lifts. So three syncs make a set active: of the slot, of the
pointer, and of the high water's content.

Slots hold exact bytes. Vendor files of more than ``INLINE_BYTES`` stand in the content store, named by hash; they are
not the customer's secret. All else is sealed.
"""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from outpost.cache.durable import Failpoint, make_folder, no_failpoint, overwrite_file, read_file, replace_file
from outpost.cache.errors import CacheMissingError, CacheTamperedError, HighWaterError, PointerError
from outpost.cache.seal import Seal
from outpost.cache.store import ContentStore
from outpost.core.bundle import limits
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.fields import Fields
from outpost.core.bundle.names import VENDOR, role_of_target
from outpost.core.bundle.release import HighWater, SignedSet, VerifiedSet
from outpost.core.errors import BundleError

SLOTS = ("a", "b")
INLINE_BYTES = 256 * 1024  # bytes; smaller vendor files are not worth a file of their own
MAX_INDEX_BYTES = 128 * 1024  # bytes; 256 files of at most 128 bytes of name, with hash and size, fit twice
MAX_SLOT_BYTES = limits.MAX_SET_BYTES + MAX_INDEX_BYTES + 1024  # bytes; the rest is head, nonce and tag
MAX_SMALL_BYTES = 16 * 1024  # bytes of the pointer or the high water; ours have less than 1 KiB
_SLOT_ROLE = "signed-set"
_HIGH_WATER_ROLE = "high-water"


class SlotCache:
    """Signed sets of one org on disk.

    Args:
        folder: `orgs/<org>`; holds `cache/` and `high-water.json`.
        seal: of this outpost and org.
        failpoint: see ``durable``.
    """

    def __init__(self, folder: Path, seal: Seal, failpoint: Failpoint = no_failpoint) -> None:
        self._cache = folder / "cache"
        self._pointer = self._cache / "active"
        self._high_water = folder / "high-water.json"
        self._seal = seal
        self._failpoint = failpoint
        self._store = ContentStore(self._cache / "store", failpoint)
        self._folder_made = False
        self._written = ""  # slot that this object wrote whole and nobody activated yet

    def active_slot(self) -> str:
        """Name of the active slot, "a" or "b".

        Raises:
            CacheMissingError: nothing was activated yet.
            PointerError: it names no slot.
        """
        data = read_file(self._pointer, MAX_SMALL_BYTES)
        for slot in SLOTS:
            if data == _pointer_bytes(slot):
                return slot
        raise PointerError("The pointer names no slot.", field="active", next_step="Fetch a fresh set.")

    def write_idle(self, verified: VerifiedSet) -> str:
        """Write a set into the slot that is not active; it is on disk when this returns.

        Returns:
            Name of the slot, for ``load`` and ``activate``.

        Raises:
            CacheWriteError: the disk refused; the active slot stands.
        """
        self._written = ""
        if not self._folder_made or not self._cache.is_dir():
            make_folder(self._cache)
            self._folder_made = True
        if not self._pointer.exists() and not self._high_water.exists():
            self._write_high_water(HighWater(versions={}, time_floor_ms=0), at_once=True)
        slot = self._idle_slot()
        if not self._store.is_empty():
            self._store.keep_only(self._digests_in_use())
        content = self._pack(verified.signed)
        sealed = self._seal.close(_SLOT_ROLE, verified.revision, content)
        overwrite_file(self._slot_path(slot), sealed, self._failpoint)
        self._written = slot
        return slot

    def activate(self, slot: str) -> None:
        """Make a written slot the active one; then write the high water.

        A slot that this object did not write itself is opened first, to see that it is whole.

        Raises:
            CacheMissingError: the slot was never written.
            CacheTamperedError: the slot is torn or altered.
            CacheWriteError: the disk refused; the old slot stays active.
        """
        if slot != self._written:
            self._open_slot(slot)
        self._written = ""
        try:
            self.active_slot()
        except (CacheMissingError, CacheTamperedError):  # there is no pointer of which one byte could change
            replace_file(self._pointer, _pointer_bytes(slot), self._failpoint)
        else:
            overwrite_file(self._pointer, _pointer_bytes(slot), self._failpoint)

    def load(self, slot: str) -> SignedSet:
        """Read a slot, active or not. The bytes are still to be verified.

        Raises:
            CacheMissingError: never written.
            CacheTamperedError: torn or altered, or a stored file of it is gone or altered.
        """
        content = self._open_slot(slot)
        try:
            return self._unpack(content)
        except (CacheMissingError, BundleError) as error:
            raise CacheTamperedError(f"Slot {slot} is not whole: {error.message}", field=error.field) from error

    def load_active(self) -> SignedSet:
        """Read the active slot. The bytes are still to be verified.

        Raises:
            CacheMissingError: nothing was activated yet.
            CacheTamperedError: pointer, slot or a stored file is gone or altered.
        """
        slot = self.active_slot()
        try:
            return self.load(slot)
        except CacheMissingError as error:
            raise CacheTamperedError("The active slot is gone.", field=f"slot-{slot}") from error

    def read_high_water(self) -> HighWater:
        """What was ever accepted here.

        Returns:
            An empty high water when nothing was ever written.

        Raises:
            HighWaterError: altered, or gone although a set was activated.
        """
        try:
            data = read_file(self._high_water, MAX_SMALL_BYTES)
        except CacheMissingError:
            if self._pointer.exists():
                raise HighWaterError("The high water is gone.", field="high-water.json") from None
            return HighWater(versions={}, time_floor_ms=0)
        try:
            return self._parse_high_water(data)
        except BundleError as error:
            raise HighWaterError("The high water cannot be read.", field="high-water.json") from error

    def surviving_high_water(self) -> HighWater:
        """The high water for judging a fresh set: nothing, when it was altered.

        Only a fresh set clears that, and its timestamp bounds what could be brought back to a day.
        """
        try:
            return self.read_high_water()
        except CacheTamperedError:
            return HighWater(versions={}, time_floor_ms=0)

    def write_high_water(self, high_water: HighWater) -> None:
        """Replace the high water: a power cut soon after may bring the old one back, whole.

        Raises:
            CacheWriteError: the disk refused; the old one stands.
        """
        self._write_high_water(high_water, at_once=False)

    def _write_high_water(self, high_water: HighWater, *, at_once: bool) -> None:
        body = {"versions": dict(high_water.versions), "time_floor_ms": high_water.time_floor_ms}
        mac = self._seal.mac(_HIGH_WATER_ROLE, encode(body))
        if not self._high_water.parent.is_dir():
            make_folder(self._high_water.parent)
        replace_file(self._high_water, encode({"body": body, "mac": mac}), self._failpoint, at_once=at_once)

    def _parse_high_water(self, data: bytes) -> HighWater:
        fields = Fields(decode(data, "high-water.json"), "high-water.json")
        body = fields.nested("body")
        versions = body.nested("versions")
        result = HighWater(
            versions={role: versions.integer(role, 0, limits.MAX_VERSION) for role in versions.names()},
            time_floor_ms=body.integer("time_floor_ms", 0, limits.MAX_INTEGER),
        )
        expected = encode({"versions": dict(result.versions), "time_floor_ms": result.time_floor_ms})
        mac = fields.sha256("mac")
        body.done()
        fields.done()
        if not hmac.compare_digest(mac, self._seal.mac(_HIGH_WATER_ROLE, expected)):
            raise HighWaterError("The high water was altered.", field="high-water.json")
        return result

    def _idle_slot(self) -> str:
        try:
            return SLOTS[1] if self.active_slot() == SLOTS[0] else SLOTS[0]
        except (CacheMissingError, CacheTamperedError):  # what the pointer says is lost; either slot may be written
            return SLOTS[0]

    def _slot_path(self, slot: str) -> Path:
        if slot not in SLOTS:
            raise CacheMissingError("There is no such slot.", field="slot")
        return self._cache / f"slot-{slot}"

    def _open_slot(self, slot: str) -> bytes:
        path = self._slot_path(slot)
        return self._seal.open(_SLOT_ROLE, read_file(path, MAX_SLOT_BYTES), path.name)

    def _pack(self, signed: SignedSet) -> bytes:
        index: list[dict[str, object]] = []
        blobs = []
        for kind, files in (("metadata", signed.metadata), ("target", signed.targets)):
            for name, data in files.items():
                stored = kind == "target" and role_of_target(name) == VENDOR and len(data) > INLINE_BYTES
                digest = self._store.put(data) if stored else hashlib.sha256(data).hexdigest()
                index.append({"kind": kind, "name": name, "sha256": digest, "size": len(data), "stored": stored})
                if not stored:
                    blobs.append(data)
        head = encode({"files": index})
        return b"".join((len(head).to_bytes(4, "big"), head, *blobs))

    def _unpack(self, content: bytes) -> SignedSet:
        files, blobs = _index(content)
        metadata: dict[str, bytes] = {}
        targets: dict[str, bytes] = {}
        at = 0
        for item in files:
            name, size = item.text("name"), item.integer("size", 0, limits.MAX_TARGET_BYTES)
            if item.flag("stored"):
                data = self._store.get(item.sha256("sha256"))
            else:
                data, at = blobs[at : at + size], at + size
            (metadata if item.choice("kind", ("metadata", "target")) == "metadata" else targets)[name] = data
        return SignedSet(metadata=metadata, targets=targets)

    def _digests_in_use(self) -> set[str]:
        """Stored files of the active slot; none when it is not whole, for then nobody can use them."""
        try:
            files, _ = _index(self._open_slot(self.active_slot()))
            return {item.sha256("sha256") for item in files if item.flag("stored")}
        except (CacheMissingError, CacheTamperedError, BundleError):
            return set()


def _index(content: bytes) -> tuple[Iterable[Fields], bytes]:
    """Index and blobs of an opened slot."""
    size = int.from_bytes(content[:4], "big")
    fields = Fields(decode(content[4 : 4 + size], "slot"), "slot")
    return fields.objects("files", limits.MAX_SET_FILES), content[4 + size :]


def _pointer_bytes(slot: str) -> bytes:
    return f"slot-{slot}\n".encode()
