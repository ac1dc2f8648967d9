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


def test_inside_one_room_a_code_belongs_to_one_class() -> None:
    # Rooms that may not import each other share a code on purpose, as the two programs do: it then means the same
    # everywhere. A family may carry the code of the root above it.
    shared = {}
    for code, classes in by_code().items():
        leaves = [c for c in classes if not any(other is not c and issubclass(other, c) for other in classes)]
        rooms = [".".join(c.__module__.split(".")[:2]) for c in leaves]
        if len(rooms) != len(set(rooms)):
            shared[code] = [c.__qualname__ for c in leaves]
    assert shared == {}
