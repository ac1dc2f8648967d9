"""Settings: file, overlay, and errors that show no value."""

from pathlib import Path

import pytest

from controlplane.settings import FILE_NAME, Settings, SettingsError, checked, listen_for, load, render

CANARY = "canary-value-1234"


def test_what_init_writes_reads_back(tmp_path: Path) -> None:
    settings = Settings(hosts=("cp.example", "192.0.2.1"), grpc_port=9444, trust_domain="acme.internal")
    (tmp_path / FILE_NAME).write_text(render(settings))
    assert load(tmp_path, {}) == settings


def test_variables_overlay_the_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("grpc_port = 1\n")
    variables = {
        "CONTROLPLANE_GRPC_PORT": "2",
        "CONTROLPLANE_HOSTS": "a.example,b.example",
        "CONTROLPLANE_STATE": "/elsewhere",
        "OTHER": "x",
    }
    settings = load(tmp_path, variables)
    assert (settings.grpc_port, settings.hosts) == (2, ("a.example", "b.example"))


FILES = {
    "an unknown key": f'colour = "{CANARY}"',
    "a port that is none": f'grpc_port = "{CANARY}"',
    "a port beyond the range": "grpc_port = 65536",
    "a trust domain that is none": f'trust_domain = "{CANARY} "',
    "an endpoint without a port": f'sync_endpoint = "{CANARY}"',
    "a log level that is none": f'log_level = "{CANARY}"',
    "no TOML": f"{CANARY} =",
}


@pytest.mark.parametrize("name", FILES)
def test_settings_that_are_refused_without_being_shown(name: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(FILES[name])
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {})
    assert caught.value.field
    assert caught.value.next_step
    assert CANARY not in str(caught.value.as_dict())


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("")
    with pytest.raises(SettingsError, match="CONTROLPLANE_PROT"):
        load(tmp_path, {"CONTROLPLANE_PROT": CANARY})


def test_a_folder_without_settings_is_no_control_plane(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not the state directory"):
        load(tmp_path, {})


def test_more_hosts_than_a_certificate_holds_are_refused() -> None:
    with pytest.raises(SettingsError):
        checked({"hosts": tuple(f"h{at}.example" for at in range(16))})


LISTEN = {
    "nothing said": ((), "127.0.0.1"),
    "this machine": (("127.0.0.1", "localhost", "::1"), "127.0.0.1"),
    "a name": (("cp.example",), "0.0.0.0"),
    "an address": (("10.0.0.5", "localhost"), "0.0.0.0"),
    "an address of IPv6": (("2001:db8::1",), "::"),
}


@pytest.mark.parametrize("name", LISTEN)
def test_init_listens_where_its_hosts_can_be_reached(name: str) -> None:
    hosts, expected = LISTEN[name]
    assert listen_for(hosts) == expected
