"""``policy lint|publish|show``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

DOCUMENT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Lint, publish and show policies."""


@policy.command()
@click.argument("file", type=DOCUMENT)
@out.output_option
def lint(file: Path, output: str) -> None:
    """Read, compile and lint a policy; exit code 5 when it has a certain mistake."""

    async def work() -> Any:
        from controlplane.services.configuration import judge_policy

        return judge_policy(file.read_bytes())

    document, findings = out.perform(work, output)
    if output == "json":
        out.emit_json("controlplane.lint/1", {"org": document.org, "findings": [asdict(each) for each in findings]})
    else:
        for each in findings:
            place = f" {each.pack}/{each.rule}".rstrip("/") if each.pack else ""
            click.echo(f"{each.level.value:<8}{each.code}{place}: {each.message}")
            out.note(f"        → {each.next_step}")
        click.echo(f"{len(document.packs)} packs, {len(findings)} remarks")
    if any(each.level.value == "error" for each in findings):
        raise SystemExit(out.REFUSED)


@policy.command()
@click.argument("file", type=DOCUMENT)
@out.org_option
@click.option(
    "--wait", is_flag=True, help="until every connected outpost has it active, at most 30 s; 7 when one has not"
)
@out.state_option
@out.output_option
def publish(file: Path, org: str, state: Path, output: str, *, wait: bool) -> None:
    """Lint, sign and roll out a policy; connected outposts get it offered within a second."""
    from controlplane.cli import waiting

    async def work(plane: Any) -> Any:
        if wait:
            plane.require_running()
        result = await plane.publisher.publish_policy(org, file.read_bytes())
        return result, await waiting.wait_active(plane, org, result.number) if wait else None

    result, waited = out.on_plane(state, output, work)
    published(result, org, output)
    if waited is not None:
        waiting.tell(waited)


@policy.command()
@out.org_option
@out.state_option
@out.output_option
def show(org: str, state: Path, output: str) -> None:
    """Print the policy in force, as it was signed."""
    import json

    async def work(plane: Any) -> Any:
        return await plane.publisher.policy(org)

    text = out.on_plane(state, output, work).decode()
    if output == "json":
        out.emit_json("controlplane.policy/1", {"org": org, "policy": json.loads(text)})
    else:
        click.echo(text)


def published(result: Any, org: str, output: str) -> None:
    """Say what a publication did."""
    for each in result.findings:
        place = f" {each.pack}/{each.rule}".rstrip("/") if each.pack else ""
        out.note(f"{each.level.value} {each.code}{place}: {each.message}")
    if output == "json":
        facts = {"org": org, "revision": result.revision, "changed": result.changed, "set": result.number}
        out.emit_json("controlplane.publication/1", facts)
    elif result.changed:
        click.echo(f"configuration {result.revision} of org {org} is signed")
    else:
        click.echo(f"configuration {result.revision} of org {org} says this already; nothing was signed")
