"""Key files: sealed, private, written once."""

import os
import stat
from pathlib import Path

import pytest

from certs.shell import private_files, signers
from certs.shell.private_files import create_private_file, read_private_file, replace_private_file

KEK, OTHER_KEK = b"k" * 32, b"o" * 32


def test_a_key_file_opens_again(tmp_path: Path) -> None:
    for name, key in (("root.key", signers.generate_tls_key()), ("targets-1.key", signers.generate_signing_key())):
        made = signers.create_key_file(tmp_path / name, key, KEK)
        opened = signers.load_signer(tmp_path / name, KEK)
        assert made.public_key() == opened.public_key() == key.public_key()
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root.key", "targets-1.key"]


def test_a_key_file_holds_no_readable_key(tmp_path: Path) -> None:
    signers.create_key_file(tmp_path / "root.key", signers.generate_tls_key(), KEK)
    assert b"PRIVATE KEY" not in (tmp_path / "root.key").read_bytes()


def test_a_key_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    first = signers.create_key_file(path, signers.generate_tls_key(), KEK)
    with pytest.raises(private_files.PrivateFileExistsError):
        signers.create_key_file(path, signers.generate_tls_key(), KEK)
    assert signers.load_signer(path, KEK).public_key() == first.public_key()
    assert [each.name for each in tmp_path.iterdir()] == ["root.key"]


def test_a_key_file_does_not_open_under_another_key_or_name_or_when_changed(tmp_path: Path) -> None:
    path, renamed = tmp_path / "root.key", tmp_path / "issuing-servers.key"
    signers.create_key_file(path, signers.generate_tls_key(), KEK)
    with pytest.raises(signers.SealError):
        signers.load_signer(path, OTHER_KEK)
    good = path.read_bytes()
    create_private_file(renamed, good)
    with pytest.raises(signers.SealError):
        signers.load_signer(renamed, KEK)
    for place in (0, 15, 30, len(good) - 1):
        replace_private_file(path, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(signers.SealError):
            signers.load_signer(path, KEK)
    for cut in (0, 10, 20, len(good) - 1):
        replace_private_file(path, good[:cut])
        with pytest.raises(signers.SealError):
            signers.load_signer(path, KEK)


def test_sealing_anew_keeps_the_signing_key(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    before = signers.create_key_file(path, signers.generate_tls_key(), KEK)
    signers.reseal_key_file(path, KEK, OTHER_KEK)
    assert signers.load_signer(path, OTHER_KEK).public_key() == before.public_key()
    with pytest.raises(signers.SealError):
        signers.load_signer(path, KEK)


def test_the_key_encryption_key_has_32_bytes(tmp_path: Path) -> None:
    kek = signers.create_kek(tmp_path / "kek")
    assert signers.load_kek(tmp_path / "kek") == kek
    assert len(kek) == 32
    create_private_file(tmp_path / "short", b"k" * 31)
    with pytest.raises(signers.KekError):
        signers.load_kek(tmp_path / "short")
    with pytest.raises(signers.KekError):
        signers.create_key_file(tmp_path / "root.key", signers.generate_tls_key(), b"k" * 16)


def test_serials_are_long_and_differ() -> None:
    serials = {signers.random_serial() for _ in range(100)}
    assert len(serials) == 100
    assert {serial.bit_length() for serial in serials} == {159}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "kek"
    signers.create_kek(path)
    path.chmod(mode)
    with pytest.raises(private_files.PrivateFilePermissionError):
        signers.load_kek(path)


def test_links_folders_pipes_and_absent_files_are_refused(tmp_path: Path) -> None:
    signers.create_kek(tmp_path / "kek")
    (tmp_path / "link").symlink_to(tmp_path / "kek")
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "folder", "pipe", "absent"):
        with pytest.raises(private_files.KeyStoreError):
            read_private_file(tmp_path / name)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    create_private_file(tmp_path / "large", bytes(private_files.MAX_PRIVATE_FILE_BYTES + 1))
    with pytest.raises(private_files.PrivateFileError):
        read_private_file(tmp_path / "large")


def test_replacing_is_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    replace_private_file(path, b"one")
    replace_private_file(path, b"two")
    assert read_private_file(path) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(private_files.PrivateFileError):
        replace_private_file(tmp_path / "absent" / "file", b"")
    assert [each.name for each in tmp_path.iterdir()] == ["chain.pem"]
