"""Uploads of audit logs: the witness takes what continues the log, and refuses everything else by name."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.domain.witness import KnownTree, Upload, WitnessRefused, accept
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, leaf_hash
from outpost.core.audit.note import NoteVerifier
from tests.fuzz.damage import attempt, damaged
from tests.unit.controlplane.bed import Log

ORIGIN = "outpost.internal/org/acme/outpost/op-0123456789abcdef"
SIZE = 300
OURS = Log(ORIGIN, "op-0123456789abcdef")
OURS.grow(SIZE)
THEIRS = Log(ORIGIN, "op-0123456789abcdef", OURS.key)
THEIRS.grow(SIZE, version="other")
STRANGER = Log(ORIGIN, "op-0123456789abcdef")
STRANGER.records = OURS.records
LEAVES = [leaf_hash(record) for record in OURS.records]
HEADS = [
    *(log.checkpoint(size) for log in (OURS, THEIRS) for size in (0, 1, 20, 21, 25, 256, 257, 300)),
    STRANGER.checkpoint(20),
    OURS.checkpoint(25, bytes(32)),
]
VERIFIER = NoteVerifier(ORIGIN, OURS.public_key)
EDGES = st.sampled_from([0, 1, 19, 20, 21, 255, 256, 257, 299]) | st.integers(0, SIZE - 1)


def known(size: int, first: int, cosigned: int) -> KnownTree:
    tile_end = (first // TILE_WIDTH + 1) * TILE_WIDTH
    return KnownTree(
        log=VERIFIER,
        tree=CompactRange().extend(LEAVES[:size]),
        cosigned_size=cosigned,
        leaf_hashes=LEAVES[first : min(tile_end, size)],
        root_at=lambda wanted: CompactRange().extend(LEAVES[:wanted]).root(),
    )


@st.composite
def records(draw: st.DrawFn, first: int) -> list[bytes]:
    source = draw(st.sampled_from([OURS.records, OURS.records, OURS.records, THEIRS.records]))
    start = first if draw(st.integers(0, 5)) else draw(EDGES)
    found = list(source[start : start + draw(st.sampled_from([0, 1, 2, 5, 256, 257]))])
    if found and not draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(found) - 1))
        found[place] = draw(damaged(st.just(found[place])) | st.binary(max_size=20))
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_accepted_continues_the_log_and_nothing_else_is(data: st.DataObject) -> None:
    size, first = data.draw(EDGES), data.draw(EDGES)
    sent: Sequence[bytes] = data.draw(records(first))
    head = data.draw(st.just(b"") | st.sampled_from(HEADS) | damaged(st.sampled_from(HEADS)))
    before = known(size, first, data.draw(st.integers(0, size)))
    accepted, refused = attempt(WitnessRefused, lambda: accept(before, Upload(first, sent, head)))
    if accepted is None:
        assert refused is not None
        assert refused.status in (403, 404, 409, 422)
        assert (refused.known_size, refused.last_common_size <= size) == (size, True)
        return
    assert list(sent[: accepted.duplicates]) == OURS.records[first : first + accepted.duplicates]
    assert [record.record for record in accepted.new] == list(sent[accepted.duplicates :])
    assert [record.sequence for record in accepted.new] == list(range(size, size + len(accepted.new)))
    assert accepted.tree.size == size + len(accepted.new)
    if accepted.complete:
        leaves = [*LEAVES[:size], *(record.leaf_hash for record in accepted.new)]
        assert accepted.signed is not None
        assert accepted.signed.checkpoint.root == CompactRange().extend(leaves).root()


def test_a_plain_continuation_is_accepted_and_completes() -> None:
    accepted = accept(known(20, 20, 20), Upload(20, OURS.records[20:25], OURS.checkpoint(25)))
    assert (len(accepted.new), accepted.duplicates, accepted.complete) == (5, 0, True)
    with pytest.raises(WitnessRefused):
        accept(known(20, 20, 20), Upload(20, THEIRS.records[20:25], OURS.checkpoint(25)))
