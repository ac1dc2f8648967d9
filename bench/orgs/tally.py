"""What came of the attempts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.orgs.world import Org

TOLD = 20  # faults that are printed


@dataclass
class Tally:
    """What came of the attempts of one run.

    Attributes:
        attempts: by surface.
        answers: by surface, kind of attempt and status.
        rows: answers that held something of another org.
        different: answers unlike those for what does not exist.
        faults: of both kinds, in words.
        processes: attempts that were a process of the command line.
        operations: of the API that another org was asked for.
        again: calls that were told to try again, and did, by code; they are no attempts.
    """

    orgs: dict[str, Org]
    attempts: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    rows: int = 0
    different: int = 0
    faults: list[str] = field(default_factory=list)
    processes: int = 0
    operations: set[str] = field(default_factory=set)
    again: Counter[str] = field(default_factory=Counter)

    def count(self, surface: str, kind: str, status: str) -> None:
        """One attempt."""
        self.attempts[surface] += 1
        self.answers[surface, kind, status] += 1

    def row(self, what: str) -> None:
        """An answer with something of another org."""
        self.rows += 1
        self._tell(f"rows of another org: {what}")

    def differ(self, what: str) -> None:
        """An answer that tells the other org from none."""
        self.different += 1
        self._tell(f"unlike what does not exist: {what}")

    def others(self, org: Org, *, silent: bool = False) -> list[bytes]:
        """Traces of every other org; ``silent``: only of what nobody types."""
        others = [each for each in self.orgs.values() if each is not org]
        return [trace for each in others for trace in (each.silent if silent else each.silent | each.typed)]

    def _tell(self, fault: str) -> None:
        if len(self.faults) < TOLD:
            self.faults.append(fault[:600])


def traces_in(data: bytes, traces: Iterable[bytes]) -> bool:
    """Whether bytes hold a trace, as it is or in hexadecimal digits."""
    return any(trace in data or (len(trace) == 32 and trace.hex().encode() in data) for trace in traces)
