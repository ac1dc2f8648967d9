"""How a release rolls out, as options; and what a publication did, in words."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from controlplane.cli import output as out
from controlplane.cli.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])


def roll_options(command: Command) -> Command:
    """The options ``--at-once`` and ``--supersede``; the command gets them as parameters of the API, ``roll``."""

    @functools.wraps(command)
    def called(*args: Any, at_once: bool, supersede: bool, **options: Any) -> Any:
        chosen = {"at_once": at_once, "supersede": supersede}
        roll = {name: "true" for name, wanted in chosen.items() if wanted}
        return command(*args, roll=roll, **options)

    called = click.option("--supersede", is_flag=True, help="in the place of a release that is on its way")(called)
    return click.option(  # type: ignore[return-value]
        "--at-once", is_flag=True, help="everybody in one stage, instead of one outpost in twenty first"
    )(called)


def published(answer: Any, org: str, target: Target) -> None:
    """Say what a publication did, or for whom it waits: a second person, or holders of keys."""
    if not out.waits(target, answer, org):
        tell(answer.document, org, target)


def tell(result: Mapping[str, Any], org: str, target: Target) -> None:
    """Say what a publication did."""
    remarks(result["findings"])
    revision = result["revision"]
    if result["waiting"]:
        said = f"kept as a draft: keys of org {org} that are elsewhere must sign; {revision} stays in force"
    else:
        state = "is signed" if result["changed"] else "says this already; nothing was signed"
        said = f"configuration {revision} of org {org} {state}"
    out.show(target, result, lambda: click.echo(said))
    if result.get("plan") and not result["waiting"] and not target.is_json:
        out.note(
            f"{result['plan']} rolls out at {result['stage']} %: controlplane release show {result['plan']} --org {org}"
        )
    if result["waiting"] and not target.is_json:
        out.note(f"next: controlplane release export --org {org} --out release.json")


def remarks(findings: Sequence[Mapping[str, Any]]) -> None:
    """What the linter said, for people."""
    for each in findings:
        place = f" {each['pack']}/{each['rule']}".rstrip("/") if each["pack"] else ""
        out.note(f"{each['level']} {each['code']}{place}: {each['message']}")
