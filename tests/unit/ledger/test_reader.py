"""Reading beside a writer, delivery cursors, identities and the ledger of many orgs."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from outpost.core.audit.canonical import RecordError, with_sequence
from outpost.core.audit.note import NoteSignatureError, NoteSigner, SignatureType, cosign, open_checkpoint
from outpost.ledger.cursor import Cursor, CursorError, CursorState
from outpost.ledger.errors import EntryMissingError, LedgerClosedError, LogIdentityError
from outpost.ledger.identity import create_identity, load_identity
from outpost.ledger.ledger import Ledger
from outpost.ledger.reader import LogReader, export, iterate
from outpost.ledger.verify import verify_directory
from tests.unit.ledger.conftest import Logs
from tests.unit.ledger.support import LOG, ORIGIN, SMALL, WITNESS, WITNESS_SIGNER, body, fill, make_log


def test_a_reader_sees_exactly_what_the_newest_head_covers(logs: Logs) -> None:
    reader = LogReader(logs.folder)
    assert (reader.checkpoint(), reader.tree_size(), reader.entries(0, 10)) == (None, 0, ())
    log = logs.open()
    fill(log, 30)
    assert reader.entries(0, 10) == ()
    log.checkpoint()
    fill(log, 10)
    assert len(reader.entries(0, 256)) == 30
    for _ in range(12):  # past the end of a segment, with one reader
        fill(log, 50)
        log.checkpoint()
        assert reader.entries(log.size - 50, 50) == tuple(
            with_sequence(body(n), n) for n in range(log.size - 50, log.size)
        )
    assert len(reader.leaf_hashes(0, 10_000)) == log.size
    assert reader.root(log.size) == open_checkpoint(reader.checkpoint() or b"", LOG).checkpoint.root
    with pytest.raises(EntryMissingError):
        reader.root(log.size + 1)


def test_an_export_gives_the_same_bytes_as_the_folder(tmp_path: Path) -> None:
    make_log(tmp_path / "audit", 300)
    assert export(tmp_path / "audit", tmp_path / "out.jsonl") == 300
    assert list(iterate(tmp_path / "out.jsonl")) == list(iterate(tmp_path / "audit"))
    (tmp_path / "bad.jsonl").write_bytes(b'{"a":1}\n')
    with pytest.raises(RecordError):
        list(iterate(tmp_path / "bad.jsonl"))


def test_a_missing_leaf_hash_is_named(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    (tmp_path / "tiles" / "0" / "001").unlink()
    with pytest.raises(EntryMissingError) as caught:
        LogReader(tmp_path).root(300)
    assert caught.value.sequence == 256


def newest(folder: Path) -> bytes:
    return LogReader(folder).checkpoint() or b""


def test_the_cursor_keeps_what_the_witness_signed_byte_for_byte(tmp_path: Path) -> None:
    make_log(tmp_path, 40)
    cursor = Cursor(tmp_path)
    assert cursor.load() == CursorState(0, 0)
    cursor.set_uploaded(20)
    assert cursor.load() == CursorState(20, 0)
    note = newest(tmp_path)
    line = cosign(open_checkpoint(note, LOG), WITNESS_SIGNER, 5)
    assert cursor.store_cosigned(note, line, LOG, WITNESS).time_seconds == 5
    assert cursor.load() == CursorState(40, 40)
    assert cursor.cosigned() == note + line
    make_log(tmp_path, 40)
    later = newest(tmp_path)
    cursor.store_cosigned(later, cosign(open_checkpoint(later, LOG), WITNESS_SIGNER, 6), LOG, WITNESS)
    with pytest.raises(CursorError):
        cursor.store_cosigned(note, line, LOG, WITNESS)
    assert cursor.load() == CursorState(80, 80)


def test_a_line_of_another_witness_moves_nothing(tmp_path: Path) -> None:
    make_log(tmp_path, 40)
    stranger = NoteSigner.of_key(WITNESS.name, Ed25519PrivateKey.generate(), SignatureType.COSIGNATURE_V1)
    note = newest(tmp_path)
    with pytest.raises(NoteSignatureError):
        Cursor(tmp_path).store_cosigned(note, cosign(open_checkpoint(note, LOG), stranger, 5), LOG, WITNESS)
    assert Cursor(tmp_path).load() == CursorState(0, 0)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"uploaded":"x"}', b'{"uploaded":-3}', b"x" * 9000])
def test_an_unreadable_cursor_starts_from_what_was_cosigned(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "cursor.json").write_bytes(data)
    assert Cursor(tmp_path).load() == CursorState(0, 0)


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    made = create_identity(tmp_path / "audit", ORIGIN)
    assert create_identity(tmp_path / "audit", ORIGIN).public_key == made.public_key
    assert load_identity(tmp_path / "audit").origin == ORIGIN
    assert stat.S_IMODE((tmp_path / "audit" / "log.key").stat().st_mode) == 0o600
    with pytest.raises(LogIdentityError):
        create_identity(tmp_path / "audit", ORIGIN.replace("acme", "other"))


def test_an_unusable_identity_is_named_without_its_key(tmp_path: Path) -> None:
    with pytest.raises(LogIdentityError, match="no identity"):
        load_identity(tmp_path)
    create_identity(tmp_path, ORIGIN)
    (tmp_path / "log.key").write_bytes(b"rubbish")
    with pytest.raises(LogIdentityError, match="unreadable") as caught:
        load_identity(tmp_path)
    assert "rubbish" not in str(caught.value)


def test_two_orgs_have_two_logs_and_an_unknown_org_has_none(tmp_path: Path) -> None:
    origins = {org: ORIGIN.replace("acme", org) for org in ("acme", "globex")}
    for org, origin in origins.items():
        create_identity(tmp_path / org / "audit", origin)
    (tmp_path / "initech").mkdir()
    ledger = Ledger(tmp_path, SMALL)
    assert [state.org for state in ledger.open_all()] == ["acme", "globex"]
    assert ledger.append("acme", [body(0), body(1)]).result(10) == range(2)
    assert ledger.append("globex", [body(0)]).result(10) == range(1)
    for unknown in ("initech", "nobody", "../acme", "ACME", ""):
        with pytest.raises(LogIdentityError):
            ledger.append(unknown, [body(0)])
    sizes = {state.org: state.log.size for state in ledger.status() if state.log is not None}
    assert sizes == {"acme": 2, "globex": 1}
    ledger.close()
    with pytest.raises(LedgerClosedError):
        ledger.append("acme", [body(0)])
    for org in origins:
        verify_directory(tmp_path / org / "audit", load_identity(tmp_path / org / "audit").signer.verifier)


def test_an_org_that_enrolls_later_gets_its_log_without_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, SMALL)
    with pytest.raises(LogIdentityError):
        ledger.append("acme", [body(0)])
    create_identity(tmp_path / "acme" / "audit", ORIGIN)
    assert ledger.append("acme", [body(0)]).result(10) == range(1)
    ledger.close()
