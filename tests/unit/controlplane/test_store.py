"""The embedded engine: one file per org, readable by its owner only, and errors without content."""

import sqlite3
import stat
from pathlib import Path

import pytest

from controlplane.store.errors import DatabaseError, SchemaError
from controlplane.store.migrations.sqlite_files import FileKind
from controlplane.store.sqlite_file import File
from tests.unit.controlplane.bed import bed


async def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    async with bed(tmp_path) as plane:
        await plane.enrolled()
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    wide = {path for path, mode in modes.items() if mode & 0o077}
    assert wide == set()


async def test_each_org_has_a_file_of_its_own(tmp_path: Path) -> None:
    async with bed(tmp_path, "acme", "globex") as plane:
        await plane.enrolled("only-at-acme")
    held = {path.stem: b"only-at-acme" in path.read_bytes() for path in (tmp_path / "orgs").glob("*.db")}
    assert held == {"acme": True, "globex": False, "operator": False}


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as link:
        link.execute("PRAGMA user_version=7777")
    link.close()
    file = File(path, FileKind.ORG)
    with pytest.raises(SchemaError):
        async with file.transaction("acme", write=False):
            pass
    await file.close()


async def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as link:
        link.execute("PRAGMA user_version=1")
    link.close()
    file = File(path, FileKind.ORG)
    with pytest.raises(SchemaError) as caught:
        async with file.transaction("acme", write=False):
            pass
    assert "no database of a control plane" in caught.value.message
    await file.close()


async def test_a_damaged_database_is_a_typed_error_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"secret-content" * 100)
    file = File(path, FileKind.ORG)
    with pytest.raises(DatabaseError) as caught:
        async with file.transaction("acme", write=False):
            pass
    assert "secret" not in str(caught.value)
    await file.close()
