"""Keys that are kept far from any server."""

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certs.errors import TrustError
from certs.shell import offline_keys
from certs.shell.offline_keys import create_offline_key, load_offline_key, public_key_pem, read_public_key
from certs.shell.private_files import create_private_file

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_keys, "SCRYPT_N", 2**10)


@pytest.mark.parametrize("passphrase", [b"", PASSPHRASE], ids=["plain", "sealed"])
def test_a_key_signs_as_its_public_half_says(passphrase: bytes, tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    public = create_offline_key(path, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (b"PRIVATE KEY" in path.read_bytes()) is (not passphrase)
    signer = load_offline_key(path, passphrase)
    public.verify(signer.sign(b"message"), b"message")
    assert read_public_key(public_key_pem(public), "x").public_bytes_raw() == public.public_bytes_raw()


def test_a_key_made_by_another_tool_is_read(tmp_path: Path) -> None:
    path = tmp_path / "openssl.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(path)], check=True, capture_output=True)
    path.chmod(0o600)
    assert len(load_offline_key(path).sign(b"message")) == 64


def sealed(path: Path) -> Path:
    create_offline_key(path / "k", PASSPHRASE)
    return path / "k"


def written(path: Path, data: bytes) -> Path:
    create_private_file(path / "k", data)
    return path / "k"


def cut(path: Path) -> Path:
    key = sealed(path)
    data = key.read_bytes()
    key.unlink()
    return written(path, data[:-1])


def p256(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    return written(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def readable(path: Path) -> Path:
    key = sealed(path)
    key.chmod(0o644)
    return key


REFUSED: dict[str, tuple[Callable[[Path], Path], bytes, str]] = {
    "a sealed key without its passphrase": (sealed, b"", "key_store.passphrase"),
    "another passphrase": (sealed, PASSPHRASE + b"!", "key_store.passphrase"),
    "a sealed key that is cut": (cut, PASSPHRASE, "key_store.passphrase"),
    "a key of another algorithm": (p256, b"", "key.algorithm"),
    "no key at all": (lambda path: written(path, b"hello"), b"", "key.invalid"),
    "a key that others may read": (readable, PASSPHRASE, "key_store.permissions"),
    "no file": (lambda path: path / "none", b"", "key_store.file"),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_key_that_is_not_used(sentence: str, tmp_path: Path) -> None:
    make, passphrase, code = REFUSED[sentence]
    with pytest.raises(TrustError) as refused:
        load_offline_key(make(tmp_path), passphrase)
    assert refused.value.code == code


def test_a_short_passphrase_is_refused_and_no_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrustError) as refused:
        create_offline_key(tmp_path / "k", b"short")
    assert refused.value.code == "key_store.passphrase"
    assert not (tmp_path / "k").exists()


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_offline_key(tmp_path / "k")
    with pytest.raises(TrustError) as refused:
        create_offline_key(tmp_path / "k")
    assert refused.value.code == "key_store.exists"


def rsa_public() -> bytes:
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


PUBLIC: dict[str, tuple[Callable[[], bytes], str]] = {
    "another algorithm": (rsa_public, "key.algorithm"),
    "no PEM": (lambda: b"ssh-ed25519 AAAA", "key.invalid"),
    "damaged PEM": (lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "key.invalid"),
    "too large": (lambda: b"-----BEGIN " * 10_000, "key.invalid"),
}


@pytest.mark.parametrize("sentence", PUBLIC)
def test_a_public_key_that_is_not_read(sentence: str) -> None:
    make, code = PUBLIC[sentence]
    with pytest.raises(TrustError) as refused:
        read_public_key(make(), "x")
    assert refused.value.code == code
