"""Model globs, also against texts made to be slow."""

import time

import pytest

from outpost.core.policy.globs import glob_matches


@pytest.mark.parametrize(
    ("glob", "text", "matches"),
    {
        "the same": ("gpt-4o", "gpt-4o", True),
        "a longer text": ("gpt-4o", "gpt-4o-mini", False),
        "a prefix": ("gpt-*", "gpt-4o", True),
        "a prefix and nothing": ("gpt-*", "gpt-", True),
        "a suffix": ("*-mini", "gpt-4o-mini", True),
        "both ends": ("gpt-*-mini", "gpt-4o-mini", True),
        "ends that would overlap": ("aba*aba", "aba", False),
        "ends that would overlap by one": ("ab*bc", "abc", False),
        "a middle": ("*4o*", "gpt-4o-mini", True),
        "middles in order": ("*a*b*", "xaxbx", True),
        "middles in the wrong order": ("*b*a*", "xaxbx", False),
        "a middle inside the suffix": ("a*b*b", "ab", False),
        "everything": ("*", "", True),
        "two stars": ("a**b", "ab", True),
        "a dot is a dot": ("gpt.4", "gptx4", False),
        "the empty glob": ("", "a", False),
    }.values(),
)
def test_globs(glob: str, text: str, matches: bool) -> None:
    assert glob_matches(glob, text) is matches


def test_a_hostile_text_costs_one_pass_per_piece() -> None:
    began = time.process_time()
    assert not glob_matches("*a" * 60 + "b*c", "a" * 1_000_000 + "c")
    assert time.process_time() - began < 1  # a backtracking matcher needs centuries
