"""What every command shares: data on standard output, the rest on standard error, one exit code for each kind of
failure.
"""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from controlplane.cli.target import DEFAULT_STATE, OUTPUTS, Target

OK = 0
INTERNAL = 1
USAGE = 2
NOT_AUTHORISED = 3
NOT_FOUND = 4
REFUSED = 5
UNREACHABLE = 6
DEGRADED = 7
CONFIGURATION = 8
STATUS_UNKNOWN = 404
WAITING = 202  # status of an act that waits for a second person
ONE_LINE = "controlplane.one_line"  # in the context of a command: its document is to be one line
OPERATOR = "operator"  # controlplane.domain.orgs.OPERATOR, without importing it

EXIT_CODES = {
    401: NOT_AUTHORISED,
    403: NOT_AUTHORISED,
    404: NOT_FOUND,
    408: UNREACHABLE,
    429: UNREACHABLE,
    503: UNREACHABLE,
}
"""By status of the API; every other refusal is 5, and 500 is a fault of ours or of the settings."""

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
    """The options ``--output table|json|ndjson`` and ``--json``; the command sees table or json."""

    @functools.wraps(command)
    def called(*args: Any, as_json: bool, output: str, **options: Any) -> Any:
        click.get_current_context().meta[ONE_LINE] = output == "ndjson"
        return command(*args, output="json" if as_json or output == "ndjson" else output, **options)

    called = click.option("--json", "as_json", is_flag=True, help="the same as --output json")(called)
    return click.option(  # type: ignore[return-value]
        "--output",
        type=click.Choice(OUTPUTS),
        default="table",
        show_default=True,
        help="table for people, json or ndjson for programs",
    )(called)


def org_option(command: Command) -> Command:
    """The option ``--org ORG``."""
    return click.option("--org", required=True, help="org id")(command)


def space_option(command: Command) -> Command:
    """The options ``--org ORG`` and ``--operator``, one of which is named: where users, clients and acts are."""

    @functools.wraps(command)
    def called(*args: Any, org: str, operator: bool, **options: Any) -> Any:
        if bool(org) == operator:
            raise click.UsageError("name one of --org ORG and --operator")
        return command(*args, org=OPERATOR if operator else org, **options)

    called = click.option("--operator", is_flag=True, help="the operator's own, instead of an org's")(called)
    return click.option("--org", default="", help="org id")(called)  # type: ignore[return-value]


def exit_code_of(status: int, code: str) -> int:
    """The exit code of a refused operation (docs/controlplane.md)."""
    if status == 500:
        return INTERNAL if code == "internal" else CONFIGURATION
    return EXIT_CODES.get(status, REFUSED)


def is_typed(error: Exception) -> bool:
    """Whether an exception is one of ours, with cause and next step."""
    from certs.errors import TrustError
    from controlplane.domain.errors import ControlPlaneError
    from outpost.core.errors import OutpostError

    return isinstance(error, ControlPlaneError | TrustError | OutpostError)


def fail(error: Any, output: str) -> NoReturn:
    """Print cause and next step on standard error, and end with the matching code."""
    from controlplane.web.problem import fault_of, status_of

    code = exit_code_of(int(status_of(type(error))), error.code)
    fail_with({"fault": fault_of(error), **error.as_dict()}, code, output)


def fail_with(fields: dict[str, Any], code: int, output: str) -> NoReturn:
    """Print what is known of a failure, and end."""
    if output == "table":
        click.echo(f"error {fields['code']}: {plain(fields['message'])}", err=True)
        if fields["field"]:
            click.echo(f"  where: {plain(fields['field'])}", err=True)
        if fields["next"]:
            click.echo(f"  → {plain(fields['next'])}", err=True)
    else:
        click.echo(json.dumps({"schema": "outpost.error/1", "error": fields}, sort_keys=True), err=True)
    raise SystemExit(code)


def fail_os(error: OSError, output: str) -> NoReturn:
    """What the operating system refused, as a typed failure."""
    from controlplane.cli.failures import path_refused

    fail(path_refused(error), output)


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
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(work())
    except OSError as error:
        fail_os(error, output)
    except Exception as error:
        if not is_typed(error):
            raise
        fail(error, output)


def require_answer(*, yes: bool) -> None:
    """Refuse, before anything is looked up, what asks where nobody can answer."""
    import sys

    if not yes and not sys.stdin.isatty():
        raise click.UsageError("this asks first, and nobody can answer here: say --yes")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; where nobody can answer, it takes ``--yes``."""
    require_answer(yes=yes)
    if not yes:
        click.confirm(question, abort=True, err=True)


def show(target: Target, document: Mapping[str, Any], people: Callable[[], None], items: str = "") -> None:
    """The answer of a command, in the form that was asked for.

    Args:
        target: says which.
        document: JSON of the operation.
        people: prints it as a table or as lines.
        items: field whose entries are lines of their own in ndjson.
    """
    if target.output == "json":
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    elif target.output == "ndjson":
        for row in document[items] if items else [document]:
            click.echo(json.dumps(row, sort_keys=True))
    else:
        people()


def waits(target: Target, answer: Any, org: str) -> bool:
    """Tell of an act that waits for a second person.

    Returns:
        False when the act was done.
    """
    if answer.status != WAITING:
        return False
    document = answer.document
    show(target, document, lambda: click.echo(f"waiting for a second person: approval {document['id']}"))
    where = "--operator" if org == OPERATOR else f"--org {org}"
    note("nothing has happened yet: this takes two persons, and you are the first")
    note(f"next, as another person: controlplane approval approve {document['id']} {where}")
    return True


def emit_json(schema: str, document: dict[str, Any]) -> None:
    """One JSON document on standard output; on one line as ndjson."""
    context = click.get_current_context(silent=True)
    indent = None if context is not None and context.meta.get(ONE_LINE) else 2
    click.echo(json.dumps({"schema": schema, **document}, indent=indent, sort_keys=True))


def plain(line: str) -> str:
    """A line without characters that could make a terminal show something else, or show it as another line."""
    return "".join(each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in line)


def emit_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table on standard output."""
    cells = [[plain(str(cell)) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(headers), *cells]) for column in range(len(headers))]
    for row in [list(headers), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def emit_lines(facts: Mapping[str, Any]) -> None:
    """One name with its text a line, on standard output."""
    for label, text in lines_of({name: value for name, value in facts.items() if name != "schema"}):
        click.echo(f"{label:<32}{text}")


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
        name = prefix + plain(key)
        if isinstance(value, dict) and value:
            lines += lines_of(value, f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, start=1):
                lines += lines_of(item, f"{name}.{number}.")
        elif isinstance(value, list):
            lines.append((name, plain(" ".join(map(str, value))) or "-"))
        elif key.endswith(("_ms", "_s")):
            lines.append((name.rpartition("_")[0], moment(value if key.endswith("_ms") else value * 1000)))
        else:
            lines.append((name, "-" if value in (None, "", {}) else plain(str(value))))
    return lines
