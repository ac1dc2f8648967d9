"""The verifier names every kind of tampering and the first record concerned, with public keys only."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.audit.canonical import with_sequence
from outpost.core.audit.merkle import TILE_WIDTH, CompactRange, leaf_hash
from outpost.core.audit.note import Checkpoint, NoteSigner, NoteVerifier, cosign, open_checkpoint, sign_checkpoint
from outpost.ledger import findings
from outpost.ledger.checkpoints import CheckpointStore
from outpost.ledger.cursor import Cursor
from outpost.ledger.frames import PAGE_BYTES, Frame, encode_frame, scan
from outpost.ledger.reader import export
from outpost.ledger.segments import list_segments
from outpost.ledger.tiles import TileStore
from outpost.ledger.verify import verify_directory, verify_export
from tests.unit.ledger.support import LOG, ORIGIN, SIGNER, WITNESS, WITNESS_SIGNER, body, make_log, open_log

RECORDS = 1000  # three segments, four tiles, heads at 250, 500, 750 and 1000
VICTIM = 400


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("intact") / "audit"
    make_log(folder, RECORDS)
    cosign_newest(folder)
    return folder


@pytest.fixture
def copy(intact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(intact, tmp_path / "audit"))


def cosign_newest(folder: Path) -> bytes:
    checkpoint = CheckpointStore(folder).read() or b""
    line = cosign(open_checkpoint(checkpoint, LOG), WITNESS_SIGNER, 1_700_000_123)
    Cursor(folder).store_cosigned(checkpoint, line, LOG, WITNESS)
    return checkpoint + line


def segment_of(folder: Path, number: int) -> Path:
    return max(
        (item for item in list_segments(folder / "segments") if item.first <= number), key=lambda item: item.first
    ).path


def frames_of(path: Path) -> list[Frame]:
    return [item for item in scan(path.read_bytes()) if isinstance(item, Frame)]


def store(path: Path, payloads: list[bytes]) -> None:
    """Write a segment again with these records, checksums right."""
    data = path.read_bytes()
    fresh = data[:PAGE_BYTES] + b"".join(encode_frame(payload, opens_group=True) for payload in payloads)
    path.write_bytes(fresh.ljust(len(data), b"\0")[: len(data)])


def edit(folder: Path, change: Callable[[list[bytes], int], list[bytes]], number: int = VICTIM) -> None:
    """Change the records of one segment; the index given is that of the victim."""
    path = segment_of(folder, number)
    frames = frames_of(path)
    store(path, change([frame.payload for frame in frames], number - frames[0].sequence))


def test_an_intact_log_passes_and_the_report_says_what_is_proved(intact: Path) -> None:
    report = verify_directory(intact, LOG, WITNESS)
    assert (report.origin, report.records, report.signed) == (ORIGIN, RECORDS, RECORDS)
    assert (report.cosigned, report.cosigned_time) == (RECORDS, 1_700_000_123)
    assert (report.tiles_missing, report.torn_bytes) == (0, 0)
    expected = CompactRange().extend(leaf_hash(with_sequence(body(n), n)) for n in range(RECORDS))
    assert report.root == expected.root()


def flip_payload(folder: Path) -> None:
    path = segment_of(folder, VICTIM)
    frame = next(frame for frame in frames_of(path) if frame.sequence == VICTIM)
    data = bytearray(path.read_bytes())
    data[frame.end - 5] ^= 0x20
    path.write_bytes(bytes(data))


def flip_length(folder: Path) -> None:
    path = segment_of(folder, VICTIM)
    frame = next(frame for frame in frames_of(path) if frame.sequence == VICTIM)
    data = bytearray(path.read_bytes())
    data[frame.start + 3] ^= 0x01
    path.write_bytes(bytes(data))


def changed(payloads: list[bytes], at: int) -> list[bytes]:
    payloads[at] = payloads[at].replace(b"record-", b"RECORD-")
    return payloads


def removed(payloads: list[bytes], at: int) -> list[bytes]:
    return payloads[:at] + payloads[at + 1 :]


def reordered(payloads: list[bytes], at: int) -> list[bytes]:
    payloads[at], payloads[at + 3] = payloads[at + 3], payloads[at]
    return payloads


def repeated(payloads: list[bytes], at: int) -> list[bytes]:
    return payloads[: at + 1] + payloads[at:]


def swapped_contents(payloads: list[bytes], at: int) -> list[bytes]:
    """Reordered with the numbers put right, as a careful editor would."""
    first, second = payloads[at].partition(b",")[2], payloads[at + 1].partition(b",")[2]
    numbers = [payload.partition(b",")[0] for payload in payloads]
    payloads[at], payloads[at + 1] = numbers[at] + b"," + second, numbers[at + 1] + b"," + first
    return payloads


def not_canonical(payloads: list[bytes], at: int) -> list[bytes]:
    payloads[at] = payloads[at].replace(b'"event":', b'"event": ')
    return payloads


def fix_tiles(folder: Path) -> None:
    """Make the leaf hashes fit the records again."""
    hashes = [leaf_hash(frame.payload) for item in list_segments(folder / "segments") for frame in frames_of(item.path)]
    TileStore(folder / "tiles").write(0, hashes)


def changed_with_tiles(folder: Path) -> None:
    edit(folder, changed)
    fix_tiles(folder)


def cut(folder: Path, size: int) -> None:
    for item in list_segments(folder / "segments"):
        store(item.path, [frame.payload for frame in frames_of(item.path) if frame.sequence < size])
        if item.first >= size:
            item.path.unlink()


def delete_head(folder: Path) -> None:
    (folder / "checkpoint").unlink()


def head_by_another_key(folder: Path) -> None:
    head = open_checkpoint(CheckpointStore(folder).read() or b"", LOG).checkpoint
    forged = sign_checkpoint(head, NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.generate()))
    CheckpointStore(folder).replace(forged)


def head_without_cosignature(folder: Path) -> None:
    CheckpointStore(folder).replace(CheckpointStore(folder).read() or b"", "cosigned")


def second_tree_of_one_size(folder: Path) -> None:
    CheckpointStore(folder).append_history(sign_checkpoint(Checkpoint(ORIGIN, RECORDS, bytes(32)), SIGNER))


def tile_changed(folder: Path) -> None:
    TileStore(folder / "tiles").write(VICTIM, [bytes(32)])


def segment_gone(folder: Path) -> None:
    segment_of(folder, VICTIM).unlink()


def tail_zeroed(folder: Path) -> None:
    cut(folder, RECORDS - 1)


Expectation = tuple[Callable[[Path], None], type[findings.AuditVerificationError], int | None]
TAMPERING: dict[str, Expectation] = {
    "one bit of a record flipped": (flip_payload, findings.RecordChangedError, VICTIM),
    "one bit of a length flipped": (flip_length, findings.RecordChangedError, VICTIM),
    "a record changed, checksum right": (lambda f: edit(f, changed), findings.RecordChangedError, VICTIM),
    "a record no longer canonical": (lambda f: edit(f, not_canonical), findings.RecordChangedError, VICTIM),
    "a record changed, checksum and leaf hash right": (changed_with_tiles, findings.HistoryRewrittenError, None),
    "a record removed": (lambda f: edit(f, removed), findings.RecordMissingError, VICTIM),
    "two records exchanged": (lambda f: edit(f, reordered), findings.RecordReorderedError, VICTIM),
    "two contents exchanged": (lambda f: edit(f, swapped_contents), findings.RecordChangedError, VICTIM),
    "a record repeated": (lambda f: edit(f, repeated), findings.RecordDuplicatedError, VICTIM),
    "a segment removed": (segment_gone, findings.RecordMissingError, None),
    "the last record cut off": (tail_zeroed, findings.TailCutError, RECORDS - 1),
    "the log cut at a head": (lambda f: cut(f, 500), findings.TailCutError, 500),
    "the checkpoint removed": (delete_head, findings.CheckpointInvalidError, None),
    "the checkpoint signed by another key": (head_by_another_key, findings.CheckpointInvalidError, None),
    "the cosignature taken off": (head_without_cosignature, findings.CheckpointInvalidError, None),
    "two trees of one size signed": (second_tree_of_one_size, findings.HistoryRewrittenError, RECORDS),
    "only a leaf hash changed": (tile_changed, findings.TileChangedError, VICTIM),
}


@pytest.mark.parametrize(("tamper", "kind", "sequence"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_named_with_its_place(
    copy: Path,
    tamper: Callable[[Path], None],
    kind: type[findings.AuditVerificationError],
    sequence: int | None,
) -> None:
    tamper(copy)
    with pytest.raises(findings.AuditVerificationError) as caught:
        verify_directory(copy, LOG, WITNESS)
    assert type(caught.value) is kind
    if sequence is not None:
        assert caught.value.sequence == sequence


def test_a_perfect_forgery_without_the_key_is_located_between_two_heads(copy: Path) -> None:
    changed_with_tiles(copy)
    with pytest.raises(findings.HistoryRewrittenError) as caught:
        verify_directory(copy, LOG)
    assert 250 <= caught.value.sequence <= VICTIM


def test_the_named_record_is_the_first_of_a_missing_segment(copy: Path) -> None:
    first = frames_of(segment_of(copy, VICTIM))[0].sequence
    segment_gone(copy)
    with pytest.raises(findings.RecordMissingError) as caught:
        verify_directory(copy, LOG)
    assert caught.value.sequence == first


def test_an_older_copy_of_the_whole_folder_passes_alone_and_falls_with_a_cosigned_head(tmp_path: Path) -> None:
    folder, older = tmp_path / "audit", tmp_path / "older"
    make_log(folder, 40)
    shutil.copytree(folder, older)
    make_log(folder, 40)
    cosigned = cosign_newest(folder)
    assert verify_directory(older, LOG).signed == 40
    with pytest.raises(findings.RolledBackError) as caught:
        verify_directory(older, LOG, WITNESS, cosigned)
    assert caught.value.sequence == 40
    assert "80" in caught.value.message
    assert verify_directory(folder, LOG, WITNESS, cosigned).cosigned == 80


def test_a_log_that_went_on_from_an_older_copy_is_a_fork_for_who_holds_the_cosigned_head(tmp_path: Path) -> None:
    folder, older = tmp_path / "audit", tmp_path / "older"
    make_log(folder, 40)
    shutil.copytree(folder, older)
    make_log(folder, 40, group=10)
    cosigned = cosign_newest(folder)
    other = NoteVerifier(ORIGIN, LOG.public_key)
    fork_from(older, 60)
    assert verify_directory(older, other).signed == 100
    with pytest.raises(findings.HistoryRewrittenError):
        verify_directory(older, other, WITNESS, cosigned)


def fork_from(folder: Path, count: int) -> None:
    log = open_log(folder)
    log.append([body(9000 + number) for number in range(count)]).result(10)
    log.close()


def test_another_origin_or_key_is_not_this_log(intact: Path) -> None:
    for stranger in (
        NoteVerifier("other/log", LOG.public_key),
        NoteSigner.of_key(ORIGIN, Ed25519PrivateKey.generate()).verifier,
    ):
        with pytest.raises(findings.CheckpointInvalidError):
            verify_directory(intact, stranger)


def test_leaf_hashes_that_are_gone_are_counted_and_nothing_else_changes(copy: Path) -> None:
    shutil.rmtree(copy / "tiles")
    report = verify_directory(copy, LOG, WITNESS)
    assert (report.signed, report.tiles_missing) == (RECORDS, RECORDS)


def test_records_behind_the_newest_head_and_a_torn_end_are_counted(copy: Path) -> None:
    path = segment_of(copy, RECORDS - 1)
    frames = frames_of(path)
    extra = [encode_frame(with_sequence(body(n), n), opens_group=n == RECORDS) for n in range(RECORDS, RECORDS + 3)]
    data = bytearray(path.read_bytes())
    tail = extra[0] + extra[1] + extra[2][:20]
    data[frames[-1].end : frames[-1].end + len(tail)] = tail
    path.write_bytes(bytes(data))
    report = verify_directory(copy, LOG)
    assert (report.records, report.signed, report.torn_bytes) == (RECORDS + 2, RECORDS, 20)


def test_records_without_any_head_are_counted_as_unproved_and_fall_with_a_cosigned_head(copy: Path) -> None:
    cosigned = CheckpointStore(copy).read("cosigned")
    for name in ("checkpoint", "history", "cosigned"):
        (copy / name).unlink()
    report = verify_directory(copy, LOG, WITNESS)
    assert (report.records, report.signed, report.cosigned) == (RECORDS, 0, 0)
    cut(copy, 10)
    assert verify_directory(copy, LOG, WITNESS).records == 10
    with pytest.raises(findings.RolledBackError):
        verify_directory(copy, LOG, WITNESS, cosigned)


def test_an_empty_folder_is_an_empty_log(tmp_path: Path) -> None:
    report = verify_directory(tmp_path, LOG)
    assert (report.records, report.signed) == (0, 0)


def test_a_hundred_random_edits_of_records_are_all_found_at_their_place(copy: Path) -> None:
    chance = random.Random(20261120)
    paths = [item.path for item in list_segments(copy / "segments")]
    for _ in range(100):
        path = chance.choice(paths)
        original = path.read_bytes()
        frame = chance.choice(frames_of(path))
        data = bytearray(original)
        data[chance.randrange(frame.start, frame.end)] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(data))
        with pytest.raises(findings.AuditVerificationError) as caught:
            verify_directory(copy, LOG)
        assert caught.value.sequence == frame.sequence
        path.write_bytes(original)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


EXPORT_TAMPERING: dict[str, tuple[Callable[[list[bytes]], list[bytes]], type[findings.AuditVerificationError]]] = {
    "a record changed": (lambda lines: changed(lines, 5), findings.HistoryRewrittenError),
    "a record removed": (lambda lines: removed(lines, 5), findings.RecordMissingError),
    "two records exchanged": (lambda lines: reordered(lines, 5), findings.RecordReorderedError),
    "a record repeated": (lambda lines: repeated(lines, 5), findings.RecordDuplicatedError),
    "the end cut off": (lambda lines: lines[:-1], findings.TailCutError),
    "a line added": (lambda lines: [*lines, with_sequence(body(40), 40) + b"\n"], findings.CheckpointInvalidError),
    "a line that is no record": (lambda lines: [b"{}\n", *lines], findings.RecordChangedError),
    "a line that never ends": (lambda lines: [*lines[:5], b"x" * 70_000], findings.RecordChangedError),
}


@pytest.mark.parametrize(("tamper", "kind"), EXPORT_TAMPERING.values(), ids=EXPORT_TAMPERING)
def test_an_export_is_verified_with_the_checkpoint_beside_it(
    tmp_path: Path,
    tamper: Callable[[list[bytes]], list[bytes]],
    kind: type[findings.AuditVerificationError],
) -> None:
    make_log(tmp_path / "audit", 40)
    target = tmp_path / "export.jsonl"
    assert export(tmp_path / "audit", target) == 40
    checkpoint = (tmp_path / "export.jsonl.checkpoint").read_bytes()
    assert verify_export(target, checkpoint, LOG).signed == 40
    target.write_bytes(b"".join(tamper(lines_of(target))))
    with pytest.raises(findings.AuditVerificationError) as caught:
        verify_export(target, checkpoint, LOG)
    assert type(caught.value) is kind


def test_a_tile_holds_256_hashes_as_the_specification_says(intact: Path) -> None:
    tile = (intact / "tiles" / "0" / "001").read_bytes()
    assert len(tile) == TILE_WIDTH * 32
    assert tile[:32] == leaf_hash(with_sequence(body(256), 256))
