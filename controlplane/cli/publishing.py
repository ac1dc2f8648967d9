"""What a publication did, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli.target import Target


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
    if result["waiting"] and not target.is_json:
        out.note(f"next: controlplane release export --org {org} --out release.json")


def remarks(findings: Sequence[Mapping[str, Any]]) -> None:
    """What the linter said, for people."""
    for each in findings:
        place = f" {each['pack']}/{each['rule']}".rstrip("/") if each["pack"] else ""
        out.note(f"{each['level']} {each['code']}{place}: {each['message']}")
