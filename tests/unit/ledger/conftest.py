from collections.abc import Iterator
from pathlib import Path

import pytest

from outpost.ledger.log import AuditLog
from tests.unit.ledger.support import open_log


class Logs:
    """Opens logs of one folder and closes what a test left open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[AuditLog] = []

    def open(self, **changes: object) -> AuditLog:
        log = open_log(self.folder, **changes)
        self._open.append(log)
        return log

    def close(self) -> None:
        for log in self._open:
            log.close()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    found = Logs(tmp_path / "audit")
    yield found
    found.close()
