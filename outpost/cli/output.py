"""What every command shares: data on standard output, the rest on standard error, one exit code per kind of failure."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click

from certs.errors import TrustError
from outpost.core.errors import Fault, OutpostError

OK = 0
INTERNAL = 1
USAGE = 2
NOT_AUTHORISED = 3
NOT_FOUND = 4
REFUSED = 5
UNREACHABLE = 6
DEGRADED = 7
CONFIGURATION = 8

_EXIT_BY_CODE_PREFIX: tuple[tuple[str, int], ...] = (
    ("settings.", CONFIGURATION),
    ("state.", CONFIGURATION),
    ("key_store.", CONFIGURATION),
    ("token.unreadable", CONFIGURATION),
    ("input.unreadable", CONFIGURATION),
    ("controlplane.unreachable", UNREACHABLE),
    ("admin.unreachable", UNREACHABLE),
    ("tls.unreachable", UNREACHABLE),
    ("token.", NOT_AUTHORISED),
    ("identity.", NOT_AUTHORISED),
    ("auth.", NOT_AUTHORISED),
    ("audit.key", CONFIGURATION),
    ("audit.unreadable", CONFIGURATION),
    ("store.not_found", NOT_FOUND),
)
_EXIT_BY_FAULT = {
    Fault.CALLER: REFUSED,
    Fault.PEER: UNREACHABLE,
    Fault.BUNDLE: REFUSED,
    Fault.STORE: INTERNAL,
    Fault.OURSELVES: INTERNAL,
}

Command = TypeVar("Command", bound=Callable[..., Any])


def output_option(command: Command) -> Command:
    """The option ``--output table|json``."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="table for people, json for programs",
    )(command)


def exit_code(error: OutpostError | TrustError) -> int:
    """The exit code of a failure (docs/cli.md)."""
    code = str(error.as_dict()["code"])
    for prefix, value in _EXIT_BY_CODE_PREFIX:
        if code.startswith(prefix):
            return value
    if isinstance(error, TrustError):
        return REFUSED
    return _EXIT_BY_FAULT[error.fault]


def fail(error: OutpostError | TrustError, output: str = "table") -> NoReturn:
    """Print cause and next step on standard error and end with the matching code."""
    fields = error.as_dict()
    if output == "json":
        click.echo(json.dumps({"schema": "outpost.error/1", "error": fields}, sort_keys=True), err=True)
    else:
        click.echo(f"error {fields['code']}: {fields['message']}", err=True)
        if fields.get("field"):
            click.echo(f"  where: {fields['field']}", err=True)
        if fields.get("next"):
            click.echo(f"  → {fields['next']}", err=True)
    sys.exit(exit_code(error))


def emit_json(document: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))


def emit_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table on standard output."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))]
    for row in [list(headers), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
