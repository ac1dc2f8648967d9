"""``route set|publish|show|kill``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.documents import object_in
from controlplane.cli.policy import DOCUMENT
from controlplane.cli.publishing import published, roll_options
from controlplane.cli.target import Target, target_options

FIELDS = frozenset({"schema", "org", "edition", "providers"})  # which edition it becomes is not for the author to say


@click.group()
def route() -> None:
    """Set, show and switch off providers."""


@route.command("set")
@click.argument("name")
@out.org_option
@click.option("--url", required=True, help="base URL, with its /v1")
@click.option("--key-secret", default="provider", show_default=True, help="name of the outpost's local secret")
@click.option("--model", "models", multiple=True, default=("*",), show_default=True, help="glob of models it serves")
@click.option("--connect-timeout-ms", type=int, default=5_000, show_default=True)
@click.option("--read-timeout-ms", type=int, default=60_000, show_default=True)
@roll_options
@target_options
def set_route(name: str, org: str, target: Target, *, roll: dict[str, str], **options: Any) -> None:
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
    published(client.ask(target, "routes.set", {"org": org, "provider": name, **roll}, body), org, target)


@route.command()
@click.argument("file", type=DOCUMENT)
@out.org_option
@roll_options
@target_options
def publish(file: Path, org: str, target: Target, *, roll: dict[str, str]) -> None:
    """Sign and roll out a whole list of providers: a document of schema outpost.routes/1.

    Example: controlplane route publish routes.json --org acme
    """

    async def work(api: client.Api) -> Any:
        return await api.ask("routes.publish", {"org": org, **roll}, {"providers": _providers(file, org)})

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


@route.command()
@click.argument("providers", nargs=-1)
@click.option("--model", "models", multiple=True, help="glob of models to switch off, whoever serves them")
@out.org_option
@target_options
def kill(providers: tuple[str, ...], models: tuple[str, ...], org: str, target: Target) -> None:
    """Switch PROVIDERS or models off at once: one online signature, in force within a second.

    They stay off until other routes are signed, or the same ones again: controlplane route publish FILE

    Example: controlplane route kill openai --org acme
    """
    if not providers and not models:
        raise click.UsageError("name a provider, or --model GLOB")
    killed = {"providers": providers, "models": models}
    published(client.ask(target, "routes.kill", {"org": org}, killed), org, target)


def _providers(file: Path, org: str) -> Any:
    """Providers of a document that a person wrote, unchecked but for what it is and whose. Raises InputError."""
    from controlplane.domain.errors import InputError

    start = "start from: controlplane route show --org ORG --output json"
    value = object_in(file, start)
    if not isinstance(value.get("providers"), list):
        raise InputError("the file has no list of providers", field=file.name, next_step=start)
    if value.get("org", org) != org or set(value) - FIELDS:
        raise InputError(
            f"the file is for another org, or has a field that is none of {', '.join(sorted(FIELDS))}",
            field=file.name,
            next_step=f"set org to {org}, and leave only these fields",
        )
    return value["providers"]
