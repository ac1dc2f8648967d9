"""What a start makes of a crash, of damage, and of a log that was rolled back."""

import shutil
from pathlib import Path

import pytest

from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.merkle import leaf_hash
from outpost.ledger.errors import EntryMissingError, LedgerDamagedError
from outpost.ledger.findings import AuditVerificationError
from outpost.ledger.frames import PAGE_BYTES, Frame, encode_frame, scan
from outpost.ledger.identity import create_identity
from outpost.ledger.ledger import Ledger
from outpost.ledger.log import AuditLog
from outpost.ledger.reader import LogReader
from outpost.ledger.segments import list_segments
from outpost.ledger.verify import verify_directory
from tests.unit.ledger.conftest import Logs
from tests.unit.ledger.support import LOG, ORIGIN, SMALL, body, fill


def segment(folder: Path, at: int = -1) -> Path:
    return list_segments(folder / "segments")[at].path


def frames(path: Path) -> dict[int, Frame]:
    return {item.sequence: item for item in scan(path.read_bytes()) if isinstance(item, Frame)}


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def crash(logs: Logs, signed: int, unsigned: int) -> None:
    """A log whose process died: heads cover only the first records."""
    log = logs.open()
    fill(log, signed)
    log.checkpoint()
    fill(log, unsigned)
    image = logs.folder.with_name("image")
    with log._checkpointer._lock:  # no head is signed while the image is taken
        shutil.copytree(logs.folder, image)
    log.close()
    shutil.rmtree(logs.folder)
    image.rename(logs.folder)


def codes(log: AuditLog) -> list[str]:
    return [finding.code for finding in log.findings]


def test_records_that_no_head_covers_survive_a_crash(logs: Logs) -> None:
    crash(logs, 20, 15)
    log = logs.open()
    assert (log.size, log.signed_size, codes(log)) == (35, 20, [])
    fill(log, 5)
    log.close()
    assert verify_directory(logs.folder, LOG).signed == 40


@pytest.mark.parametrize("kept", [0, 3, 8, 20, 100])
def test_a_torn_record_at_the_end_is_cut_wherever_the_cut_is(logs: Logs, kept: int) -> None:
    crash(logs, 20, 11)  # the last group is one record
    path = segment(logs.folder)
    last = frames(path)[30]
    overwrite(path, last.start + kept, bytes(last.end - last.start - kept))
    log = logs.open()
    assert (log.size, codes(log)) == (30, ["torn_tail"] if kept else [])
    fill(log, 5)
    log.close()
    assert verify_directory(logs.folder, LOG).records == 35


def test_a_torn_group_whose_later_pages_reached_the_disk_is_cut_whole(logs: Logs) -> None:
    crash(logs, 20, 10)  # the last ten are one group that nobody was told about
    path = segment(logs.folder)
    overwrite(path, frames(path)[23].start, bytes(100))
    log = logs.open()
    assert (log.size, codes(log)) == (23, ["torn_tail"])
    fill(log, 7)
    log.close()
    assert verify_directory(logs.folder, LOG).records == 30
    assert max(frames(path)) == 29


def test_a_new_segment_whose_header_never_reached_the_disk_is_passed_over(logs: Logs) -> None:
    crash(logs, 20, 0)
    (logs.folder / "segments" / f"{20:020d}.segment").write_bytes(bytes(72_000))
    log = logs.open()
    assert (log.size, codes(log)) == (20, [])
    fill(log, 400)
    log.close()
    assert verify_directory(logs.folder, LOG).records == 420


def test_a_damaged_record_whose_hash_is_known_stays_a_visible_hole_and_the_log_goes_on(logs: Logs) -> None:
    crash(logs, 20, 10)
    path = segment(logs.folder)
    overwrite(path, frames(path)[7].start + 30, b"\xff")
    log = logs.open()
    assert codes(log) == ["records_missing"]
    assert (log.findings[0].sequence, log.findings[0].count, log.size) == (7, 1, 30)
    fill(log, 5)
    log.close()
    assert [item.first for item in list_segments(logs.folder / "segments")] == [0, 30]
    reader = LogReader(logs.folder)
    assert reader.entries(8, 27) == tuple(with_sequence(body(n), n) for n in range(8, 35))
    with pytest.raises(EntryMissingError) as missing:
        reader.entries(0, 20)
    assert missing.value.sequence == 7
    with pytest.raises(AuditVerificationError) as named:
        verify_directory(logs.folder, LOG)
    assert named.value.sequence == 7
    assert logs.open().findings == ()  # the hole lies below the scanned segment now


def test_a_record_changed_with_its_checksum_is_noticed_at_the_start_and_named(logs: Logs) -> None:
    crash(logs, 20, 0)
    path = segment(logs.folder)
    frame = frames(path)[4]
    overwrite(path, frame.start, encode_frame(frame.payload.replace(b"record-4", b"record-X"), opens_group=False))
    log = logs.open()
    assert [(finding.code, finding.sequence) for finding in log.findings] == [("records_changed", 4)]
    fill(log, 3)
    log.close()
    with pytest.raises(AuditVerificationError) as named:
        verify_directory(logs.folder, LOG)
    assert named.value.sequence == 4


def test_readable_records_behind_an_unknown_hole_get_new_numbers(logs: Logs) -> None:
    crash(logs, 20, 30)
    path = segment(logs.folder)
    overwrite(path, frames(path)[25].start + 30, b"\xff")
    log = logs.open()
    assert [(finding.code, finding.sequence, finding.count) for finding in log.findings] == [
        ("records_renumbered", 25, 24)
    ]
    assert log.size == 49
    log.close()
    texts = [record.split(b"record-")[1][:2] for record in LogReader(logs.folder).entries(20, 29)]
    assert texts == [b"%d" % number for number in range(20, 50) if number != 25]
    assert verify_directory(logs.folder, LOG).records == 49


def test_a_lost_segment_is_bridged_by_its_leaf_hashes(logs: Logs) -> None:
    crash(logs, 600, 0)
    segments = list_segments(logs.folder / "segments")
    segments[-1].path.unlink()
    log = logs.open()
    assert codes(log) == ["records_missing"]
    assert log.findings[0].sequence == segments[-1].first
    assert log.size == 600
    fill(log, 3)


def test_an_unreadable_checkpoint_is_reported_and_the_history_stands_in(logs: Logs) -> None:
    crash(logs, 20, 0)
    (logs.folder / "checkpoint").write_bytes(b"rubbish")
    log = logs.open()
    assert codes(log) == ["checkpoint_unreadable"]
    fill(log, 3)
    log.close()
    assert verify_directory(logs.folder, LOG).signed == 23


def test_a_log_without_any_head_is_read_from_the_beginning(logs: Logs) -> None:
    crash(logs, 0, 700)
    shutil.rmtree(logs.folder / "tiles", ignore_errors=True)
    (logs.folder / "checkpoint").unlink(missing_ok=True)
    (logs.folder / "history").unlink(missing_ok=True)
    log = logs.open()
    assert (log.size, codes(log)) == (700, [])
    log.close()
    assert verify_directory(logs.folder, LOG).signed == 700


def test_a_torn_note_in_the_history_is_left_out_and_written_over(logs: Logs) -> None:
    crash(logs, 19, 1)
    log = logs.open()
    log.close()
    history = logs.folder / "history"
    whole = history.read_bytes()
    for cut in range(1, len(whole)):
        history.write_bytes(whole + whole[:cut])
        assert verify_directory(logs.folder, LOG).signed == 20
    log = logs.open()
    fill(log, 5)
    log.close()
    assert history.read_bytes().startswith(whole)
    assert verify_directory(logs.folder, LOG).signed == 25


REFUSED = {
    "an older copy of the records, a newer head, no hashes": "tiles",
    "a rewritten record with its tile": "rewritten",
    "a missing first segment": "first",
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_contradicts_a_signed_head_is_never_appended_to(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "acme" / "audit"
    identity = create_identity(folder, ORIGIN)
    log = AuditLog(folder, identity.signer, SMALL)
    fill(log, 600)
    log.close()
    if case == "tiles":
        overwrite(segment(folder), PAGE_BYTES, bytes(1000))
        shutil.rmtree(folder / "tiles")
    elif case == "rewritten":
        rewrite(folder)
    else:
        segment(folder, 0).unlink()
        (folder / "checkpoint").unlink()
        (folder / "history").unlink()
    ledger = Ledger(tmp_path, SMALL)
    (status,) = ledger.open_all()
    assert status.org == "acme"
    assert isinstance(status.error, LedgerDamagedError)
    with pytest.raises(LedgerDamagedError):
        ledger.append("acme", [body(0)])
    ledger.close()


def rewrite(folder: Path) -> None:
    """An editor who fixes checksum and leaf hash, but has no key."""
    path = segment(folder)
    number, frame = next(iter(frames(path).items()))
    changed = frame.payload.replace(b"record-", b"RECORD-")
    overwrite(path, frame.start, encode_frame(changed, opens_group=frame.opens_group))
    tile = folder / "tiles" / "0" / f"{number // 256:03d}"
    overwrite(tile, number % 256 * 32, leaf_hash(changed))
