"""Laws of the tree, the canonical form and the frames, against naive readings of the standards."""

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.audit import canonical, merkle, note, proof
from outpost.core.audit.merkle import CompactRange
from outpost.ledger import frames

MODEST = settings(max_examples=60, deadline=None)

leaves = st.lists(st.binary(max_size=8), max_size=70)


def naive_root(data: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word by word."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return sha256(b"\x01" + naive_root(data[:split]) + naive_root(data[split:])).digest()


@MODEST
@given(leaves, st.data())
def test_appending_in_any_cuts_gives_the_root_of_the_whole(data: list[bytes], draw: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in data]
    tree = CompactRange()
    while tree.size < len(hashes):
        step = draw.draw(st.integers(1, len(hashes) - tree.size))
        tree = tree.extend(hashes[tree.size : tree.size + step])
        assert tree.root() == naive_root(data[: tree.size])


@MODEST
@given(leaves.filter(bool), st.data())
def test_every_leaf_can_be_proved_and_no_other_stands_in_its_place(data: list[bytes], draw: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in data]
    size = draw.draw(st.integers(1, len(data)))
    index = draw.draw(st.integers(0, size - 1))
    root = naive_root(data[:size])
    made = merkle.inclusion_proof(hashes, index, size)
    proof.verify_inclusion(hashes[index], index, size, made, root)
    with pytest.raises(proof.ProofError):
        proof.verify_inclusion(merkle.leaf_hash(b"something else"), index, size, made, root)


@MODEST
@given(leaves, st.data())
def test_every_beginning_is_consistent_and_a_changed_one_is_not(data: list[bytes], draw: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in data]
    new = draw.draw(st.integers(0, len(data)))
    old = draw.draw(st.integers(0, new))
    made = merkle.consistency_proof(hashes, old, new)
    proof.verify_consistency(old, naive_root(data[:old]), new, naive_root(data[:new]), made)
    if old:
        at = draw.draw(st.integers(0, old - 1))
        forged = [*data[:at], data[at] + b"!", *data[at + 1 :]]
        with pytest.raises(proof.ProofError):
            proof.verify_consistency(old, naive_root(forged[:old]), new, naive_root(data[:new]), made)


values = st.recursive(
    st.booleans()
    | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), inner)
    ),
    max_leaves=5,  # keeps the nesting below MAX_DEPTH
)
bodies = st.dictionaries(st.from_regex(r"x[a-z0-9_]{0,8}", fullmatch=True), values, max_size=6)


@MODEST
@given(bodies, st.integers(0, 2**53 - 1))
def test_a_record_reads_back_as_what_was_written(fields: dict[str, canonical.Value], sequence: int) -> None:
    head: dict[str, str | int] = {"time_ms": 1, "org": "acme", "outpost": "op"}
    body = canonical.encode("a.b", head, fields)
    record = canonical.with_sequence(body, sequence)
    assert canonical.read(record).fields == {
        **fields,
        **head,
        "event": "a.b",
        "schema": canonical.SCHEMA,
        "_seq": sequence,
    }
    expected = json.dumps(json.loads(record), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert json.loads(expected) == json.loads(record)
    assert canonical.without_sequence(record) == body


@MODEST
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_a_typed_error_everywhere(data: bytes) -> None:
    with pytest.raises(canonical.RecordError):
        canonical.read(data)
    with pytest.raises(note.NoteError):
        note.parse_note(data.replace("— ".encode(), b""))
    with pytest.raises(note.NoteError):
        note.parse_checkpoint(data)


@MODEST
@given(st.integers(1, 12), st.data())
def test_a_scan_finds_every_frame_but_the_flipped_one(count: int, draw: st.DataObject) -> None:
    records = [canonical.with_sequence(b'{"a":"' + b"x" * (7 * i) + b'"}', i) for i in range(count)]
    page = frames.encode_page(CompactRange())
    encoded = [frames.encode_frame(record, opens_group=i % 3 == 0) for i, record in enumerate(records)]
    data = bytearray(page + b"".join(encoded) + bytes(500))
    victim = draw.draw(st.integers(0, count - 1))
    start = len(page) + sum(map(len, encoded[:victim]))
    at = start + draw.draw(st.integers(0, len(encoded[victim]) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    found = [item.sequence for item in frames.scan(bytes(data)) if isinstance(item, frames.Frame)]
    assert found == [i for i in range(count) if i != victim]
    assert [item for item in frames.scan(bytes(data)) if isinstance(item, frames.Damage)]


@MODEST
@given(st.integers(0, 300))
def test_a_header_page_gives_the_tree_back(size: int) -> None:
    tree = CompactRange().extend(merkle.leaf_hash(b"%d" % i) for i in range(size))
    page = frames.encode_page(tree)
    assert frames.decode_page(page) == tree
    assert frames.decode_page(page[:-1]) is None
    assert frames.decode_page(b"\0" * frames.PAGE_BYTES) is None
