"""Each error code is documented, well formed, and belongs to one meaning."""

import re

from tests.unit.house.error_reference import PAGE, by_code, meaning, render

CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
REWRITE = "python -m tests.unit.house.error_reference"


def test_the_page_lists_every_code_and_no_other() -> None:
    documented = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == set(by_code()), REWRITE


def test_the_page_is_what_the_classes_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), REWRITE


def test_every_code_is_dotted_lower_case() -> None:
    assert [code for code in by_code() if not CODE.fullmatch(code)] == []


def test_every_class_says_what_it_means() -> None:
    assert [c.__qualname__ for classes in by_code().values() for c in classes if len(meaning(c)) < 10] == []


def test_inside_one_program_a_code_belongs_to_one_class() -> None:
    # The two programs and certs may share a code on purpose: it then means the same on both sides of the wire.
    shared = {}
    for code, classes in by_code().items():
        programs = [c.__module__.split(".")[0] for c in classes]
        if len(programs) != len(set(programs)):
            shared[code] = [c.__qualname__ for c in classes]
    assert shared == {}
