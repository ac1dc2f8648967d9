"""Real writer processes: killed at any moment, or on a disk with no room. What was acknowledged must be there."""

import random
import subprocess
import sys
from pathlib import Path

from outpost.ledger.identity import create_identity
from outpost.ledger.log import AuditLog
from outpost.ledger.reader import LogReader
from outpost.ledger.verify import verify_directory
from outpost.ledger.writer import LogOptions
from tests.unit.ledger.support import ORIGIN

ROUNDS = 6

# Appends without end and says each number at once when it is acknowledged, with the text of its record.
WRITER = """
import sys
from collections import deque
from pathlib import Path
from outpost.core.audit.record import BundleActivated, RecordHead
from outpost.ledger.identity import load_identity
from outpost.ledger.log import AuditLog
from outpost.ledger.writer import LogOptions

folder, life = Path(sys.argv[1]), sys.argv[2]
log = AuditLog(folder, load_identity(folder).signer,
               LogOptions(segment_bytes=72_000, group_bytes=60_000, checkpoint_records=100, checkpoint_seconds=0.02))
head = RecordHead(1, "acme", "op-0123456789abcdef")
flight = deque()
count = 0
while True:
    names = [f"{life}-{count + part}" for part in range(count % 3 + 1)]
    flight.append((log.append([BundleActivated(head, name).to_bytes() for name in names]), names))
    count += len(names)
    while flight and (flight[0][0].done() or len(flight) > 400):
        future, names = flight.popleft()
        for number, name in zip(future.result(), names, strict=True):
            sys.stdout.write(f"{number} {name}\\n")
        sys.stdout.flush()
"""


def run_and_kill(folder: Path, life: int, lines: int) -> dict[int, str]:
    """What a writer acknowledged before SIGKILL met it after so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), f"life{life}"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -9
    return {int(number): name for number, name in (line.split() for line in said if line.endswith("\n"))}


def test_no_acknowledged_record_is_lost_and_no_start_fails_over_a_series_of_kills(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    identity = create_identity(folder, ORIGIN)
    chance = random.Random(7)
    acknowledged: dict[int, str] = {}
    for life in range(ROUNDS):
        said = run_and_kill(folder, life, chance.randrange(1, 900))
        assert not said.keys() & acknowledged.keys(), "a number was given twice"
        acknowledged |= said
        verify_directory(folder, identity.signer.verifier)
    log = AuditLog(folder, identity.signer, LogOptions(segment_bytes=72_000))
    assert {finding.code for finding in log.findings} <= {"torn_tail"}
    log.close()
    report = verify_directory(folder, identity.signer.verifier)
    assert report.signed == report.records > max(acknowledged)
    records = LogReader(folder).entries(0, report.records)
    lost = [number for number, name in acknowledged.items() if f'"{name}"'.encode() not in records[number]]
    assert lost == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from outpost.core.audit.record import BundleActivated, RecordHead
from outpost.ledger.errors import LedgerWriteError
from outpost.ledger.identity import load_identity
from outpost.ledger.log import AuditLog
from outpost.ledger.writer import LogOptions

folder = Path(sys.argv[1])
log = AuditLog(folder, load_identity(folder).signer, LogOptions(segment_bytes=300_000, group_bytes=60_000))
body = BundleActivated(RecordHead(1, "acme", "op-0123456789abcdef"), "r").to_bytes()
log.append([body]).result(10)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write beyond is short first, then fails
written, error = 1, None
while error is None:
    try:
        written += len(log.append([body] * 100).result(10))
    except LedgerWriteError as refused:
        error = refused
print(written, log.size, error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(len(log.append([body] * 50).result(10)), log.size - written)
log.close()
print(log.status().error)
"""


def test_without_room_callers_are_told_and_the_log_heals_when_there_is_room(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    identity = create_identity(folder, ORIGIN)
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    first, second, third = answer.stdout.splitlines()
    written, size, code = first.split()
    assert (written, code) == (size, "ledger.write_failed")
    assert second == "50 50"
    assert third == "None"
    report = verify_directory(folder, identity.signer.verifier)
    assert report.signed == int(written) + 50
