"""What must never stand in a tracked file. The forbidden words are built here, so that this file stays clean itself."""

import re

import pytest

from tests.unit.house.repository import ROOT, text_of, tracked

DASHES = "-" * 5
FORBIDDEN: dict[str, re.Pattern[str]] = {
    "an absolute path of somebody's machine": re.compile(
        r"(?<![\w./-])/(?:work|root|home/[a-z][\w-]*|Users/[A-Za-z]\w*)/[A-Za-z.]\w*"
    ),
    "the address of a package index": re.compile(
        "|".join(
            [
                "pypi" + r"\.org",
                "pythonhosted" + r"\.org",
                "npmjs" + r"\.org",
                r"\.pkg" + r"\.dev",
                "deb" + r"\.debian\.org",
            ]
        )
    ),
    "an index option": re.compile(r"--(?:extra-)?index" + r"-url|PIP_(?:EXTRA_)?INDEX" + "_URL"),
    "a private key": re.compile(DASHES + r"BEGIN [A-Z ]*PRIVATE KEY" + DASHES + r"\s*(?:\\n)?[A-Za-z0-9+/=]{40,}"),
    "a note to self": re.compile(r"\b(?:TO" + "DO|FIX" + r"ME)\b(?!\(#\d+\))"),
    "a merge conflict": re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE),
}
PLANTED: dict[str, str] = {
    "an absolute path of somebody's machine": "open('/ho" + "me/ann/.ssh/id')",
    "the address of a package index": "https://files.python" + "hosted.org/x",
    "an index option": "pip install --index" + "-url=…",
    "a private key": DASHES + "BEGIN EC PRIVATE KEY" + DASHES + "\n" + "A" * 64,
    "a note to self": "# TO" + "DO: later",
    "a merge conflict": "<" * 7 + " HEAD",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    found = []
    for path in tracked():
        text = text_of(path)
        for match in FORBIDDEN[what].finditer(text or ""):
            line = (text or "").count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}")
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_would_be_noticed(what: str) -> None:
    assert FORBIDDEN[what].search(PLANTED[what])


def test_no_key_file_is_tracked() -> None:
    assert [p.name for p in tracked() if p.suffix in {".key", ".p12", ".pfx"}] == []
