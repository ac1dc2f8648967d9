"""Where a command works, and how it answers: options that every command has.

A command works on a state directory (``--state DIR``), or on the API of a running control plane (``--api URL`` with a
token or a session of ``controlplane login``). Options win over variables, and what was named explicitly wins over what
was not.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULT_STATE = ".controlplane"
SESSION_FILE = "session.json"
OUTPUTS = ("table", "json", "ndjson")


@dataclass(frozen=True, slots=True)
class Target:
    """One command's choices.

    Attributes:
        api: URL; empty for the state directory.
        token_file: access token; None takes the session of a login.
        ca_file: PEM roots that are believed; None takes the session's, else the system's.
        session: file of the login.
        output: table, json or ndjson.
    """

    state: Path
    api: str
    token_file: Path | None
    ca_file: Path | None
    session: Path
    output: str

    @property
    def is_json(self) -> bool:
        """Whether a program asks."""
        return self.output != "table"


def default_session() -> str:
    """Where a login is kept."""
    return str(Path(click.get_app_dir("controlplane")) / SESSION_FILE)


def target_options(command: Command) -> Command:
    """The options ``--state``, ``--api`` and what belongs to it, ``--output`` and ``--json``."""
    return _with_options(command, ("--token-file", "--api-token-file"))


def target_options_beside_token(command: Command) -> Command:
    """The same for a command that has a ``--token-file`` of its own: the access token is ``--api-token-file`` there."""
    return _with_options(command, ("--api-token-file",))


def _with_options(command: Command, token_names: tuple[str, ...]) -> Command:
    @functools.wraps(command)
    def called(*args: Any, **options: Any) -> Any:
        return command(*args, target=_target(options), **options)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--json", "as_json", is_flag=True, help="the same as --output json"),
        click.option(
            "--output",
            type=click.Choice(OUTPUTS),
            default="table",
            show_default=True,
            help="table for people, json or ndjson for programs",
        ),
        click.option("--session", type=path, default=default_session, envvar="CONTROLPLANE_SESSION", help="of a login"),
        click.option("--ca-file", type=path, envvar="CONTROLPLANE_CA_FILE", help="PEM roots of the API's chain"),
        click.option(
            *token_names, "access_token_file", type=path, envvar="CONTROLPLANE_TOKEN_FILE", help="access token"
        ),
        click.option("--api", envvar="CONTROLPLANE_API", default="", help="URL of the API of a running control plane"),
        click.option(
            "--state",
            type=path,
            default=DEFAULT_STATE,
            envvar="CONTROLPLANE_STATE",
            show_default=True,
            help="state directory",
        ),
    ):
        called = option(called)
    return called  # type: ignore[return-value]


def _target(options: dict[str, Any]) -> Target:
    state, api = options.pop("state"), options.pop("api")
    as_json, output = options.pop("as_json"), options.pop("output")
    context = click.get_current_context(silent=True)
    given = {
        name
        for name in ("state", "api")
        if context is not None and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if given == {"state", "api"}:
        raise click.UsageError("--state and --api exclude each other: name one")
    return Target(
        state=state,
        api="" if given == {"state"} else api.rstrip("/"),
        token_file=options.pop("access_token_file"),
        ca_file=options.pop("ca_file"),
        session=options.pop("session"),
        output="json" if as_json and output == "table" else output,
    )
