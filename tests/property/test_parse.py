"""Laws of reading bodies: no ambiguity, nothing but our own errors, what is inspected is what is sent."""

import json
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.chat.fields import PROTOCOL_WORDS, FieldKind, list_fields, replace_text
from outpost.core.chat.messages import BodyDuplicateKeyError, BodyLimits, parse_body
from outpost.core.errors import RequestError

LIMITS = BodyLimits()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(['"', "\\", '\\"', "\\\\", "a"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT | st.floats(-(2**50), 2**50)
TREES = st.dictionaries(
    TEXT,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
    ),
    max_size=4,
)


class RepeatedKeyError(Exception):
    """The oracle saw a key twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise RepeatedKeyError
    return dict(pairs)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """JSON text whose objects may repeat keys, with escapes chosen at random."""
    ascii_only = draw(st.booleans())

    def written(value: Any, depth: int) -> str:
        if isinstance(value, dict):
            pairs = list(value.items())
            if pairs and depth < 3 and draw(st.integers(0, 5)) == 0:
                pairs.append(pairs[0])
            inner = ",".join(f"{json.dumps(k, ensure_ascii=ascii_only)}:{written(v, depth + 1)}" for k, v in pairs)
            return f"{{{inner}}}"
        if isinstance(value, list):
            return f"[{','.join(written(item, depth + 1) for item in value)}]"
        return json.dumps(value, ensure_ascii=ascii_only)

    return written(draw(TREES), 0)


@settings(max_examples=120, deadline=None)
@given(documents())
def test_a_repeated_key_is_found_exactly_when_there_is_one(text: str) -> None:
    try:
        json.loads(text, object_pairs_hook=_pairs)
        repeated = False
    except RepeatedKeyError:
        repeated = True
    try:
        parse_body(text.encode(), LIMITS)
        assert not repeated
    except BodyDuplicateKeyError:
        assert repeated


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60) | documents().map(str.encode))
def test_bytes_are_a_tree_or_one_of_our_errors(raw: bytes) -> None:
    try:
        tree = parse_body(raw, LIMITS)
    except RequestError as error:
        tree = None
        code = error.code
    assert tree == json.loads(raw) if tree is not None else code.startswith("body.")


@settings(max_examples=80, deadline=None)
@given(TREES)
def test_the_serialisation_holds_the_very_texts_that_were_listed(tree: Any) -> None:
    sent = orjson.loads(orjson.dumps(tree))
    assert list_fields(sent) == list_fields(tree)


@settings(max_examples=80, deadline=None)
@given(TREES, TEXT.filter(lambda text: text not in PROTOCOL_WORDS))
def test_every_value_can_be_replaced_by_its_pointer(tree: Any, text: str) -> None:
    for field in list_fields(tree).fields:
        if field.kind in {FieldKind.VALUE, FieldKind.JSON}:
            changed = list_fields(replace_text(tree, field.pointer, text)).fields
            assert any(found.pointer == field.pointer and found.text == text for found in changed)
