"""Lines of `outpost doctor`: what was looked at, how it is, why, and the next command. No line holds a secret."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from certs.errors import TrustError
from outpost.core.errors import OutpostError

MAX_FOREIGN_CHARS = 64  # characters shown of a name that a peer chose
GROUPS = (
    "config",
    "process",
    "clock",
    "files",
    "identity",
    "network",
    "bundle",
    "providers",
    "inspection",
    "audit",
    "limits",
)


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding.

    Attributes:
        id: stable, such as OP-NET-004.
        level: ok, warn or fail.
        message: what was found, and why when it is not ok.
        org: whose, or empty.
        code: of the error behind it, or empty.
        next_step: the next command or act.
    """

    id: str
    level: Level
    message: str
    org: str = ""
    code: str = ""
    next_step: str = ""

    @property
    def group(self) -> str:
        """Group that the id belongs to."""
        return _GROUP_BY_PREFIX[self.id.split("-")[1]]


_GROUP_BY_PREFIX = dict(
    zip(("CFG", "RUN", "CLK", "FIL", "IDN", "NET", "BND", "PRV", "INS", "AUD", "LIM"), GROUPS, strict=True)
)


def ok(line_id: str, message: str, org: str = "") -> Line:
    """A thing that is as it should be."""
    return Line(line_id, Level.OK, message, org)


def failed(line_id: str, error: OutpostError | TrustError, org: str = "") -> Line:
    """What an error says, as a line; its message holds no secret by the rule of all errors."""
    told = error.as_dict()
    where = f" ({told['field']})" if told["field"] else ""
    return Line(line_id, Level.FAIL, f"{told['message']}{where}", org, str(told["code"]), str(told["next"]))


def until_failure(steps: Iterable[Callable[[], Line]]) -> Iterator[Line]:
    """Lines of steps that rest on each other: nothing is asked behind the first that fails."""
    for step in steps:
        line = step()
        yield line
        if line.level is Level.FAIL:
            return


def printable(text: str) -> str:
    """What a peer or a file chose, safe on a terminal."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:MAX_FOREIGN_CHARS])
    return shown + ("..." if len(text) > MAX_FOREIGN_CHARS else "")
