"""Laws of the reader: YAML and JSON agree, and hostile text is refused with our error and no other."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.errors import BundleError
from outpost.core.policy.document import parse_document
from outpost.core.policy.source import read_source
from tests.property.policy_strategies import documents

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
TREES = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_json_is_read_as_the_standard_library_reads_it(tree: dict[str, Any]) -> None:
    assert read_source(json.dumps(tree).encode()) == tree


@settings(max_examples=50, deadline=None)
@given(documents(), st.booleans())
def test_a_policy_written_as_yaml_is_the_same_policy(document: dict[str, Any], flow: bool) -> None:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    written = yaml.dump(document, Dumper=NoAliases, default_flow_style=flow, allow_unicode=True)
    assert parse_document(written.encode()) == parse_document(json.dumps(document).encode())


def refused(text: bytes) -> BundleError | None:
    """The error that a text is refused with; any other exception fails the test."""
    try:
        parse_document(text)
    except BundleError as error:
        return error
    return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text("{}[]:,-&*!?|>'\"%@` \n\tabc01#", max_size=40).map(str.encode))
def test_hostile_text_gets_our_error_or_is_read(text: bytes) -> None:
    refusal = refused(text)
    assert refusal is None or (refusal.code.startswith("policy.document_") and refusal.next_step)


@settings(max_examples=80, deadline=None)
@given(documents(), st.data())
def test_a_damaged_policy_gets_our_error_or_is_read(document: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    refusal = refused(bytes(text))
    assert refusal is None or refusal.code.startswith("policy.document_")
