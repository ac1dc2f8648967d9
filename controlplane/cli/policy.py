"""``policy lint|publish|terms|show``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli.publishing import published

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
            await plane.require_running()
        result = await plane.publisher.publish_policy(org, file.read_bytes())
        wanted = wait and not result.waiting
        return result, await waiting.wait_active(plane, org, result.number) if wanted else None

    result, waited = out.on_plane(state, output, work)
    published(result, org, output)
    if waited is not None:
        waiting.tell(waited)


@policy.command()
@out.org_option
@click.option("--caps", type=DOCUMENT, help="what online keys may hand out: a document of schema outpost.caps/1")
@click.option("--seal-after", metavar="SECONDS", help="age of a configuration at which outposts seal; or never")
@click.option("--on-revoked", type=click.Choice(["enforce", "seal"]), help="what an outpost does once it was revoked")
@click.option("--max-body-bytes", type=click.IntRange(1), help="largest chat body")
@out.state_option
@out.output_option
def terms(org: str, caps: Path | None, state: Path, output: str, **options: Any) -> None:
    """Sign and roll out other terms of the release; what is not named stays as it is."""

    async def work(plane: Any) -> Any:
        return await plane.publisher.publish_terms(org, _terms(options), _caps(caps, org))

    published(out.on_plane(state, output, work), org, output)


def _terms(options: dict[str, Any]) -> dict[str, object]:
    found = {name: options[name] for name in ("on_revoked", "max_body_bytes") if options[name] is not None}
    seal_after = options["seal_after"]
    if seal_after is not None:
        found["seal_after_seconds"] = int(seal_after) if seal_after.isdecimal() else None
    if seal_after is not None and not seal_after.isdecimal() and seal_after != "never":
        raise click.BadParameter("is a number of seconds, or never", param_hint="--seal-after")
    return found


def _caps(file: Path | None, org: str) -> Any:
    if file is None:
        return None
    from controlplane.cli.documents import canonical
    from outpost.core.bundle.caps import parse_caps

    return parse_caps(canonical(file, "see the schema: docs/bundles.md"), org, file.name)


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
