"""A file over 400 lines, or a function over 40, is a room to divide."""

import ast
from pathlib import Path

import pytest

from tests.unit.house.repository import ROOT, product_modules, text_of, tracked

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 40  # without decorators and docstring
# generated, vectors, locks, one C file
DATA = ("proto/", "tests/vectors/", "requirements/", "bench/gateway/mock.c", "docs/openapi.json")
PROSE = frozenset({".md"})


def long_functions(source: str) -> list[str]:
    """Names of functions that are too long, with their lengths."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (first.end_lineno or first.lineno) - first.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                found.append(f"{node.name}: {lines} lines")
    return found


def is_code(path: Path) -> bool:
    """Written by hand and not prose."""
    name = path.relative_to(ROOT).as_posix()
    return not name.startswith(DATA) and path.suffix not in PROSE


def test_no_file_is_too_long() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len((text_of(path) or "").splitlines())
        for path in tracked()
        if is_code(path)
    }
    assert {name: n for name, n in lengths.items() if n > MOST_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in product_modules()
        if (names := long_functions(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("statements", "caught"),
    [(MOST_FUNCTION_LINES - 1, False), (MOST_FUNCTION_LINES, True)],
    ids=["at the limit", "one beyond"],
)
def test_a_long_function_is_caught(statements: int, caught: bool) -> None:
    source = "async def f():\n    '''One\n    or two lines.'''\n" + "    x = 1\n" * statements
    assert bool(long_functions(source)) is caught


def test_packages_run_nothing_on_import() -> None:
    packages = [p for p in product_modules() if p.name == "__init__.py"]
    assert packages
    assert [p.relative_to(ROOT).as_posix() for p in packages if p.stat().st_size] == []
