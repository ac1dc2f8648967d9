"""Settings: file, environment, options; what is refused, and that no value is ever echoed."""

import socket
from pathlib import Path
from typing import Any

import pytest

from outpost import settings
from outpost.settings import Settings, SettingsError

CANARY = "canary-" + "value-7f3a"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "outpost.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_nothing_said_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load(None, {}, {}) == Settings()


def test_the_file_in_the_working_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "port = 8400\n")
    monkeypatch.chdir(tmp_path)
    assert settings.load(None, {}, {}).port == 8400


def test_options_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'port = 1001\nworkers = 2\nlog_level = "DEBUG"\n')
    environment = {"OUTPOST_PORT": "1002", "OUTPOST_WORKERS": "3", "OUTPOST_SERVICE_HOST": "10.0.0.1", "PORT": "9"}
    found = settings.load(file, {"port": 1003, "workers": None}, environment)
    assert (found.port, found.workers, found.log_level) == (1003, 3, "DEBUG")


def test_the_process_s_own_variables_count_when_none_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTPOST_HEARTBEAT_SECONDS", "2.5")
    assert settings.load(None, {}).heartbeat_seconds == 2.5


REFUSED: dict[str, tuple[str | bytes, str, str]] = {
    "an unknown key": (f'prot = "{CANARY}"', "prot", "no such setting"),
    "a port that is none": ("port = 70000", "port", "less than or equal to 65535"),
    "a port of another type": (f'port = "{CANARY}"', "port", "valid integer"),
    "a negative number of workers": ("workers = -1", "workers", "greater than or equal to 0"),
    "too many workers": (f"workers = {settings.MAX_WORKERS + 1}", "workers", "less than or equal to"),
    "a heartbeat that never comes": ("heartbeat_seconds = 0", "heartbeat_seconds", "greater than 0"),
    "a log level of another name": (f'log_level = "{CANARY}"', "log_level", "match pattern"),
    "a table where a value belongs": (f'[port]\nx = "{CANARY}"', "port", "valid integer"),
    "text that is no TOML": (f"port: {CANARY}", "outpost.toml", "no TOML"),
    "bytes that are no text": (b"port = \xff\xfe", "outpost.toml", "no TOML"),
    "a file over the bound": ("#" * (settings.MAX_FILE_BYTES + 1), "outpost.toml", "larger than"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused_for(what: str, tmp_path: Path) -> None:
    text, field, cause = REFUSED[what]
    with pytest.raises(SettingsError) as refused:
        settings.load(write(tmp_path, text), {}, {})
    told = refused.value.as_dict()
    assert told["code"] == "settings.invalid"
    assert str(told["field"]).endswith(field)
    assert cause in str(told["message"])
    assert CANARY not in f"{told}{refused.value!r}{refused.value.__cause__ if field != 'outpost.toml' else ''}"


def test_a_file_at_the_bound_is_read(tmp_path: Path) -> None:
    text = "port = 1\n"
    assert settings.load(write(tmp_path, text + "#" * (settings.MAX_FILE_BYTES - len(text))), {}, {}).port == 1


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load(tmp_path / "none.toml", {}, {})


def test_a_bad_variable_is_refused_by_name_and_not_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refused:
        settings.load(None, {}, {"OUTPOST_WORKERS": CANARY})
    assert refused.value.field == "workers"
    assert CANARY not in str(refused.value.as_dict())


SOURCES: dict[str, tuple[str, dict[str, Any], dict[str, str], str]] = {
    "the file": ("workers = -1", {}, {}, "(from the file "),
    "a variable": ("", {}, {"OUTPOST_WORKERS": "-1"}, "(from the variable OUTPOST_WORKERS)"),
    "an option": ("workers = 1", {"metrics_port": -1}, {}, "(from the option --metrics-port)"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_bad_value_says_that_it_came_from(source: str, tmp_path: Path) -> None:
    text, options, environment, told = SOURCES[source]
    with pytest.raises(SettingsError) as refused:
        settings.load(write(tmp_path, text), options, environment)
    assert told in refused.value.message


def test_an_unknown_variable_is_refused_by_name_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        settings.load(write(tmp_path, ""), {}, {"OUTPOST_WORKER": CANARY})
    assert refused.value.field == "OUTPOST_WORKER"
    assert "OUTPOST_WORKERS" in refused.value.next_step
    assert CANARY not in str(refused.value.as_dict())


SERVICE_LINKS = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT_8300_TCP", "PORT_8300_TCP_ADDR")


@pytest.mark.parametrize("name", SERVICE_LINKS)
def test_what_kubernetes_says_of_a_service_is_no_setting(name: str, tmp_path: Path) -> None:
    assert settings.load(write(tmp_path, ""), {}, {f"OUTPOST_{name}": "tcp://10.0.0.1:8300"}) == Settings()


def test_a_slip_in_the_file_is_shown_by_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no TOML at line 2, column \d+") as refused:
        settings.load(write(tmp_path, f"port = 1\nhost = {CANARY}\n"), {}, {})
    assert refused.value.next_step
    assert CANARY not in f"{refused.value.as_dict()}{refused.value.__cause__}"


def test_every_default_passes_its_own_check() -> None:
    values: dict[str, Any] = Settings().model_dump(mode="json")
    assert settings.check(values) == Settings()


def test_an_address_that_is_taken_is_named_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as late:
        port = taken.getsockname()[1]
        with (
            pytest.raises(settings.ListenError, match="already in use") as refused,
            settings.listening("metrics_port", "127.0.0.1", port),
        ):
            late.bind(("127.0.0.1", port))
    assert (refused.value.code, refused.value.field) == ("settings.listen", "metrics_port")


FOLDERS: dict[str, tuple[dict[str, Any], str]] = {
    "in the state folder when unset": ({"state": "st"}, "st/secrets"),
    "where they were said to be": ({"secrets_dir": "elsewhere"}, "elsewhere"),
}


@pytest.mark.parametrize("where", FOLDERS)
def test_provider_keys_are(where: str) -> None:
    values, folder = FOLDERS[where]
    assert settings.check(values).secrets_folder() == Path(folder)
