"""Globs within globs: never a yes that is wrong."""

import itertools

import pytest

from outpost.core.bundle.caps import glob_within, globs_within
from outpost.core.policy.globs import glob_matches

WITHIN = {
    ("gpt-4o", "gpt-*"): True,
    ("gpt-*", "gpt-*"): True,
    ("gpt-4*", "gpt-*"): True,
    ("GPT-4*", "gpt-*"): True,
    ("gpt-*", "gpt-4*"): False,
    ("*", "gpt-*"): False,
    ("gpt-*", "*"): True,
    ("*", "*"): True,
    ("a*c", "a*"): True,
    ("a*", "a*c"): False,
    ("a*b*c", "a*c"): True,
    ("a*c", "a*b*c"): False,
    ("abab", "ab*ab"): True,
    ("aba", "ab*ba"): False,
    ("gpt-4o", "gpt-4o"): True,
    ("gpt-4o", "gpt-4"): False,
    ("**", "*"): True,
    ("x*y", "x**y"): True,
}


@pytest.mark.parametrize("pair", WITHIN, ids=" in ".join)
def test_one_glob_within_another(pair: tuple[str, str]) -> None:
    assert glob_within(*pair) is WITHIN[pair]


LISTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "nothing named means every model": ((), ("gpt-*",), False),
    "every model on both sides": ((), (), True),
    "something within every model": (("gpt-*",), (), True),
    "each has a wider one": (("gpt-4*", "claude-3"), ("claude-*", "gpt-*"), True),
    "one has none": (("gpt-4*", "mistral"), ("claude-*", "gpt-*"), False),
}


@pytest.mark.parametrize("sentence", LISTS)
def test_lists_of_globs(sentence: str) -> None:
    globs, wider, expected = LISTS[sentence]
    assert globs_within(globs, wider) is expected


def test_no_text_escapes_a_wider_glob() -> None:
    """All globs of up to three characters, against all texts of up to four."""
    globs = ["".join(each) for n in range(1, 4) for each in itertools.product("ab*", repeat=n)]
    texts = ["".join(each) for n in range(5) for each in itertools.product("ab", repeat=n)]
    matched = {glob: {text for text in texts if glob_matches(glob, text)} for glob in globs}
    for glob, wider in itertools.product(globs, globs):
        if glob_within(glob, wider):
            assert matched[glob] <= matched[wider], (glob, wider)
