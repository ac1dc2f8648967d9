"""Counters and requests of an identity: on the disk before they are used, over crashes and full disks."""

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certs import csr
from certs.shell.private_files import replace_private_file
from outpost.core.errors import OutpostError
from outpost.sync import pending
from outpost.sync.boots import BootCounter
from outpost.sync.files import IdentityFiles, withdrawn_code
from tests.unit.sync.enrolled import Chance, Enrolled

MADE = Enrolled(1_790_000_000_000)


def refused(code: str, call: object) -> OutpostError:
    with pytest.raises(OutpostError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.code == code
    assert not caught.value.fatal
    return caught.value


class MeetingChance:
    """Holds whoever draws until another one draws too, or for a moment when nobody does."""

    def __init__(self) -> None:
        self._meeting = threading.Barrier(2)

    def token_bytes(self, size: int) -> bytes:
        with contextlib.suppress(threading.BrokenBarrierError):
            self._meeting.wait(0.2)
        return os.urandom(size)

    def uniform(self) -> float:
        return 0.0


def test_a_stream_and_a_renewal_that_ask_at_one_moment_are_one_start(tmp_path: Path) -> None:
    boots = BootCounter(tmp_path, MeetingChance())
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: boots.boot_id(), range(2))
    assert first == second
    assert first.startswith("00000001")
    boots.close()


def test_each_start_has_a_higher_counter_and_keeps_its_id(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        boots = BootCounter(tmp_path, Chance())
        seen.append(boots.boot_id())
        assert boots.boot_id() == seen[-1]
        boots.close()
    assert [each[:8] for each in seen] == ["00000001", "00000002", "00000003"]
    assert len({each[8:] for each in seen}) == 3
    assert all(len(each) == 32 for each in seen)


def test_the_counter_is_on_the_disk_before_the_id_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boots = BootCounter(tmp_path, Chance())

    def rename(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", rename)
    assert "no space left" in refused("identity.boot_counter", boots.boot_id).message
    monkeypatch.undo()
    assert boots.boot_id()[:8] == "00000001"


def test_a_start_waits_for_the_end_of_the_one_before(tmp_path: Path) -> None:
    """The kernel lets the lock go with the process, however it ends."""
    code = (
        "import sys, time; from pathlib import Path; from outpost.sync.boots import BootCounter\n"
        "from outpost.bootstrap.world import SystemChance\n"
        "print(BootCounter(Path(sys.argv[1]), SystemChance()).boot_id(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as before:
        assert before.stdout is not None
        assert before.stdout.readline().startswith("00000001")
        boots = BootCounter(tmp_path, Chance())
        refused("identity.in_use", boots.boot_id)
        before.kill()
        before.wait()
        assert boots.boot_id()[:8] == "00000002"


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"4294967295\n", b"99999999999\n"])
def test_a_counter_that_cannot_be_right_keeps_from_connecting(content: bytes, tmp_path: Path) -> None:
    replace_private_file(tmp_path / "boot", content)
    boots = BootCounter(tmp_path, Chance())
    refused("identity.boot_counter", boots.boot_id)


def test_the_request_is_made_once_for_each_sequence(tmp_path: Path) -> None:
    first = pending.prepare(tmp_path, 7)
    assert pending.prepare(tmp_path, 7) == pending.load(tmp_path) == first
    request = csr.read_request(first.csr_der)
    assert b"PRIVATE" in first.key_pem
    assert "PRIVATE" not in repr(first)
    other = pending.prepare(tmp_path, 8)
    assert csr.read_request(other.csr_der).spki_sha256 != request.spki_sha256
    assert (tmp_path / "renewal.pem").stat().st_mode & 0o777 == 0o600


def test_a_request_is_forgotten_when_the_identity_moved_past_it(tmp_path: Path) -> None:
    pending.prepare(tmp_path, 7)
    pending.forget(tmp_path, 7)
    assert pending.load(tmp_path) is not None
    pending.forget(tmp_path, 8)
    assert pending.load(tmp_path) is None
    pending.forget(tmp_path, 9)


@pytest.mark.parametrize("content", [b"", b"outpost-renewal-1\n", b"outpost-renewal-1\nsequence x\n", b"x" * 500])
def test_a_request_that_cannot_be_read_is_never_replaced(content: bytes, tmp_path: Path) -> None:
    """It may be out: another one would look like a copy of this outpost."""
    replace_private_file(tmp_path / "renewal.pem", content)
    refused("identity.renewal_store", lambda: pending.prepare(tmp_path, 7))
    assert (tmp_path / "renewal.pem").read_bytes() == content


def test_a_request_that_the_disk_does_not_take_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", rename)
    refused("identity.renewal_store", lambda: pending.prepare(tmp_path, 7))
    monkeypatch.undo()
    assert pending.load(tmp_path) is None


def test_a_refusal_for_good_is_kept_over_restarts(tmp_path: Path) -> None:
    MADE.fill(tmp_path / "s", records=1)
    files = IdentityFiles(tmp_path / "s" / "orgs" / "acme" / "identity", Chance())
    assert files.withdrawn() == ""
    files.note_withdrawn("outpost.revoked")
    assert withdrawn_code(files.folder) == "outpost.revoked"
    files.note_withdrawn("")
    files.note_withdrawn("")
    assert files.withdrawn() == ""
