import pytest

from outpost.core.detect.finding import Finding
from outpost.core.detect.merge import MAX_STRETCH_CHARS, merge


def found(entity_type: str, start: int, end: int, confidence: int = 80) -> Finding:
    return Finding(entity_type, entity_type, start, end, confidence)


CASES = {
    "nothing": ([], []),
    "neighbours stay apart": ([found("a", 0, 5), found("b", 5, 9)], [("a", 0, 5), ("b", 5, 9)]),
    "the longest wins": ([found("a", 2, 5, 99), found("b", 0, 9)], [("b", 0, 9)]),
    "of equal spans the more certain wins": ([found("a", 0, 5, 70), found("b", 0, 5, 90)], [("b", 0, 5)]),
    "the winner covers the loser's rest": ([found("a", 0, 10), found("b", 8, 15)], [("a", 0, 15)]),
    "a chain is one stretch": ([found("a", 0, 5), found("b", 4, 12), found("c", 11, 14)], [("b", 0, 14)]),
}


@pytest.mark.parametrize(("findings", "expected"), CASES.values(), ids=CASES)
def test_merge(findings: list[Finding], expected: list[tuple[str, int, int]]) -> None:
    assert [(f.entity_type, f.start, f.end) for f in merge(reversed(findings))] == expected


def test_a_chain_is_cut_at_the_limit_without_gap_or_overlap() -> None:
    step = MAX_STRETCH_CHARS // 4
    chain = [found("a", index * step, (index + 1) * step + 1) for index in range(8)]
    merged = merge(chain)
    assert [(f.start, f.end) for f in merged] == [
        (0, 3 * step + 1),
        (3 * step + 1, 7 * step + 1),
        (7 * step + 1, 8 * step + 1),
    ]
    assert all(f.end - f.start <= MAX_STRETCH_CHARS for f in merged)


def test_a_chain_of_exactly_the_limit_is_one_stretch() -> None:
    half = MAX_STRETCH_CHARS // 2
    assert len(merge([found("a", 0, half + 1), found("b", half, 2 * half)])) == 1
