"""`outpost config` and `outpost version`."""

import json
from importlib import metadata
from pathlib import Path

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.main import settings_options


@click.group()
def config() -> None:
    """Show, check and explain settings."""


@config.command()
@settings_options
def show(state: Path | None, config_file: Path | None) -> None:
    """Print the settings in force. Example: outpost config show"""
    output.emit_json(settings.load(config_file, {"state": state}).model_dump(mode="json"))


@config.command()
@settings_options
def check(state: Path | None, config_file: Path | None) -> None:
    """Check the settings file and variables. Example: outpost config check --config outpost.toml"""
    settings.load(config_file, {"state": state})
    click.echo("settings are valid")


@config.command()
def schema() -> None:
    """Print the JSON schema of the settings file. Example: outpost config schema"""
    click.echo(json.dumps(settings.Settings.model_json_schema(), indent=2, sort_keys=True))


@click.command()
def version() -> None:
    """Print the version. Example: outpost version"""
    click.echo(metadata.version("ai-outpost"))
