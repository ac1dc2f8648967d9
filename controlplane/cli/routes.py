"""``route set|publish|show``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.cli.policy import DOCUMENT
from controlplane.cli.publishing import published


@click.group()
def route() -> None:
    """Set and show providers."""


@route.command("set")
@click.argument("name")
@out.org_option
@click.option("--url", required=True, help="base URL, with its /v1")
@click.option("--key-secret", default="provider", show_default=True, help="name of the outpost's local secret")
@click.option("--model", "models", multiple=True, default=("*",), show_default=True, help="glob of models it serves")
@click.option("--connect-timeout-ms", type=int, default=5_000, show_default=True)
@click.option("--read-timeout-ms", type=int, default=60_000, show_default=True)
@out.state_option
@out.output_option
def set_route(name: str, org: str, state: Path, output: str, **options: Any) -> None:
    """Add a provider, or replace the one of this name; the first provider with a matching model wins."""

    async def work(plane: Any) -> Any:
        from outpost.core.bundle.documents import Provider

        new = Provider(
            name=name,
            kind="openai",
            base_url=options["url"],
            key_secret=options["key_secret"],
            models=tuple(options["models"]),
            connect_timeout_ms=options["connect_timeout_ms"],
            read_timeout_ms=options["read_timeout_ms"],
        )
        present = await plane.publisher.providers(org)
        kept = [new if each.name == name else each for each in present]
        return await plane.publisher.publish_routes(org, kept if new in kept else [*kept, new])

    published(out.on_plane(state, output, work), org, output)


@route.command()
@click.argument("file", type=DOCUMENT)
@out.org_option
@out.state_option
@out.output_option
def publish(file: Path, org: str, state: Path, output: str) -> None:
    """Sign and roll out a whole list of providers: a document of schema outpost.routes/1."""

    async def work(plane: Any) -> Any:
        from controlplane.cli.documents import canonical
        from outpost.core.bundle.documents import parse_routes

        # Which edition it becomes is not for the author to say.
        data = canonical(file, "start from: controlplane route show --org ORG --output json", edition=1)
        return await plane.publisher.publish_routes(org, parse_routes(data, org, file.name).providers)

    published(out.on_plane(state, output, work), org, output)


@route.command()
@out.org_option
@out.state_option
@out.output_option
def show(org: str, state: Path, output: str) -> None:
    """Show the providers in force, in order of preference."""

    async def work(plane: Any) -> Any:
        return await plane.publisher.providers(org)

    providers = out.on_plane(state, output, work)
    if output == "json":
        out.emit_json("controlplane.routes/1", {"org": org, "providers": [asdict(each) for each in providers]})
        return
    rows = [(each.name, each.kind, each.base_url, each.key_secret, " ".join(each.models)) for each in providers]
    out.emit_table(("NAME", "KIND", "URL", "SECRET", "MODELS"), rows)


@route.command()
@click.argument("providers", nargs=-1)
@click.option("--model", "models", multiple=True, help="glob of models to switch off, whoever serves them")
@out.org_option
@out.state_option
@out.output_option
def kill(providers: tuple[str, ...], models: tuple[str, ...], org: str, state: Path, output: str) -> None:
    """Switch PROVIDERS or models off at once: one online signature, in force within a second.

    They stay off until other routes are signed, or the same ones again: controlplane route publish FILE
    """
    if not providers and not models:
        raise click.UsageError("name a provider, or --model GLOB")

    async def work(plane: Any) -> Any:
        return await plane.publisher.kill(org, providers, models)

    published(out.on_plane(state, output, work), org, output)
