"""``policy lint|publish|terms|show``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.documents import object_in
from controlplane.cli.publishing import published, roll_options
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
@roll_options
@target_options
def publish(file: Path, org: str, target: Target, *, wait: bool, roll: dict[str, str]) -> None:
    """Lint, sign and roll out a policy: first to one outpost in twenty, then to a quarter, then to all, and back at
    once when it does harm. In an org with the two-person rule it waits until another person approves it.

    Example: controlplane policy publish policy.yaml --org acme --wait
    """
    from controlplane.cli import waiting

    async def work(api: client.Api) -> Any:
        if wait:
            await waiting.require_running(api, target)
        answer = await api.ask("policy.publish", {"org": org, **roll}, {"document": _text(file)})
        waits = wait and answer.status != out.WAITING and not answer.document["waiting"]
        return answer, await waiting.wait_active(api, org, answer.document["set"]) if waits else None

    answer, waited = client.run(target, work)
    published(answer, org, target)
    if waited is not None:
        waiting.tell(waited)


@policy.command()
@out.org_option
@click.option("--caps", type=DOCUMENT, help="what online keys may hand out: a document of schema outpost.caps/1")
@click.option("--seal-after", metavar="SECONDS", help="age of a configuration at which outposts seal; or never")
@click.option("--on-revoked", type=click.Choice(["enforce", "seal"]), help="what an outpost does once it was revoked")
@click.option("--max-body-bytes", type=click.IntRange(1), help="largest chat body")
@click.option("--self-tests", type=DOCUMENT, help='{"self_tests": [{"text": ..., "entity_type": ...}]}')
@roll_options
@target_options
def terms(org: str, caps: Path | None, target: Target, *, roll: dict[str, str], **options: Any) -> None:
    """Sign and roll out other terms of the release; what is not named stays as it is. In an org with the two-person
    rule it waits until another person approves it.

    Example: controlplane policy terms --org acme --seal-after never --on-revoked seal
    """
    changed = _terms(options)

    async def work(api: client.Api) -> Any:
        named = changed if caps is None else {**changed, "caps": object_in(caps, "see the schema: docs/bundles.md")}
        if options["self_tests"] is not None:
            named = {**named, **object_in(options["self_tests"], "see docs/controlplane.md")}
        return await api.ask("policy.terms", {"org": org, **roll}, named)

    published(client.run(target, work), org, target)


def _terms(options: dict[str, Any]) -> dict[str, object]:
    found = {name: options[name] for name in ("on_revoked", "max_body_bytes") if options[name] is not None}
    seal_after = options["seal_after"]
    if seal_after is not None:
        found["seal_after_seconds"] = int(seal_after) if seal_after.isdecimal() else seal_after
    if seal_after is not None and not seal_after.isdecimal() and seal_after != "never":
        raise click.BadParameter("is a number of seconds, or never", param_hint="--seal-after")
    return found


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
