"""`outpost verify-audit`: state folder, log folder, export; keys in every form; every tamper named with 5."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from outpost.core.audit.note import open_checkpoint
from outpost.ledger.cursor import Cursor
from outpost.ledger.reader import LogReader, export
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli
from tests.unit.core.bundle.samples import ORG
from tests.unit.ledger.support import LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_SIGNER, make_log

HEX = LOG.public_key.hex()


def cosign(folder: Path) -> None:
    """What the witness does after an upload."""
    from outpost.core.audit.note import cosign as signature

    note = LogReader(folder).checkpoint() or b""
    line = signature(open_checkpoint(note, LOG), WITNESS_SIGNER, 1_790_000_000)
    Cursor(folder).store_cosigned(note, line, LOG, WITNESS)


@pytest.fixture
def audit(state: StatePaths) -> Path:
    folder = state.org(ORG).audit
    cosign(folder)
    return folder


def test_a_state_folder_is_verified_with_the_keys_of_its_enrollment(cli: Cli, state: StatePaths, audit: Path) -> None:
    told = cli("verify-audit", "--state", state.state)
    assert told.code == 0
    assert told.out.endswith("intact\n")
    assert "300: 300 below the signed head" in told.out
    assert "cosigned 300 records" in told.out


def test_the_same_as_json(cli: Cli, state: StatePaths, audit: Path) -> None:
    told = cli("verify-audit", state.state, "--org", ORG, "--output", "json").json
    log = told["logs"][0]
    assert told["schema"] == "outpost.audit_verification/1"
    assert (log["org"], log["origin"], log["intact"]) == (ORG, ORIGIN, True)
    assert (log["records"], log["signed"], log["cosigned"]) == (300, 300, 300)
    assert (log["log_key"], log["witness_key"]) == (LOG.to_text(), WITNESS.to_text())


def pem(folder: Path) -> str:
    path = folder / "log.pub.pem"
    path.write_bytes(LOG_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def text_file(folder: Path) -> str:
    path = folder / "log.vkey"
    path.write_text(LOG.to_text() + "\n")
    return str(path)


KEY_FORMS: dict[str, Callable[[Path], str]] = {
    "64 hex digits": lambda folder: HEX,
    "a key line": lambda folder: LOG.to_text(),
    "a file with a key line": text_file,
    "a file with PEM": pem,
}


@pytest.mark.parametrize("form", KEY_FORMS)
def test_with_a_given_key_nothing_private_is_opened(form: str, cli: Cli, audit: Path, tmp_path: Path) -> None:
    (audit / "log.key").unlink()
    (audit.parent / "identity" / "leaf.pem").unlink()
    told = cli("verify-audit", audit, "--log-key", KEY_FORMS[form](tmp_path))
    assert (told.code, told.out.splitlines()[-1]) == (0, "intact")


def test_an_export_is_verified_with_the_checkpoint_beside_it(cli: Cli, audit: Path, tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    assert export(audit, target) == 300
    told = cli("verify-audit", target, "--log-key", HEX, "--output", "json").json["logs"][0]
    assert (told["intact"], told["records"], told["origin"]) == (True, 300, ORIGIN)
    moved = target.with_name("audit.jsonl.checkpoint").rename(tmp_path / "note")
    assert cli("verify-audit", target, "--log-key", HEX).code == 8
    assert cli("verify-audit", target, "--log-key", HEX, "--checkpoint", moved).code == 0


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def segment(folder: Path) -> Path:
    return sorted((folder / "segments").iterdir())[0]


def cut(folder: Path) -> None:
    """The log as it was at 100 records, made with its own key; the witness's note stays."""
    keep = (folder / "cosigned").read_bytes()
    for name in ("segments", "tiles"):
        for path in sorted((folder / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    for name in ("checkpoint", "history", "cosigned", "cursor.json"):
        (folder / name).unlink(missing_ok=True)
    make_log(folder, 100)
    (folder / "cosigned").write_bytes(keep)


TAMPERED: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "a flipped byte": (lambda folder: flip(segment(folder), segment(folder).stat().st_size // 3), -1, "audit.record"),
    "an older copy": (cut, 100, "audit.rolled_back"),
    "a checkpoint that was altered": (lambda folder: flip(folder / "checkpoint", 70), 0, "audit.checkpoint_invalid"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_named_with_its_sequence_is(what: str, cli: Cli, state: StatePaths, audit: Path) -> None:
    tamper, sequence, code = TAMPERED[what]
    tamper(audit)
    told = cli("verify-audit", "--state", state.state, "--output", "json")
    log = told.json["logs"][0]
    assert (told.code, log["intact"]) == (5, False)
    assert log["error"]["code"].startswith(code)
    assert log["sequence"] == sequence or (sequence < 0 and 0 < log["sequence"] < 300)
    table = cli("verify-audit", "--state", state.state)
    assert table.code == 5
    assert f"NOT INTACT at sequence {log['sequence']}" in table.out


def test_a_changed_line_of_an_export_is_named(cli: Cli, audit: Path, tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    export(audit, target)
    target.write_bytes(target.read_bytes().replace(b"record-123", b"record-124"))
    told = cli("verify-audit", target, "--log-key", HEX, "--output", "json")
    assert told.code == 5
    assert told.json["logs"][0]["intact"] is False


def test_a_newer_note_of_the_control_plane_betrays_an_older_copy(cli: Cli, audit: Path, tmp_path: Path) -> None:
    newest = tmp_path / "newest"
    newest.write_bytes((audit / "cosigned").read_bytes())
    cut(audit)
    (audit / "cosigned").unlink()
    assert cli("verify-audit", audit).code == 0  # on its own it cannot know
    told = cli("verify-audit", audit, "--cosigned", newest)
    assert told.code == 5
    assert "audit.rolled_back" in told.out


REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an export without a key": (("audit.jsonl",), 8, "audit.key"),
    "a key of another log": (("audit.jsonl", "--log-key", "ab" * 32), 5, "NOT INTACT"),
    "a key that is no key": (("audit.jsonl", "--log-key", "hello"), 8, "audit.key"),
    "a witness's key for a log's": (("audit.jsonl", "--log-key", WITNESS.to_text()), 8, "another kind"),
    "a private key file": (("audit.jsonl", "--log-key", "private.pem"), 8, "no public key"),
    "a path that is not there": (("none.jsonl", "--log-key", HEX), 8, "none.jsonl"),
    "an org that is not here": (("--state", "state", "--org", "globex"), 8, "audit.unreadable"),
    "a state folder with nothing": (("--state", "empty"), 8, "audit.unreadable"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_command_refuses(what: str, cli: Cli, audit: Path, tmp_path: Path) -> None:
    export(audit, tmp_path / "audit.jsonl")
    (tmp_path / "private.pem").write_bytes((audit / "log.key").read_bytes())
    arguments, code, cause = REFUSED[what]
    told = cli("verify-audit", *arguments)
    assert told.code == code
    assert cause in told.out + told.err
    assert "PRIVATE" not in told.out + told.err
