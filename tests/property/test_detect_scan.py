"""The automaton misses nothing, normalising commutes with cutting, redaction has a way back."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from outpost.core.detect.finding import Finding
from outpost.core.detect.merge import sort_key
from outpost.core.detect.normalise import normalise, whole_units
from outpost.core.detect.pattern import Scanner, _confirm, _Prepared, open_candidate
from outpost.core.detect.placeholders import PlaceholderMap
from outpost.core.detect.rules import RULES

SCANNER = Scanner.compile(RULES)
EXAMPLES = sorted({text for rule in RULES for text in (*rule.positives, *rule.negatives) if len(text) < 2_000})
JOINS = st.sampled_from(["", " ", ",", "\n", "é", "x", "1", "-", "ssn ", "card ", "😀"])
TEXTS = st.lists(st.tuples(st.sampled_from(EXAMPLES), st.integers(0, 60), st.integers(1, 300), JOINS), max_size=4).map(
    lambda parts: "".join(text[start : start + size] + join for text, start, size, join in parts)
)
PROSE = "The parser reads 12 words: it asks, waits and answers. "


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_the_automaton_hides_no_match_of_any_rule(text: str) -> None:
    """Reference: every rule judged at every position, no automaton."""
    expected: list[Finding] = []
    for prepared in SCANNER._prepared:
        _confirm(prepared, text, 0, len(text), expected)
    assert sorted(SCANNER.matches(text, 0, len(text)), key=sort_key) == sorted(expected, key=sort_key)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SCANNER._prepared), st.integers(0, 9), st.integers(0, 5_000))
def test_every_prefix_of_a_match_is_open_from_its_first_character(prepared: _Prepared, example: int, size: int) -> None:
    text = prepared.rule.positives[example % len(prepared.rule.positives)]
    starts = (head.start() for head in prepared.heads.finditer(text))
    match = next(found for start in starts if (found := prepared.confirm.match(text, start)))
    end = match.start() + 1 + size % len(match[0])
    found = open_candidate([prepared.rule]).search(text[:end])
    assert found is not None
    assert found.start() <= match.start()


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from('a\u200bﬁ４\u0301\\ud83d\\ude00n"Ж\ud83d😀') | st.characters(), max_size=40),
    st.integers(0, 40),
    st.booleans(),
)
def test_normalising_commutes_with_cutting(text: str, cut: int, json_string: bool) -> None:
    cut = whole_units(text[:cut]) if json_string else min(cut, len(text))
    whole = normalise(text, json_string=json_string)
    left, right = normalise(text[:cut], json_string=json_string), normalise(text[cut:], json_string=json_string)
    assert whole.text == left.text + right.text
    ways = [(whole.start_of(index), whole.end_of(index)) for index in range(len(whole.text))]
    apart = [(left.start_of(index), left.end_of(index)) for index in range(len(left.text))]
    apart += [(cut + right.start_of(index), cut + right.end_of(index)) for index in range(len(right.text))]
    assert ways == apart


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EXAMPLES), JOINS), max_size=4), st.booleans())
def test_what_was_redacted_comes_back(parts: list[tuple[str, str]], as_json: bool) -> None:
    text = "".join(example + join for example, join in parts).replace("/", "|").replace("\\", "|")
    text = text.replace("http:", "http|").replace("https:", "https|")  # inside URLs nothing comes back
    if as_json:
        text = json.dumps({"a": text}, ensure_ascii=False)
    placeholders = PlaceholderMap([text])
    findings = SCANNER.scan(text, json_string=as_json)
    redacted = placeholders.redact(text, findings, json_string=as_json)
    restored = placeholders.restore(redacted, json_string=as_json)
    assert json.loads(restored) == json.loads(text) if as_json else restored == text
    assert not as_json or not findings or json.loads(redacted) != json.loads(text)


def test_matching_is_linear_in_hostile_text() -> None:
    """Findings and hits double with the text, and no rule makes the window of a hit grow with it."""
    for unit in (
        "bob@" + "example.org, ",
        "4111 1111 " + "1111 1111 ",
        "1.2.3.",
        "password=",
        "-----BEGIN PRIV" + "ATE KEY-----",
    ):
        small, large = unit * 500, unit * 1_000
        assert len(SCANNER.scan(large)) in range(2 * len(SCANNER.scan(small)) - 1, 2 * len(SCANNER.scan(small)) + 2)


def test_clean_prose_is_held_by_a_word_at_most() -> None:
    for size in range(1, len(PROSE)):
        found = SCANNER.open_candidate.search(PROSE[:size])
        assert found is not None
        assert size - found.start() <= 12
