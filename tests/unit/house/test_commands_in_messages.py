"""Every command that an error, a hint or a help text of either program tells people to run exists, options included."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.house.repository import ROOT, product_modules
from tests.unit.house.test_commands_documented import complaint

FILLED_IN = "SOMETHING"  # stands where a text is filled in when it is told
END = r"[^;,`()\n]*"  # of a command within a sentence
# "controlplane" in one word is the program. "outpost" is a word of sentences too: what stands before it says which.
TOLD = re.compile(rf"(?<![\w./-])(controlplane [a-z]{END})|(?:^|[:;`(] ?|\b(?:run|then) )(outpost [a-z]{END})")
HELP = (ast.FunctionDef, ast.AsyncFunctionDef)


def docstrings(tree: ast.AST, *, shown: bool) -> Iterator[int]:
    """Nodes that are explanations for whoever reads the code; those of commands are help, and shown."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node) is None or (shown and isinstance(node, HELP)):
            continue
        assert isinstance(node.body[0], ast.Expr)
        yield id(node.body[0].value)


def texts(source: str, *, is_command: bool) -> Iterator[str]:
    """Every text of a module that somebody may be shown; what is filled in later is one word."""
    tree = ast.parse(source)
    left_out = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    left_out |= set(docstrings(tree, shown=is_command))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(each.value) if isinstance(each, ast.Constant) else FILLED_IN for each in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def told_commands(source: str, *, is_command: bool = False) -> list[str]:
    """Command lines that a module tells people to run."""
    found = (match for text in texts(source, is_command=is_command) for match in TOLD.finditer(text))
    return [(match[1] or match[2]).strip().rstrip(".") for match in found]


def told_in(path: Path) -> list[str]:
    return told_commands(path.read_text(encoding="utf-8"), is_command=path.parent.name == "cli")


@pytest.mark.parametrize("path", product_modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_text_tells_people_to_run_exists(path: Path) -> None:
    assert [found for command in told_in(path) if (found := complaint(command))] == []


def test_the_texts_are_found() -> None:
    """Both programs tell of both: a walk that finds nothing would find nothing wrong."""
    for package in ("controlplane", "outpost"):
        told = [
            command for path in product_modules() if path.is_relative_to(ROOT / package) for command in told_in(path)
        ]
        for program in ("controlplane", "outpost"):
            assert sum(command.startswith(f"{program} ") for command in told) > 10, (package, program)


TEXTS = {
    "a hint": ('E("x", next_step="make one: controlplane org fly")', True),
    "a hint that is filled in": (
        'E("x", next_step=f"make it anew: controlplane outpost revive {name} --org ORG")',
        True,
    ),
    "a hint of an option": (
        'E("x", next_step=f"say so: controlplane outpost revoke {name} --org {org} --gently")',
        True,
    ),
    "the second command of a sentence": ('E("x", next_step="wait; then outpost fly --high")', True),
    "a command in a message": ('E("`outpost fly` comes first")', True),
    "the help of a command": ('def f():\n    """Fly.\n\n    Example: controlplane fly\n    """', True),
    "a hint over two lines": ('E("x", next_step="make it: controlplane "\n  "org fly")', True),
    "a good one": ('E("x", next_step=f"make it anew: controlplane outpost reenroll {name} --org ORG")', False),
    "a sentence": ('E("the outpost flies", next_step="nothing: the outpost comes back by itself")', False),
    "an explanation for readers of the code": ('"""outpost that flies: outpost fly"""', False),
}


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_wrong_would_be_noticed(what: str) -> None:
    source, is_wrong = TEXTS[what]
    assert any(complaint(command) for command in told_commands(source, is_command=True)) is is_wrong
