"""docs/errors.md from the error classes. ``python -m tests.unit.house.error_reference`` writes it."""

import inspect
from collections import defaultdict
from pathlib import Path

from certs.errors import TrustError
from controlplane.domain.errors import ControlPlaneError
from outpost.core.errors import OutpostError
from tests.unit.house.repository import ROOT, import_everything

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# Error codes

Every error has a stable dotted code. It stands in the answer of the gateway (`error.code`), in the trailing metadata
of a gRPC status, in log lines and in the audit log. FATAL: retrying cannot help until somebody acts. TRANSIENT: the
same call may succeed later. The message that comes with a code names the field, the cause and the next step. This page
is made from the classes.

| code | kind | whose fault | meaning |
|---|---|---|---|
"""


def descendants(root: type[Exception]) -> list[type[Exception]]:
    """The class and everything below it."""
    return [root, *(found for child in root.__subclasses__() for found in descendants(child))]


def by_code() -> dict[str, list[type[Exception]]]:
    """Every code with the classes that set it themselves. Classes of tests do not count."""
    import_everything()
    codes: dict[str, list[type[Exception]]] = defaultdict(list)
    for root in (OutpostError, ControlPlaneError, TrustError):
        for found in descendants(root):
            if "code" in vars(found) and not found.__module__.startswith("tests"):
                codes[vars(found)["code"]].append(found)
    return {code: sorted(set(classes), key=lambda c: (c.__module__, c.__name__)) for code, classes in codes.items()}


def meaning(found: type[Exception]) -> str:
    """First paragraph of the docstring on one line."""
    first = (inspect.getdoc(found) or "").split("\n\n", maxsplit=1)[0]
    return " ".join(first.split()).replace("|", "\\|")


def row(code: str, classes: list[type[Exception]]) -> str:
    """One line of the table."""
    kinds = sorted({"FATAL" if getattr(c, "fatal", True) else "TRANSIENT" for c in classes})
    faults = sorted({str(fault.value) for c in classes if (fault := getattr(c, "fault", None)) is not None})
    meanings = " / ".join(dict.fromkeys(meaning(c) for c in classes))
    return f"| `{code}` | {' or '.join(kinds)} | {', '.join(faults) or '–'} | {meanings} |"


def render() -> str:
    """The page."""
    return HEAD + "\n".join(row(code, classes) for code, classes in sorted(by_code().items())) + "\n"


def main() -> None:
    """Write the page."""
    Path(PAGE).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
