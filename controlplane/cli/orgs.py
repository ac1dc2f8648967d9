"""``org create|list|show|quota|two-person``."""

from collections.abc import Mapping
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options


@click.group()
def org() -> None:
    """Create, list and show orgs."""


@org.command()
@click.argument("name")
@click.option("--owner", "owners", multiple=True, help="name of a first owner; two of them can approve for each other")
@click.option("--single-person", is_flag=True, help="no act takes two persons, for a first hour or one person alone")
@click.option("--provider-url", "urls", multiple=True, help="base URL of an OpenAI-compatible provider, with its /v1")
@click.option("--provider-key-secret", default="provider", show_default=True, help="name of the outpost's local secret")
@click.option("--model", "models", multiple=True, default=("*",), show_default=True, help="glob of models it serves")
@target_options
def create(name: str, urls: tuple[str, ...], target: Target, **options: Any) -> None:
    """Create an org with its signing keys and a first configuration that blocks cards and secrets and redacts
    personal data.

    Example: controlplane org create acme --owner alice --owner bob --provider-url https://api.openai.com/v1
    """
    body = {
        "org": name,
        "provider_urls": urls,
        "provider_key_secret": options["provider_key_secret"],
        "models": options["models"],
        "owners": options["owners"],
        "two_person": not options["single_person"],
    }
    made = client.ask(target, "orgs.create", body=body).document
    out.show(target, made, lambda: _created(made))
    if target.is_json:
        return
    if not urls:
        out.note(f"it has no provider yet: controlplane route set default --org {name} --url URL")
    if made["two_person"] and not made["owners"]:
        out.note(
            f"nobody can approve yet; twice, for two people: controlplane user create NAME --org {name} --role owner"
        )
    if made["two_person"]:
        out.note("policies and routes take two persons: one asks, another approves (--single-person leaves that out)")
    out.note(f"next: controlplane outpost register NAME --org {name}")


@org.command("list")
@target_options
def list_orgs(target: Target) -> None:
    """List orgs.

    Example: controlplane org list --output json
    """
    document = client.listed(target, "orgs.list", "orgs")

    def table() -> None:
        rows = [
            (each["id"], out.moment(each["created_ms"]), "yes" if each["ready"] else "no") for each in document["orgs"]
        ]
        out.emit_table(("ORG", "CREATED", "READY"), rows)

    out.show(target, document, table, "orgs")


@org.command()
@click.argument("name")
@target_options
def show(name: str, target: Target) -> None:
    """Show an org: its rule, how many users and clients it has, how many acts wait for a second person.

    Example: controlplane org show acme
    """
    document = client.ask(target, "orgs.show", {"org": name}).document
    out.show(target, document, lambda: out.emit_lines(document))


@org.command()
@click.argument("name")
@click.option("--outposts", type=int, help="registered outposts that are not revoked")
@click.option("--certificates-per-day", type=int, help="issued for one outpost within 24 hours")
@click.option("--connects-per-second", type=int, help="streams that its outposts open")
@click.option("--stored-releases", type=int, help="signed sets that are kept")
@target_options
def quota(name: str, target: Target, **options: int | None) -> None:
    """Show the quotas of an org, or set some; what is not named stays as it is.

    Example: controlplane org quota acme --outposts 500
    """
    wanted = {key: value for key, value in options.items() if value is not None}

    def changed(before: Mapping[str, Any]) -> dict[str, Any]:
        return {key: wanted.get(key, before[key]) for key in options}

    async def work(api: client.Api) -> Any:
        if wanted:
            return await api.replace("orgs.set_quota", {"org": name}, changed, "orgs.read_quota")
        try:
            return await api.ask("orgs.quota", {"org": name})
        except client.RefusedAnswer as refused:
            if refused.status != out.STATUS_UNKNOWN:
                raise
            return await api.ask("orgs.read_quota", {"org": name})  # the operator is nobody in the org itself

    document = client.run(target, work).document
    out.show(target, document, lambda: out.emit_lines(document))


@org.command("two-person")
@click.argument("name")
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def two_person(name: str, switch: str, target: Target, *, yes: bool) -> None:
    """Switch the two-person rule of an org (or of the operator: name it operator). Off takes two persons itself.

    Example: controlplane org two-person acme on
    """
    if switch == "off":
        out.confirm(f"Let one person alone publish policies of {name}?", yes=yes)
    answer = client.ask(target, "orgs.set_two_person", {"org": name}, {"on": switch == "on"})
    if not out.waits(target, answer, name):
        out.show(target, answer.document, lambda: click.echo(f"the two-person rule of {name} is {switch}"))


def _created(made: Mapping[str, Any]) -> None:
    click.echo(f"org {made['org']} created, configuration {made['revision']} signed")
    for owner in made["owners"]:
        invitation(owner, made["org"])


def invitation(made: Mapping[str, Any], org: str) -> None:
    """A one-time sign-in code, for people."""
    click.echo(f"{made['user']}  {made['code']}")
    out.note(f"sign-in code of {made['user']}, once, until {out.moment(made['expires_ms'])}; with it:")
    out.note(f"  controlplane activate --api URL --user {made['user']}@{org}")
