"""Every command that a page shows exists, with the options that it shows; every make target is in `make help`."""

import importlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from tests.unit.house.repository import ROOT

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").rglob("README.md")])
PROGRAMS = {"outpost": "outpost.cli.main", "controlplane": "controlplane.cli.main"}
PROMPT = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*((?:outpost|controlplane|make) .*)$")


def shown_commands(text: str) -> Iterator[str]:
    """Command lines in fenced blocks without a language, or of a shell."""
    for block in re.findall(r"^```(?:sh|shell|console|bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r" (?:&&|\|\||\|) ", line.split("  #")[0]):
                if match := PROMPT.match(part.strip()):
                    yield match[1].strip()


def inline_commands(text: str) -> Iterator[str]:
    """Command lines inside a sentence."""
    for code in re.findall(r"`([^`\n]+)`", text):
        if match := PROMPT.match(code):
            yield match[1]


@cache
def make_targets() -> frozenset[str]:
    """Targets that a person may ask for."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    declared = re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)
    return frozenset(name for line in declared for name in line.split())


def complaint(command: str) -> str:
    """What is wrong with a command line, or nothing."""
    program, *words = command.split()
    if program == "make":
        wanted = [w for w in words if "=" not in w and "NAME" not in w and "|" not in w]
        return "" if set(wanted) <= make_targets() else f"no such target: {command}"
    current = importlib.import_module(PROGRAMS[program]).cli
    context = click.Context(current)
    for word in words:
        if isinstance(current, click.Group) and not word.startswith("-"):
            choices = [current.get_command(context, name) for name in re.split(r"\|", word)]
            if None in choices:
                return f"no such command: {command}"
            current = choices[0]
        elif word.startswith("--"):
            known = {option for p in current.params for option in p.opts + p.secondary_opts} | {"--help"}
            if word.split("=")[0].rstrip("`,.)") not in known:
                return f"no such option: {word} in {command}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [found for c in (*shown_commands(text), *inline_commands(text)) if (found := complaint(c))] == []


def test_the_readme_shows_commands() -> None:
    shown = list(shown_commands((ROOT / "README.md").read_text(encoding="utf-8")))
    assert any(command.startswith("outpost ") for command in shown)


WRONG = {
    "a command that is none": "outpost fly",
    "an option that is none": "outpost run --insecure",
    "a target that is none": "make coffee",
}


@pytest.mark.parametrize("what", WRONG)
def test_it_would_be_noticed(what: str) -> None:
    assert complaint(WRONG[what])


def test_every_make_target_is_in_help() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    listed = {line.split()[0] for line in shown.stdout.splitlines() if line.strip()}
    assert make_targets() - listed == set()


def test_every_rule_is_a_declared_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    assert rules - make_targets() == set()
