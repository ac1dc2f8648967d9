"""What a publication did, in words."""

from typing import Any

import click

from controlplane.cli import output as out


def published(result: Any, org: str, output: str) -> None:
    """Say what a publication did, or for whom it waits."""
    for each in result.findings:
        place = f" {each.pack}/{each.rule}".rstrip("/") if each.pack else ""
        out.note(f"{each.level.value} {each.code}{place}: {each.message}")
    if output == "json":
        facts = {"org": org, "revision": result.revision, "changed": result.changed, "set": result.number}
        out.emit_json("controlplane.publication/1", facts | {"waiting": result.waiting})
    elif result.waiting:
        click.echo(f"kept as a draft: keys of org {org} that are elsewhere must sign; {result.revision} stays in force")
        out.note(f"next: controlplane release export --org {org} --out release.json")
    elif result.changed:
        click.echo(f"configuration {result.revision} of org {org} is signed")
    else:
        click.echo(f"configuration {result.revision} of org {org} says this already; nothing was signed")
