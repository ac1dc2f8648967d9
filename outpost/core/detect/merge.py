"""Findings that overlap become one: the longest wins; of equal spans the higher confidence.

The winner takes over the whole overlapped stretch, so that nothing of a loser stays readable when it is replaced.
A stretch ends at ``MAX_STRETCH_CHARS``: a chain of overlaps must not hold back a stream for ever. Where it is cut is
decided from the left by the findings alone, so that every way of cutting the stream gives the same.
"""

from collections.abc import Iterable
from dataclasses import replace

from outpost.core.detect.finding import Finding

# Twice the widest rule (a private key block): two such matches that overlap are still one stretch.
MAX_STRETCH_CHARS = 40_000


def sort_key(finding: Finding) -> tuple[int, int, int, str]:
    """Order of findings: by place; of equal spans the most certain first."""
    return finding.start, -finding.end, -finding.confidence, finding.detector


def _rank(finding: Finding) -> tuple[int, int, int, str]:
    return finding.start - finding.end, -finding.confidence, finding.start, finding.detector


def merge(findings: Iterable[Finding], floor: int = 0) -> list[Finding]:
    """Join overlapping findings.

    Args:
        findings: in any order; spans of one text.
        floor: end of the last stretch that was already reported; nothing starts before it.

    Returns:
        Findings that do not overlap, by place.
    """
    merged: list[Finding] = []
    group: list[Finding] = []
    start = end = floor
    for finding in sorted(findings, key=sort_key):
        if group and finding.start < end and max(end, finding.end) - start <= MAX_STRETCH_CHARS:
            group.append(finding)
            end = max(end, finding.end)
            continue
        if finding.end <= end:  # lies wholly inside a stretch that is full
            continue
        if group:
            merged.append(replace(min(group, key=_rank), start=start, end=end))
        start, end = max(finding.start, end), finding.end
        group = [finding]
    if group:
        merged.append(replace(min(group, key=_rank), start=start, end=end))
    return merged
