"""The pages for people say what the commands do: ids of doctor, commands, exit codes, fields of log lines."""

import re
from pathlib import Path

from outpost.cli import output
from outpost.cli.main import COMMANDS
from outpost.telemetry import Fields

ROOT = Path(__file__).resolve().parents[3]
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DOCTOR_ID = re.compile(r"OP-[A-Z]{3}-[0-9]{3}")


def section(page: str, title: str) -> str:
    return page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_id_of_doctor_is_described_once() -> None:
    sources = (ROOT / "outpost" / "cli").glob("doctor*.py")
    used = {found for path in sources for found in DOCTOR_ID.findall(path.read_text(encoding="utf-8"))}
    described = DOCTOR_ID.findall(section(CLI, "doctor"))
    # OP-NET-003 is only ever a failure: a handshake that works is judged as OP-NET-004.
    assert sorted(described) == sorted(used)


def test_every_command_has_a_section_with_an_example() -> None:
    for name in COMMANDS:
        if not name.startswith("_"):
            assert f"\noutpost {name}" in section(CLI, name), name


def test_every_exit_code_is_described() -> None:
    codes = {value for name, value in vars(output).items() if name.isupper() and isinstance(value, int)}
    described = re.findall(r"^\| ([0-9]) \|", section(CLI, "Exit codes"), re.MULTILINE)
    assert [int(code) for code in described] == sorted(codes)


def test_every_field_of_a_log_line_is_described() -> None:
    table = section(OPERATIONS, "Fields of log lines")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([a-z_]+)`", " ".join(rows))) == sorted(Fields.__annotations__)
