"""The short form of `make bench-tamper`: a flipped bit of what carries configuration brings nothing into force."""

from pathlib import Path

from bench.surfaces import Surface, surfaces
from bench.tamper import campaign
from outpost.core.errors import BundleError

FLIPS = 600
SEED = 20260921


def test_no_flipped_bit_brings_anything_else_into_force(tmp_path: Path) -> None:
    every = surfaces(tmp_path)
    found = campaign(every, FLIPS, SEED)
    assert {name: tally.accepted for name, tally in found.items() if tally.accepted} == {}
    assert {name: tally.crashed for name, tally in found.items() if tally.crashed} == {}
    assert sum(tally.flips for tally in found.values()) == FLIPS
    noticed = {name for name, tally in found.items() if tally.refused}
    assert noticed == {surface.name for surface in every} - {"marks"}  # a damaged mark is a mark


def careless(name: str, data: bytes) -> object:
    """Takes what it gets, unless the first bit is set, and stumbles over the last."""
    if data[0] & 0x80:
        raise BundleError("no")
    return data.decode("ascii")


def test_what_comes_into_force_is_noticed_and_so_is_what_stumbles() -> None:
    found = campaign([Surface("careless", 1, {"file": b"ab"}, careless)], 200, SEED)
    tally = found["careless"]
    assert tally.accepted
    assert tally.crashed
    assert tally.refused["bundle.invalid"] > 0
    assert tally.flips == 200
