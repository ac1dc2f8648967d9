"""``backup`` and ``restore`` as operators use them: everything that is refused leaves nothing behind."""

import asyncio
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from certs.shell.new_files import new_file
from controlplane.bootstrap import restores
from controlplane.bootstrap.plane import opened
from controlplane.domain.backup_frames import MIN_SCRYPT_N, ChunkSealer, Lock, lock
from controlplane.domain.backups import BackupHead, BackupWriter
from controlplane.store.migrations.listing import HEAD
from tests.fakes.postgres_server import APP, OWNER, Server
from tests.integration.test_controlplane_cli import Result, made, ok, run
from tests.integration.test_controlplane_postgres import url_file

PASSPHRASE = b"correct horse battery staple"


def passphrase_file(folder: Path, text: bytes = PASSPHRASE, name: str = "passphrase") -> Path:
    path = folder / name
    path.write_bytes(text + b"\n")
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a state, its backup and the passphrase."""
    folder = tmp_path_factory.mktemp("original")
    asyncio.run(backed_up(folder))
    return folder


async def backed_up(folder: Path) -> None:
    await made(folder / "state")
    secret = passphrase_file(folder)
    await ok(folder / "state", "backup", "--out", str(folder / "cp.backup"), "--passphrase-file", str(secret))


async def test_a_backup_is_written_once_and_says_what_it_holds(original: Path) -> None:
    file, secret = original / "cp.backup", original / "passphrase"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    checked = await ok(original / "none", "restore", str(file), "--passphrase-file", str(secret), "--check", "--json")
    assert checked.json["orgs"] == ["operator", "acme"]
    assert checked.json["schema_revision"] == HEAD
    assert not (original / "none").exists()
    kept = file.read_bytes()
    again = await run(original / "state", "backup", "--out", str(file), "--passphrase-file", str(secret), "--json")
    assert (again.status, code_of(again)) == (8, "key_store.exists")
    assert file.read_bytes() == kept
    acts = (await ok(original / "state", "acts", "list", "--operator", "--output", "json")).json["acts"]
    told = [each["record"] for each in acts if each["record"]["operation"] == "backup.take"]
    assert [each["outcome"] for each in told][-2:] == ["done", "intended"]
    kek = (original / "state" / "kek").read_bytes()
    for secret_bytes in (kek, kek.hex().encode(), PASSPHRASE):
        assert secret_bytes not in kept


def code_of(result: Result) -> str:
    return str(json.loads(result.err)["error"]["code"])


def cut(folder: Path) -> None:
    (folder / "cp.backup").write_bytes((folder / "cp.backup").read_bytes()[:-20])


def changed(folder: Path) -> None:
    data = bytearray((folder / "cp.backup").read_bytes())
    data[-1] ^= 1
    (folder / "cp.backup").write_bytes(data)


def other_passphrase(folder: Path) -> None:
    passphrase_file(folder, b"correct horse battery stable")


def open_passphrase(folder: Path) -> None:
    (folder / "passphrase").chmod(0o644)


def short_passphrase(folder: Path) -> None:
    passphrase_file(folder, b"short")


def newer_schema(folder: Path) -> None:
    beginning, how = lock(PASSPHRASE, Lock(bytes(32), MIN_SCRYPT_N))
    writer = BackupWriter()
    head = BackupHead("9.9.9", "9999", 5, "outpost.internal", {}, bytes(32))
    plain = writer.head(head) + writer.manifest(6)[0]
    (folder / "cp.backup").write_bytes(beginning + ChunkSealer(how).seal(plain, last=True))


def unknown_setting(folder: Path) -> None:
    beginning, how = lock(PASSPHRASE, Lock(bytes(32), MIN_SCRYPT_N))
    writer = BackupWriter()
    head = BackupHead("9.9.9", HEAD, 5, "outpost.internal", {"from_the_future": 1}, bytes(32))
    plain = writer.head(head) + writer.manifest(6)[0]
    (folder / "cp.backup").write_bytes(beginning + ChunkSealer(how).seal(plain, last=True))


def no_backup(folder: Path) -> None:
    (folder / "cp.backup").write_bytes(b"SQLite format 3\0")


def no_file(folder: Path) -> None:
    (folder / "cp.backup").unlink()


def a_taken_place(folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new" / "precious").write_text("data")


REFUSED: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "a file that was cut": (cut, 5, "backup.truncated"),
    "a file that was changed": (changed, 5, "backup.damaged"),
    "another passphrase": (other_passphrase, 5, "backup.passphrase"),
    "a passphrase that others can read": (open_passphrase, 8, "key_store.permissions"),
    "a passphrase that none can be": (short_passphrase, 5, "backup.passphrase"),
    "a newer schema": (newer_schema, 5, "backup.schema"),
    "a setting that this program does not know": (unknown_setting, 5, "backup.schema"),
    "another kind of file": (no_backup, 5, "backup.malformed"),
    "no file": (no_file, 8, "path.refused"),
    "a directory that is not empty": (a_taken_place, 5, "restore.place"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_leaves_nothing(name: str, original: Path, tmp_path: Path) -> None:
    spoil, status, code = REFUSED[name]
    for each in ("cp.backup", "passphrase"):
        shutil.copy2(original / each, tmp_path / each)
    spoil(tmp_path)
    before = sorted(path.name for path in (tmp_path / "new").glob("*"))
    words = ("restore", str(tmp_path / "cp.backup"), "--passphrase-file", str(tmp_path / "passphrase"), "--json")
    result = await run(tmp_path / "new", *words)
    assert (result.status, code_of(result)) == (status, code), result.err
    assert json.loads(result.err)["error"]["next"]
    assert sorted(path.name for path in (tmp_path / "new").glob("*")) == before


async def test_a_database_that_is_in_use_is_refused(original: Path, postgres: Server, tmp_path: Path) -> None:
    database = await postgres.empty()
    names = (("--database-url-file", APP), ("--owner-url-file", OWNER))
    words = [word for option, role in names for word in (option, str(url_file(tmp_path, postgres, database, role)))]
    command = ("restore", str(original / "cp.backup"), "--passphrase-file", str(original / "passphrase"), *words)
    await ok(tmp_path / "first", *command)
    again = await run(tmp_path / "second", *command, "--json")
    assert (again.status, code_of(again)) == (5, "restore.place")
    assert list((tmp_path / "second").glob("*")) == []
    async with opened(tmp_path / "first") as plane:
        assert [each.id for each in await plane.store.orgs()] == ["acme"]


async def test_what_was_cut_off_at_the_very_end_is_finished(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CutError(Exception):
        """The machine stops."""

    def stop(folder: Path) -> None:
        raise CutError

    state, file = tmp_path / "new", original / "cp.backup"
    with monkeypatch.context() as patch:
        patch.setattr(restores, "_move", stop)
        with pytest.raises(CutError):
            await restores.restore(file, PASSPHRASE, state, restores.Database())
    assert [path.name for path in state.iterdir()] == ["restoring"]
    again = await ok(state, "restore", str(file), "--passphrase-file", str(original / "passphrase"), "--json")
    assert again.json["finished"]
    async with opened(state) as plane:
        assert len(await plane.store.restorations.all()) == 1


async def test_what_was_cut_off_earlier_is_made_anew(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, file = tmp_path / "new", original / "cp.backup"
    half = state / "restoring"
    half.mkdir(parents=True, mode=0o700)
    (half / "kek").write_bytes(b"of another try")
    again = await ok(state, "restore", str(file), "--passphrase-file", str(original / "passphrase"), "--json")
    assert not again.json["finished"]
    assert (state / "kek").read_bytes() == (original / "state" / "kek").read_bytes()


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def half() -> None:
        with new_file(tmp_path / "x") as write:
            write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert list(tmp_path.iterdir()) == []
