"""``org create|list``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out


@click.group()
def org() -> None:
    """Create and list orgs."""


@org.command()
@click.argument("name")
@click.option("--provider-url", "urls", multiple=True, help="base URL of an OpenAI-compatible provider, with its /v1")
@click.option("--provider-key-secret", default="provider", show_default=True, help="name of the outpost's local secret")
@click.option("--model", "models", multiple=True, default=("*",), show_default=True, help="glob of models it serves")
@out.state_option
@out.output_option
def create(name: str, urls: tuple[str, ...], state: Path, output: str, **options: Any) -> None:
    """Create an org with its signing keys and a first configuration that blocks cards and secrets and redacts
    personal data.
    """

    async def work(plane: Any) -> Any:
        from dataclasses import replace

        from controlplane.services.defaults import default_provider

        made = [default_provider(url, options["provider_key_secret"], options["models"]) for url in urls]
        named = (
            [made[0], *(replace(each, name=f"provider-{at}") for at, each in enumerate(made[1:], start=2))]
            if made
            else []
        )
        return await plane.publisher.create(name, named)

    published = out.on_plane(state, output, work)
    if output == "json":
        out.emit_json("controlplane.org/1", {"org": name, "revision": published.revision})
        return
    click.echo(f"org {name} created, configuration {published.revision} signed")
    if not urls:
        out.note(f"it has no provider yet: controlplane route set default --org {name} --url URL")
    out.note(f"next: controlplane outpost register NAME --org {name}")


@org.command("list")
@out.state_option
@out.output_option
def list_orgs(state: Path, output: str) -> None:
    """List orgs."""

    async def work(plane: Any) -> Any:
        return await plane.store.orgs()

    orgs = out.on_plane(state, output, work)
    if output == "json":
        rows = [{"id": each.id, "created_ms": each.created_ms, "ready": each.ready} for each in orgs]
        out.emit_json("controlplane.orgs/1", {"orgs": rows})
    else:
        out.emit_table(
            ("ORG", "CREATED", "READY"),
            [(each.id, out.moment(each.created_ms), "yes" if each.ready else "no") for each in orgs],
        )
