"""Every setting, log event and metric stands in docs/operations.md, and nothing stands there that is gone."""

import re

import pytest

from controlplane import settings as controlplane_settings
from controlplane import telemetry as controlplane_telemetry
from outpost import settings as outpost_settings
from outpost import telemetry as outpost_telemetry
from tests.unit.house.repository import ROOT

PAGE = ROOT / "docs" / "operations.md"
SECTIONS: dict[str, set[str]] = {
    "Settings of an outpost": set(outpost_settings.Settings.model_fields),
    "Settings of a control plane": set(controlplane_settings.Settings.model_fields),
    "Log events of an outpost": {str(event.value) for event in outpost_telemetry.Event},
    "Log events of a control plane": {str(event.value) for event in controlplane_telemetry.Event},
    "Metrics of an outpost": {str(metric.value) for metric in outpost_telemetry.Metric},
}


def rows(section: str) -> list[list[str]]:
    """Cells of the table of a section."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_lists_exactly_what_there_is(section: str) -> None:
    assert [row[0] for row in rows(section)].count("") == 0
    assert {row[0].strip("`") for row in rows(section)} == SECTIONS[section]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_says_what_it_means(section: str) -> None:
    assert [row[0] for row in rows(section) if len(re.sub(r"\W", "", row[-1])) < 8] == []


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("Settings of an outpost", outpost_settings.Settings),
        ("Settings of a control plane", controlplane_settings.Settings),
    ],
    ids=["outpost", "control plane"],
)
def test_the_page_says_of_a_setting_what_the_code_says(section: str, settings: type) -> None:
    fields = settings.model_fields  # type: ignore[attr-defined]
    assert {row[0].strip("`"): row[3] for row in rows(section)} == {
        name: field.description for name, field in fields.items()
    }
