"""Laws of signed configuration: no altered byte is accepted, and nothing but a BundleError or StoreError says so."""

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.cache.errors import CacheTamperedError
from outpost.cache.seal import Seal
from outpost.core.bundle import limits, names
from outpost.core.bundle.canonical import decode, encode
from outpost.core.bundle.release import HighWater, SignedSet
from outpost.core.bundle.trust import OrgFacts, State, org_state
from outpost.core.errors import BundleError
from outpost.sync.tuf import reverify, verify
from tests.unit.core.bundle.samples import AUDIENCE, NOTHING, NOW_MS, ORG, Forge, forge, rotated

_FIRST = forge()
FORGE = Forge(_FIRST.keys, rotated(_FIRST.signed, _FIRST.keys, _FIRST.keys))
FILES = sorted([*FORGE.signed.metadata, *FORGE.signed.targets])
SEAL = Seal("op-0123456789abcdef", ORG, lambda: bytes(32), os.urandom)
SEALED = SEAL.close("signed-set", "1.1", b"content " * 20)


def content(name: str) -> bytes:
    return FORGE.signed.metadata.get(name) or FORGE.signed.targets[name]


def accepted(offered: SignedSet, high_water: HighWater = NOTHING) -> bool:
    try:
        verify(_FIRST.root, offered, high_water, NOW_MS, AUDIENCE)
    except BundleError:
        online = False
    else:
        online = True
    try:
        reverify(_FIRST.root, offered, high_water, AUDIENCE)
    except BundleError:
        assert not online
        return False
    return True


def test_the_unaltered_set_is_accepted() -> None:
    assert accepted(FORGE.signed)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_is_accepted(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    altered = bytearray(content(name))
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if bytes(altered) != content(name):
        assert not accepted(FORGE.replaced(name, bytes(altered)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_cut_insertion_or_exchange_is_accepted(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    whole = content(name)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    other = content(data.draw(st.sampled_from(FILES)))
    middle = data.draw(st.one_of(st.binary(max_size=40), st.just(other), st.just(whole[start:end] * 2)))
    altered = whole[:start] + middle + whole[end:]
    if altered != whole:
        assert not accepted(FORGE.replaced(name, altered))


@settings(max_examples=60, deadline=None)
@given(dropped=st.sets(st.sampled_from(FILES), min_size=1))
def test_no_incomplete_set_is_accepted(dropped: set[str]) -> None:
    rest = SignedSet(
        {name: data for name, data in FORGE.signed.metadata.items() if name not in dropped},
        {name: data for name, data in FORGE.signed.targets.items() if name not in dropped},
    )
    roots = {
        "1.root.json",
        "2.root.json",
    }  # the first is known from enrollment, the second is missed by who saw it before
    assert accepted(rest) == (dropped <= roots)
    assert not accepted(rest, HighWater({"root": 2}, 0)) or dropped == {"1.root.json"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-limits.MAX_INTEGER, limits.MAX_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(role=st.sampled_from(["timestamp", "snapshot", "targets", *names.DELEGATED_ROLES]), value=JSON, data=st.data())
def test_a_key_holder_who_signs_nonsense_raises_nothing_else(role: str, value: Any, data: st.DataObject) -> None:
    def change(part: dict[str, Any]) -> None:
        part[data.draw(st.sampled_from(sorted(part)))] = value

    accepted(_FIRST.edited(role, change))


@settings(max_examples=150, deadline=None)
@given(value=st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_canonical_json_is_one_sequence_of_bytes(value: dict[str, object]) -> None:
    data = encode(value)
    assert decode(data, "a file") == value
    assert encode(decode(data, "a file")) == data


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    try:
        value = decode(data, "a file")
    except BundleError:
        return
    assert encode(value) == data


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_altered_sealed_file_opens(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SEALED) - 1))
    altered = SEALED[:at] + data.draw(st.binary(max_size=4)) + SEALED[at + 1 :]
    if altered == SEALED:
        return
    try:
        SEAL.open("signed-set", altered, "slot-a")
    except CacheTamperedError:
        return
    raise AssertionError("an altered file opened")


ORDER = [State.ACTIVE, State.OFFLINE, State.STALE, State.SEALED]
TIMES = st.integers(0, 2 * 10**12)


@settings(max_examples=200, deadline=None)
@given(
    signed_at=TIMES,
    validity=st.integers(1, 10**10),
    seal_after=st.none() | st.integers(1, 10**8),
    contact=TIMES,
    moments=st.tuples(TIMES, TIMES),
)
def test_time_alone_never_improves_a_state(
    signed_at: int, validity: int, seal_after: int | None, contact: int, moments: tuple[int, int]
) -> None:
    facts = OrgFacts(True, True, signed_at, signed_at + validity, seal_after, contact, 0)
    earlier, later = (org_state(facts, moment).state for moment in sorted(moments))
    assert ORDER.index(earlier) <= ORDER.index(later)
