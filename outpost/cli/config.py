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
@output.output_option
def show(state: Path | None, config_file: Path | None, **options: str) -> None:
    """Print the settings in force. Example: outpost config show"""
    found = settings.load(config_file, {"state": state}).model_dump(mode="json")
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.settings/1", "settings": found})
    else:
        output.emit_json(found)


@config.command()
@settings_options
@output.output_option
def check(state: Path | None, config_file: Path | None, **options: str) -> None:
    """Check the settings file and variables. Example: outpost config check --config outpost.toml"""
    settings.load(config_file, {"state": state})
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.settings_check/1", "valid": True})
    else:
        click.echo("settings are valid")


@config.command()
@output.output_option
def schema(**options: str) -> None:
    """Print the JSON schema of the settings file; it is JSON either way. Example: outpost config schema"""
    click.echo(json.dumps(settings.Settings.model_json_schema(), indent=2, sort_keys=True))


@click.command()
@output.output_option
def version(**options: str) -> None:
    """Print the version. Example: outpost version"""
    found = metadata.version("ai-outpost")
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.version/1", "version": found})
    else:
        click.echo(found)
