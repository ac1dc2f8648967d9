"""What the system refuses, and files that are not there: a code, a place, a next step and exit code 8, no traceback."""

import os
import socket
from pathlib import Path

import pytest

from certs.join_token import JoinToken
from outpost.paths import StatePaths
from tests.unit.cli.conftest import Cli
from tests.unit.core.bundle.samples import ORG
from tests.unit.sync.enrolled import NAME

TOKEN = "ojt1." + "x"


@pytest.mark.parametrize("command", ["enroll", "run"])
def test_a_file_where_the_state_folder_belongs_is_named(command: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "file").write_text("")
    options = ("--token-file", "token") if command == "enroll" else ()
    for state in ("file", "file/below"):
        told = cli(command, "--state", state, *options)
        assert told.code == 8
        assert "Traceback" not in told.err
        assert ("error state.unusable" in told.err) == (command == "enroll"), told.err
        assert "→" in told.err


@pytest.mark.parametrize("command", ["enroll", "run"])
def test_a_folder_that_cannot_be_made_is_named(command: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    told = cli(command, "--state", "/proc/none/s", *(("--token-file", "token") if command == "enroll" else ()))
    assert told.code == 8
    assert ("error state.unusable" if command == "enroll" else "error state.not_enrolled") in told.err
    assert "/proc/none" in told.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", ["enroll", "run"])
def test_a_folder_without_rights_is_named(command: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    try:
        told = cli(command, "--state", "closed/s", *(("--token-file", "token") if command == "enroll" else ()))
    finally:
        closed.chmod(0o700)
    assert (told.code, "error state.unusable" in told.err) == (8, True), told.err
    assert "closed/s" in told.err


def test_a_pretended_provider_on_a_taken_port_says_so(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = cli("simulate-provider", "--port", taken.getsockname()[1])
    assert (told.code, told.out) == (8, "")
    assert "error settings.listen" in told.err
    assert "already in use" in told.err
    assert "outpost simulate-provider --port PORT" in told.err


def test_a_pretended_provider_on_a_port_that_is_none_says_so(cli: Cli) -> None:
    told = cli("simulate-provider", "--port", "80000")
    assert (told.code, told.out) == (8, "")
    assert "a port is a number from 0 to 65535" in told.err


MISSING: dict[str, tuple[str, ...]] = {
    "a join token": ("enroll", "--token-file", "none"),
    "a policy to check": ("policy", "lint", "none"),
    "a policy to explain": ("policy", "explain", "none"),
    "an audit export": ("verify-audit", "none", "--log-key", "0" * 64),
    "an audit log": ("verify-audit", "--state", "none"),
    "a settings file": ("config", "check", "--config", "none"),
}


@pytest.mark.parametrize("what", MISSING)
def test_a_file_that_is_missing_has_one_exit_code(what: str, cli: Cli) -> None:
    told = cli(*MISSING[what])
    assert (told.code, told.out) == (8, ""), told.err
    assert "error " in told.err


def test_a_token_that_is_not_needed_is_said_to_be_unused(cli: Cli, state: StatePaths, tmp_path: Path) -> None:
    def token(name: str) -> str:
        path = tmp_path / name
        made = JoinToken(org=ORG, name=name, endpoint="localhost:1", pin="0" * 64, secret=os.urandom(32))
        path.write_text(made.encode())
        return str(path)

    again = cli("enroll", "--state", state.state, "--token-file", token(NAME))
    assert (again.code, "the token was not used" in again.err) == (0, True), again.err
    other = cli("enroll", "--state", state.state, "--token-file", token("another"))
    assert (other.code, "error state.enrolled" in other.err) == (8, True), other.err


DOCUMENTS: dict[str, tuple[tuple[str, ...], str]] = {
    "version": (("version",), "outpost.version/1"),
    "config show": (("config", "show"), "outpost.settings/1"),
    "config check": (("config", "check"), "outpost.settings_check/1"),
    "health": (("health", "--port", "1"), "outpost.health/1"),
}


@pytest.mark.parametrize("command", DOCUMENTS)
def test_programs_get_one_document_of(command: str, cli: Cli) -> None:
    arguments, schema = DOCUMENTS[command]
    assert cli(*arguments, "--output", "json").json["schema"] == schema


def test_health_of_nobody_is_told_to_people_and_programs(cli: Cli) -> None:
    people = cli("health", "--port", "1")
    assert (people.code, people.out, people.err) == (6, "", "nothing answers on 127.0.0.1:1\n")
    programs = cli("health", "--port", "1", "--output", "json")
    assert (programs.code, programs.json["ok"], programs.json["answer"]) == (6, False, None)
