"""``policy lint|publish|show``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options

DOCUMENT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def policy() -> None:
    """Lint, publish and show policies."""


@policy.command()
@click.argument("file", type=DOCUMENT)
@out.output_option
def lint(file: Path, output: str) -> None:
    """Read, compile and lint a policy; exit code 5 when it has a certain mistake. Needs no control plane.

    Example: controlplane policy lint policy.yaml
    """

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
@target_options
def publish(file: Path, org: str, target: Target, *, wait: bool) -> None:
    """Lint, sign and roll out a policy; connected outposts get it offered within a second. In an org with the
    two-person rule it waits until another person approves it.

    Example: controlplane policy publish policy.yaml --org acme --wait
    """
    from controlplane.cli import waiting

    async def work(api: client.Api) -> Any:
        if wait:
            await waiting.require_running(api, target)
        answer = await api.ask("policy.publish", {"org": org}, {"document": _text(file)})
        waits = wait and answer.status != out.WAITING
        return answer, await waiting.wait_active(api, org, answer.document["set"]) if waits else None

    answer, waited = client.run(target, work)
    published(answer, org, target)
    if waited is not None:
        waiting.tell(waited)


@policy.command()
@out.org_option
@target_options
def show(org: str, target: Target) -> None:
    """Print the policy in force, as it was signed.

    Example: controlplane policy show --org acme
    """
    document = client.ask(target, "policy.show", {"org": org}).document

    def text() -> None:
        from outpost.core.bundle.canonical import encode

        click.echo(encode(document["policy"]).decode())

    out.show(target, document, text)


def _text(file: Path) -> str:
    """The text of a policy document. Raises BundleError: it is no text."""
    raw = file.read_bytes()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        from outpost.core.policy.document import parse_document

        parse_document(raw)  # says what is wrong with it, and where
        raise


def published(answer: Any, org: str, target: Target) -> None:
    """Say what a publication did, or that it waits for a second person."""
    if out.waits(target, answer, org):
        return
    result = answer.document
    remarks(result["findings"])
    state = "is signed" if result["changed"] else "says this already; nothing was signed"
    out.show(target, result, lambda: click.echo(f"configuration {result['revision']} of org {org} {state}"))


def remarks(findings: Sequence[Mapping[str, Any]]) -> None:
    """What the linter said, for people."""
    for each in findings:
        place = f" {each['pack']}/{each['rule']}".rstrip("/") if each["pack"] else ""
        out.note(f"{each['level']} {each['code']}{place}: {each['message']}")
