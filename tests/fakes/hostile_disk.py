"""Deeds of somebody who can write to an outpost's state folder. Each takes the folder of one org."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from outpost.cache.seal import Seal
from outpost.cache.slots import SlotCache
from outpost.core.bundle.canonical import encode
from outpost.core.bundle.release import HighWater
from outpost.sync import identity
from outpost.sync.tuf import reverify
from tests.fakes.hostile_sets import flipped
from tests.unit.core.bundle.samples import forge

SPARED_ORG = "acme"  # nothing happens to its files
OTHER_OUTPOST = "op-ffffffffffffffff"
ROOT_REPLACED = "the enrolled root is replaced by a thief's"
Deed = Callable[[Path], None]


def active_slot(folder: Path) -> Path:
    return folder / "cache" / (folder / "cache" / "active").read_text().strip()


def other_slot(folder: Path) -> str:
    return {"slot-a": "slot-b", "slot-b": "slot-a"}[active_slot(folder).name]


def flip_slot(folder: Path) -> None:
    active_slot(folder).write_bytes(flipped(active_slot(folder).read_bytes()))


def cut_slot(folder: Path) -> None:
    active_slot(folder).write_bytes(active_slot(folder).read_bytes()[:-1])


def point_to_older(folder: Path) -> None:
    (folder / "cache" / "active").write_text(other_slot(folder) + "\n")


def point_nowhere(folder: Path) -> None:
    (folder / "cache" / "active").write_bytes(b"slot-c\n")


def lower_high_water(folder: Path) -> None:
    path = folder / "high-water.json"
    body = json.loads(path.read_bytes())
    body["body"]["versions"]["timestamp"] -= 1
    path.write_bytes(encode(body))


def slot_of_other_outpost(folder: Path) -> None:
    """The set in force, sealed under the very same wrapping key, by another outpost."""
    key = (folder.parents[1] / "wrap.key").read_bytes()
    mine = SlotCache(
        folder, Seal(identity.load(folder / "identity").enrollment.outpost_id, folder.name, lambda: key, os.urandom)
    )
    audience = identity.load(folder / "identity").enrollment.audience
    verified = reverify((folder / "root.json").read_bytes(), mine.load_active(), HighWater({}, 0), audience)
    elsewhere = folder.parents[1] / "elsewhere"
    other = SlotCache(elsewhere, Seal(OTHER_OUTPOST, folder.name, lambda: key, os.urandom))
    slot = elsewhere / "cache" / f"slot-{other.write_idle(verified)}"
    active_slot(folder).write_bytes(slot.read_bytes())


def replace_root(folder: Path) -> None:
    (folder / "root.json").write_bytes(forge(folder.name).root)


def lose_high_water(folder: Path) -> None:
    (folder / "high-water.json").unlink()


def slot_of_other_org(folder: Path) -> None:
    active_slot(folder).write_bytes(active_slot(folder.parent / SPARED_ORG).read_bytes())


CASES: dict[str, tuple[str, Deed, str]] = {
    "one bit of the active slot is flipped": ("flipped", flip_slot, "cache.tampered"),
    "the active slot is cut short": ("cut", cut_slot, "cache.tampered"),
    "the active slot is gone": ("gone", lambda folder: active_slot(folder).unlink(), "cache.tampered"),
    "the slot of another outpost": ("outpost", slot_of_other_outpost, "cache.foreign"),
    "the slot of another org": ("other", slot_of_other_org, "cache.foreign"),
    "the pointer names the older slot": ("older", point_to_older, "bundle.rollback"),
    "the pointer names no slot": ("pointer", point_nowhere, "cache.pointer"),
    "the high water is lowered": ("lowered", lower_high_water, "cache.high_water"),
    "the high water is gone": ("lost", lose_high_water, "cache.high_water"),
    ROOT_REPLACED: ("root", replace_root, "bundle.root_mismatch"),
}
"""Sentence to the org that it happens to, the deed, and the code of the state."""
