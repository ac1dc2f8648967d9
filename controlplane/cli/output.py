"""What every command shares: data on standard output, the rest on standard error, one exit code for each kind of
failure.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

OK = 0
INTERNAL = 1
USAGE = 2
NOT_AUTHORISED = 3
NOT_FOUND = 4
REFUSED = 5
UNREACHABLE = 6
DEGRADED = 7
CONFIGURATION = 8

DEFAULT_STATE = ".controlplane"
Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")


def state_option(command: Command) -> Command:
    """The option ``--state DIR``."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path),
        default=DEFAULT_STATE,
        envvar="CONTROLPLANE_STATE",
        show_default=True,
        help="state directory",
    )(command)


def output_option(command: Command) -> Command:
    """The option ``--output table|json``."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="table for people, json for programs",
    )(command)


def org_option(command: Command) -> Command:
    """The option ``--org ORG``."""
    return click.option("--org", required=True, help="org id")(command)


def exit_code(error: Exception) -> int:
    """The exit code of a failure (docs/controlplane.md)."""
    from certs.errors import KeyStoreError, TrustError
    from controlplane.domain import errors
    from outpost.core.errors import Fault, OutpostError

    families: tuple[tuple[type[Exception], int], ...] = (
        (errors.InputError, REFUSED),
        (errors.RefusedError, NOT_AUTHORISED),
        (errors.NotFoundError, NOT_FOUND),
        (errors.ConflictError, REFUSED),
        (errors.ThrottledError, UNREACHABLE),
        (errors.StateError, UNREACHABLE),
        (errors.ConfigurationError, CONFIGURATION),
        (KeyStoreError, CONFIGURATION),
        (TrustError, REFUSED),
    )
    for family, code in families:
        if isinstance(error, family):
            return code
    if isinstance(error, OutpostError):
        return REFUSED if error.fault in {Fault.CALLER, Fault.BUNDLE} else INTERNAL
    return INTERNAL


def fault(error: Exception) -> str:
    """Whose fault a failure is, in the words of ``outpost.core.errors.Fault``."""
    from certs.errors import KeyStoreError
    from controlplane.domain import errors
    from outpost.core.errors import Fault

    if isinstance(error, errors.StateError | KeyStoreError):
        return Fault.STORE.value
    return Fault.OURSELVES.value if type(error) is errors.ControlPlaneError else Fault.CALLER.value


def fail(error: Any, output: str) -> NoReturn:
    """Print cause and next step on standard error, and end with the matching code."""
    fields = {"fault": fault(error), **error.as_dict()}
    if output == "json":
        click.echo(json.dumps({"schema": "outpost.error/1", "error": fields}, sort_keys=True), err=True)
    else:
        click.echo(f"error {fields['code']}: {fields['message']}", err=True)
        if fields["field"]:
            click.echo(f"  where: {fields['field']}", err=True)
        if fields["next"]:
            click.echo(f"  → {fields['next']}", err=True)
    raise SystemExit(exit_code(error))


def fast_loop() -> asyncio.AbstractEventLoop:
    """The event loop of a server: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def perform(
    work: Callable[[], Coroutine[Any, Any, Result]],
    output: str = "table",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Result:
    """Run a coroutine; typed errors become one message and an exit code, never a traceback."""
    from certs.errors import TrustError
    from controlplane.domain.errors import ControlPlaneError
    from outpost.core.errors import OutpostError

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(work())
    except (ControlPlaneError, TrustError, OutpostError) as error:
        fail(error, output)
    except OSError as error:
        from controlplane.cli.failures import path_refused

        fail(path_refused(error), output)


def on_plane(state: Path, output: str, work: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
    """Run ``work(plane)`` on the control plane of a state directory."""

    async def opened() -> Result:
        from controlplane.bootstrap.plane import opened as open_plane

        async with open_plane(state) as plane:
            return await work(plane)

    return perform(opened, output)


def emit_json(schema: str, document: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps({"schema": schema, **document}, indent=2, sort_keys=True))


def emit_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table on standard output."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))]
    for row in [list(headers), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """A remark for people, on standard error."""
    click.echo(text, err=True)


def moment(milliseconds: int) -> str:
    """A time for people: UTC, to the second; a dash for never."""
    from datetime import UTC, datetime

    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lines_of(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Names with texts for people: what is nested gets dotted names, times are UTC, nothing is a dash."""
    lines: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = prefix + key
        if isinstance(value, dict) and value:
            lines += lines_of(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, start=1):
                lines += lines_of(item, f"{name}.{number}.")
        elif isinstance(value, list):
            lines.append((name, " ".join(map(str, value)) or "-"))
        elif key.endswith(("_ms", "_s")):
            lines.append((name.rpartition("_")[0], moment(value if key.endswith("_ms") else value * 1000)))
        else:
            lines.append((name, "-" if value in (None, "", {}) else str(value)))
    return lines
