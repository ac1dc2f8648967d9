"""`outpost run`: serve clients."""

import asyncio
from pathlib import Path
from typing import Any

import click

from outpost import settings
from outpost.cli.main import settings_options


@click.command("run")
@settings_options
@click.option("--host", help="address of the listener [default: 127.0.0.1]")
@click.option("--port", type=int, help="port of the listener [default: 8300]")
@click.option("--metrics-port", type=int, help="port of metrics and health [default: 9091]")
@click.option("--workers", type=int, help="gateway processes; 0 = everything in one process [default: 1]")
def run_command(state: Path | None, config_file: Path | None, **options: Any) -> None:
    """Serve clients until SIGTERM. Example: outpost run --state .outpost

    Prints one JSON line on standard output when the listeners are up.
    """
    from outpost import entry

    asyncio.run(entry.run(settings.load(config_file, {"state": state, **options})))


@click.command("_child", hidden=True)
@click.argument("role", type=click.Choice(["worker", "ledger", "agent"]))
@click.argument("index", type=int)
@click.argument("socket", type=click.Path(path_type=Path))
def child(role: str, index: int, socket: Path) -> None:
    """One process of a running outpost; started by the supervisor."""
    from outpost.bootstrap import children

    asyncio.run(children.run(role, index, socket))
