"""Appending, acknowledging, reopening: what a log promises while nothing goes wrong, and when the disk does."""

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from outpost.core.audit.canonical import RecordError, with_sequence
from outpost.core.audit.merkle import leaf_hash, root
from outpost.core.audit.note import open_checkpoint
from outpost.ledger.checkpoints import CheckpointStore
from outpost.ledger.errors import (
    AppendTooLargeError,
    LedgerBusyError,
    LedgerClosedError,
    LedgerLockedError,
    LedgerWriteError,
)
from outpost.ledger.log import AuditLog
from outpost.ledger.reader import LogReader
from outpost.ledger.segments import list_segments
from outpost.ledger.verify import verify_directory
from tests.unit.ledger.conftest import Logs
from tests.unit.ledger.support import EIO, ENOSPC, LOG, FailingDisk, body, fill


def expected_root(count: int) -> bytes:
    return root([leaf_hash(with_sequence(body(number), number)) for number in range(count)])


def test_a_thousand_acknowledged_records_are_there_after_a_reopening(logs: Logs) -> None:
    log = logs.open()
    fill(log, 1000)
    log.close()
    again = logs.open()
    assert (again.size, again.signed_size, again.findings) == (1000, 1000, ())
    fill(again, 5)
    again.close()
    reader = LogReader(logs.folder)
    assert reader.entries(0, 2000) == tuple(with_sequence(body(number), number) for number in range(1005))
    assert reader.root(1005) == expected_root(1005)
    assert len(list_segments(logs.folder / "segments")) > 2


def test_the_head_is_signed_over_the_root_of_exactly_the_durable_records(logs: Logs) -> None:
    log = logs.open()
    fill(log, 7)
    log.checkpoint()
    head = open_checkpoint(CheckpointStore(logs.folder).read() or b"", LOG).checkpoint
    assert (head.size, head.root) == (7, expected_root(7))


def test_many_threads_get_gap_free_numbers_and_their_records_stand_together(logs: Logs) -> None:
    log = logs.open()
    spans: list[range] = []
    lock = threading.Lock()

    def work(thread: int) -> None:
        for turn in range(25):
            span = log.append([body(1000 * thread + 2 * turn), body(1000 * thread + 2 * turn + 1)]).result(10)
            with lock:
                spans.append(span)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for span in spans for number in span) == list(range(400))
    assert all(len(span) == 2 for span in spans)
    log.close()
    assert verify_directory(logs.folder, LOG).signed == 400


def test_what_waits_is_written_with_one_sync(logs: Logs) -> None:
    gate, entered = threading.Event(), threading.Event()
    disk = FailingDisk()

    def slow(descriptor: int) -> None:
        entered.set()
        gate.wait(10)
        disk.sync(descriptor)

    log = logs.open(sync=slow)
    first = log.append([body(0)])
    assert entered.wait(10)
    rest = [log.append([body(number)]) for number in range(1, 40)]
    assert not first.done()
    gate.set()
    assert [future.result(10) for future in rest] == [range(number, number + 1) for number in range(1, 40)]
    assert disk.calls == 3  # header of the segment, the first record, all the others


def test_nothing_is_acknowledged_before_the_disk_has_it(logs: Logs) -> None:
    gate = threading.Event()

    def slow(descriptor: int) -> None:
        gate.wait(10)

    log = logs.open(sync=slow)
    future = log.append([body(0)])
    assert not future.done()
    assert not future.cancel()
    assert log.size == 0
    gate.set()
    assert future.result(10) == range(1)


def test_heads_are_signed_by_count_and_by_time(logs: Logs) -> None:
    log = logs.open(checkpoint_records=50)
    fill(log, 50)
    assert log.wait_signed(50, 10)
    log.close()
    log = logs.open(checkpoint_seconds=0.01)
    fill(log, 1)
    assert log.wait_signed(51, 10)
    assert LogReader(logs.folder).tree_size() == 51


def append_until_refused(log: AuditLog, accepted: list[Future[range]]) -> None:
    for number in range(1000):
        accepted.append(log.append([body(number)]))


def test_a_full_queue_pushes_back_and_forgets_nothing(logs: Logs) -> None:
    gate = threading.Event()

    def slow(descriptor: int) -> None:
        gate.wait(10)

    log = logs.open(sync=slow, pending_bytes=3000)
    accepted: list[Future[range]] = []
    with pytest.raises(LedgerBusyError):
        append_until_refused(log, accepted)
    gate.set()
    assert [future.result(10)[0] for future in accepted] == list(range(len(accepted)))
    log.append([body(0)]).result(10)


def test_closing_writes_what_waits_and_then_refuses(logs: Logs) -> None:
    log = logs.open()
    futures = [log.append([body(number)]) for number in range(20)]
    log.close()
    assert [future.result(0)[0] for future in futures] == list(range(20))
    with pytest.raises(LedgerClosedError):
        log.append([body(0)])
    log.close()
    assert verify_directory(logs.folder, LOG).signed == 20


def test_bad_appends_are_refused_at_the_door(logs: Logs) -> None:
    log = logs.open()
    with pytest.raises(RecordError):
        log.append([body(0), b'{"_seq":3}'])
    with pytest.raises(AppendTooLargeError):
        log.append([body(0)] * 1000)
    assert log.append([body(0)]).result(10) == range(1)


def test_two_writers_cannot_have_one_log(logs: Logs) -> None:
    logs.open()
    with pytest.raises(LedgerLockedError):
        logs.open()


def test_a_failed_sync_gives_the_file_up_and_the_records_go_to_a_new_one(logs: Logs) -> None:
    disk = FailingDisk()
    log = logs.open(sync=disk.sync)
    fill(log, 5)
    disk.fail(EIO)
    assert log.append([body(5)]).result(10) == range(5, 6)
    fill(log, 4)
    assert log.status().abandoned_segments == 1
    assert log.status().error is None
    log.close()
    assert [segment.first for segment in list_segments(logs.folder / "segments")] == [0, 5]
    assert verify_directory(logs.folder, LOG).records == 10
    assert logs.open().size == 10
    assert LogReader(logs.folder).entries(0, 10) == tuple(with_sequence(body(n), n) for n in range(10))


def test_a_segment_that_failed_before_its_first_record_is_set_aside(logs: Logs) -> None:
    disk = FailingDisk()
    disk.fail(None, EIO)
    log = logs.open(sync=disk.sync)
    assert log.append([body(0)]).result(10) == range(1)
    log.close()
    names = sorted(path.suffix for path in (logs.folder / "segments").iterdir())
    assert names.count(".segment") == 1
    assert names.count(".suspect") == 1
    assert verify_directory(logs.folder, LOG).records == 1


def test_a_disk_that_takes_nothing_fails_the_callers_and_heals_by_itself(logs: Logs) -> None:
    disk = FailingDisk()
    log = logs.open(sync=disk.sync)
    fill(log, 3)
    disk.fail(ENOSPC, ENOSPC)
    with pytest.raises(LedgerWriteError) as caught:
        log.append([body(99)]).result(10)
    assert caught.value.code == "ledger.write_failed"
    assert not caught.value.fatal
    assert log.status().error is caught.value
    assert log.size == 3
    fill(log, 3)
    assert log.status().error is None
    log.close()
    assert verify_directory(logs.folder, LOG).records == 6


def test_a_failed_checkpoint_leaves_the_older_head_and_is_shown(logs: Logs) -> None:
    log = logs.open()
    fill(log, 3)
    log.checkpoint()
    fill(log, 3)
    tiles = logs.folder / "tiles" / "0" / "000"
    kept = tiles.read_bytes()
    tiles.unlink()
    tiles.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.checkpoint()
    assert log.signed_size == 3
    assert LogReader(logs.folder).tree_size() == 3
    tiles.rmdir()
    tiles.write_bytes(kept)
    log.checkpoint()
    assert log.signed_size == 6
    log.close()
    assert verify_directory(logs.folder, LOG).tiles_missing == 0


def test_files_are_for_their_owner_only(logs: Logs) -> None:
    log = logs.open()
    fill(log, 3)
    log.close()
    found: list[Path] = list(logs.folder.rglob("*"))
    assert found
    assert all(path.stat().st_mode & 0o077 == 0 for path in found)
