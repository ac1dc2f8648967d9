"""What an offer carries, by the listings of two sets alone."""

import hashlib
from dataclasses import dataclass, field

import pytest

from controlplane.domain.offers import (
    MAX_INLINE_BYTES,
    DeltaPair,
    SetFile,
    changes,
    deltas_worth_trying,
    is_current,
    listing,
    pack,
    retry_seconds,
    wanted,
)
from outpost.core.bundle.delta import set_identity


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def file(name: str, text: str = "", size: int = 100) -> SetFile:
    return SetFile(name, digest(text or name), size, metadata="/" not in name)


FILES = (
    file("1.root.json"),
    file("2.root.json"),
    file("timestamp.json"),
    file("access/keys.json", size=5_000_000),
    file("policy/release-2.json", size=1500),
    file("policy/packs-bbbb.json", size=90_000),
)
HELD = listing(FILES)


@dataclass(frozen=True)
class Case:
    """What is held, and what the packing then says."""

    held: dict[str, bytes]
    listed: set[str]
    inline: set[str]
    removed: set[str] = field(default_factory=set)
    partial: bool = True


CASES = {
    "nothing is held: all is listed, small things travel": Case(
        {},
        set(HELD),
        {"1.root.json", "2.root.json", "timestamp.json", "policy/release-2.json"},
        partial=False,
    ),
    "all is held: nothing is listed": Case(HELD, set(), set()),
    "one file is held in another form": Case(
        HELD | {"timestamp.json": digest("old")}, {"timestamp.json"}, {"timestamp.json"}
    ),
    "a file is held that the set has not": Case(
        HELD | {"policy/old.json": digest("x")}, set(), set(), {"policy/old.json"}
    ),
    "a large file is held in another form, and no delta was worth it": Case(
        HELD | {"access/keys.json": digest("old")}, {"access/keys.json"}, set()
    ),
    "the outpost was enrolled under the second root": Case(
        {name: value for name, value in HELD.items() if name != "1.root.json"}, set(), set()
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_packing(sentence: str) -> None:
    case = CASES[sentence]
    packing = pack(FILES, case.held, {})
    assert {each.name for each in packing.files} == case.listed
    assert packing.inline == case.inline
    assert set(packing.removed) == case.removed
    assert packing.base_sha256 == (set_identity(case.held) if case.partial else b"")
    assert packing.is_empty == (not case.listed and not case.removed) == is_current(FILES, case.held)


def test_a_set_that_failed_is_offered_again_after_growing_waits_that_differ() -> None:
    failures = (1, 2, 3, 7, 8, 10**6)
    assert [retry_seconds(each, 0.0) for each in failures] == [2.5, 5.0, 10.0, 150.0, 150.0, 150.0]
    assert [retry_seconds(each, 1.0) for each in failures] == [5.0, 10.0, 20.0, 300.0, 300.0, 300.0]


def test_roots_older_than_the_enrolled_one_do_not_concern_an_outpost() -> None:
    assert [each.name for each in wanted(FILES, {"2.root.json": b""})] == [each.name for each in FILES[1:]]
    assert wanted(FILES, {}) == FILES


def test_deltas_are_tried_for_large_files_and_for_resources_of_the_same_kind() -> None:
    held = HELD | {"access/keys.json": digest("old keys"), "policy/packs-aaaa.json": digest("old packs")}
    del held["policy/packs-bbbb.json"]
    found = changes(FILES, held)
    assert deltas_worth_trying(FILES, held, found) == (
        DeltaPair("access/keys.json", digest("old keys"), digest("access/keys.json")),
        DeltaPair("policy/packs-bbbb.json", digest("old packs"), digest("policy/packs-bbbb.json")),
    )


def test_a_delta_travels_in_the_place_of_its_file_within_the_budget() -> None:
    held = HELD | {"access/keys.json": digest("old"), "policy/packs-bbbb.json": digest("old")}
    keys = DeltaPair("access/keys.json", digest("old"), digest("access/keys.json"))
    packs = DeltaPair("policy/packs-bbbb.json", digest("old"), digest("policy/packs-bbbb.json"))
    packing = pack(FILES, held, {keys: b"k" * 400, packs: b"p" * 500})
    assert packing.deltas == {keys.name: (b"k" * 400, keys.old_sha256), packs.name: (b"p" * 500, packs.old_sha256)}
    assert packing.inline == frozenset()
    narrow = pack(FILES, held, {keys: b"k" * 400, packs: b"p" * 500}, budget_bytes=450)
    assert set(narrow.deltas) == {keys.name}
    assert {each.name for each in narrow.files} == {keys.name, packs.name}


def test_metadata_comes_first_and_the_budget_is_kept() -> None:
    files = [file("timestamp.json", size=1000), *(file(f"policy/{n}.json", size=1000) for n in range(100))]
    packing = pack(files, {}, {})
    assert "timestamp.json" in packing.inline
    assert sum(each.size for each in files if each.name in packing.inline) <= MAX_INLINE_BYTES
    assert len(packing.inline) == MAX_INLINE_BYTES // 1000
