"""docs/controlplane.md names every command, setting, error code, log event and log field."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import click

import controlplane
from controlplane.cli.main import cli
from controlplane.domain.errors import ControlPlaneError
from controlplane.settings import Settings
from controlplane.telemetry import Event, Fields

PAGE = (Path(__file__).parents[3] / "docs" / "controlplane.md").read_text()


def commands(group: click.Group, prefix: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


def codes(kind: type[ControlPlaneError]) -> Iterator[str]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("controlplane."):  # tests have errors of their own
            yield child.code
        yield from codes(child)


def test_every_command_is_documented() -> None:
    assert [each for each in commands(cli, "controlplane") if f"`{each}" not in PAGE] == []


def test_every_setting_is_documented() -> None:
    assert [each for each in Settings.model_fields if f"| `{each}` |" not in PAGE] == []


def test_every_error_code_is_documented() -> None:
    for module in pkgutil.walk_packages(controlplane.__path__, "controlplane."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert sorted({each for each in codes(ControlPlaneError) if f"| `{each}` |" not in PAGE}) == []


def test_every_log_event_and_field_is_documented() -> None:
    assert [each for each in (*Event, *Fields.__annotations__) if f"`{each}`" not in PAGE] == []
