"""``route set|publish|show``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.policy import DOCUMENT, published
from controlplane.cli.target import Target, target_options

SCHEMA = "outpost.routes/1"


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
@target_options
def set_route(name: str, org: str, target: Target, **options: Any) -> None:
    """Add a provider, or replace the one of this name; the first provider with a matching model wins. In an org with
    the two-person rule it waits until another person approves it.

    Example: controlplane route set default --org acme --url https://api.openai.com/v1
    """
    body = {
        "kind": "openai",
        "base_url": options["url"],
        "key_secret": options["key_secret"],
        "models": options["models"],
        "connect_timeout_ms": options["connect_timeout_ms"],
        "read_timeout_ms": options["read_timeout_ms"],
    }
    published(client.ask(target, "routes.set", {"org": org, "provider": name}, body), org, target)


@route.command()
@click.argument("file", type=DOCUMENT)
@out.org_option
@target_options
def publish(file: Path, org: str, target: Target) -> None:
    """Sign and roll out a whole list of providers: a document of schema outpost.routes/1.

    Example: controlplane route publish routes.json --org acme
    """

    async def work(api: client.Api) -> Any:
        return await api.ask("routes.publish", {"org": org}, {"providers": _providers(file, org)})

    published(client.run(target, work), org, target)


@route.command()
@out.org_option
@target_options
def show(org: str, target: Target) -> None:
    """Show the providers in force, in order of preference.

    Example: controlplane route show --org acme
    """
    document = client.ask(target, "routes.show", {"org": org}).document
    rows = [
        (each["name"], each["kind"], each["base_url"], each["key_secret"], " ".join(each["models"]))
        for each in document["providers"]
    ]
    headers = ("NAME", "KIND", "URL", "SECRET", "MODELS")
    out.show(target, document, lambda: out.emit_table(headers, rows), "providers")


def _providers(file: Path, org: str) -> Any:
    """Providers of a document that a person wrote, unchecked but for what it is and whose. Raises InputError."""
    import json

    from controlplane.domain.errors import InputError

    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("providers"), list):
        raise InputError(
            "the file is not a JSON object with providers",
            field=file.name,
            next_step="start from: controlplane route show --org ORG --output json",
        )
    if value.get("org", org) != org or set(value) - {"schema", "org", "providers"}:
        raise InputError(
            "the file is for another org, or has a field that is none of schema, org and providers",
            field=file.name,
            next_step=f"set org to {org}, and leave only these fields",
        )
    return value["providers"]
