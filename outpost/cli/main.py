"""The command line. Heavy modules are imported inside commands: `outpost status` answers in well under a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from outpost.cli import output
from outpost.core.errors import OutpostError


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for."""

    def __init__(self, *args: Any, lazy: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, without the hidden one."""
        return sorted(name for name in self._lazy if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in self._lazy:
            return None
        import importlib

        module, _, attribute = self._lazy[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


COMMANDS = {
    "enroll": "outpost.cli.enroll:enroll",
    "airgap": "outpost.cli.airgap:airgap",
    "run": "outpost.cli.run:run_command",
    "_child": "outpost.cli.run:child",
    "status": "outpost.cli.status:status",
    "health": "outpost.cli.status:health",
    "doctor": "outpost.cli.doctor:doctor",
    "verify-audit": "outpost.cli.verify_audit:verify_audit",
    "bundle": "outpost.cli.bundle:bundle",
    "policy": "outpost.cli.policy:policy",
    "config": "outpost.cli.config:config",
    "simulate-provider": "outpost.cli.simulate:simulate_provider",
    "demo": "outpost.cli.demo:demo",
    "version": "outpost.cli.config:version",
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A gateway in your network between your programs and language models.

    It inspects every prompt and every answer, decides by policy, and keeps a log that nobody can quietly rewrite.

    \b
    First steps:
      outpost demo                            see it work, everything on this machine
      outpost enroll --token-file TOKEN       join a control plane
      outpost run                             serve clients on 127.0.0.1:8300
      outpost doctor                          find out what is wrong, and the next command
    """  # noqa: D301 - \b is for click


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command on a state folder takes."""
    command = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="settings file [default: outpost.toml]"
    )(command)
    return click.option("--state", type=click.Path(path_type=Path), help="state folder [default: .outpost]")(command)


def run() -> None:
    """Run; failures become one message and an exit code, never a traceback."""
    from certs.errors import TrustError

    try:
        cli(standalone_mode=True)
    except (OutpostError, TrustError) as error:
        output.fail(error, "json" if "json" in _wanted_output() else "table")


def _wanted_output() -> str:
    import sys

    arguments = sys.argv[1:]
    if "--output=json" in arguments:
        return "json"
    return arguments[arguments.index("--output") + 1] if "--output" in arguments[:-1] else "table"
