import pytest

from outpost.core.detect import shape

REFUSED = {
    "a star": "a*",
    "a plus": "a+",
    "a dot": "a.b",
    "an anchor": "^a",
    "an open class": "[a",
    "an open group": "(?:a",
    "a stray bracket": "a)b",
    "look-ahead": "a(?=b)",
    "a numbered group": "(a)",
    "nothing repeated": "a{0}",
    "a reversed count": "a{3,2}",
}


@pytest.mark.parametrize("pattern", REFUSED.values(), ids=REFUSED)
def test_outside_the_grammar_is_refused(pattern: str) -> None:
    with pytest.raises(shape.ShapeError):
        shape.parse(pattern)


def test_width_is_the_longest_match() -> None:
    assert shape.width(shape.parse(r"ab(?:c{2,5}|d)[x-z]?\d{3}")) == 2 + 5 + 1 + 3


def test_caseless_spells_both_cases_and_leaves_escapes() -> None:
    assert shape.regex(shape.parse(r"a\d[b-d\s]", caseless=True)) == r"[aA]\d[b-d\sB-D\s]"


def test_first_characters_skip_optional_parts() -> None:
    assert shape.first_chars(shape.parse(r"a?(?:b|c)d")) == ["a", "b", "c"]
