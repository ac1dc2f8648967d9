"""Pages with figures hold figures, and no place for one that nobody measured."""

import re

from tests.unit.house.repository import ROOT

PLACES = re.compile(r"\bFIG_[A-Z0-9_]+")


def test_no_page_waits_for_a_figure() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "bench" / "README.md"]
    assert {page.name: found for page in pages if (found := PLACES.findall(page.read_text(encoding="utf-8")))} == {}
