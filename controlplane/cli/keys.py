"""``key create|list|revoke``."""

import time
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.secret_file import reserved
from controlplane.cli.target import Target, target_options


@click.group()
def key() -> None:
    """Create, list and revoke client keys."""


@key.command()
@click.argument("name")
@out.org_option
@click.option("--user", default="", help="id of the user")
@click.option("--group", "groups", multiple=True, help="group of the user, for conditions of rules")
@click.option("--agent", default="", help="identity of an AI agent")
@click.option("--channel", type=click.Choice(["interactive", "api"]), default="api", show_default=True)
@click.option(
    "--data-class",
    type=click.Choice(["public", "internal", "confidential", "phi"]),
    default="internal",
    show_default=True,
)
@click.option("--model", "models", multiple=True, help="glob of models it may ask for  [default: all]")
@click.option("--expires-days", type=click.IntRange(1, 366), default=90, show_default=True)
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="write the key here, mode 0600, instead of showing it"
)
@target_options
def create(name: str, org: str, key_file: Path | None, target: Target, **options: Any) -> None:
    """Create a client key. It is shown once and stored nowhere; outposts get its hash.

    Example: controlplane key create alice --org acme --group staff --key-file alice.key
    """
    with reserved(key_file, target.output) as keep:
        made = dict(client.ask(target, "keys.create", {"org": org}, {"name": name, **options}).document)
        keep(made["key"] + "\n")
    if key_file:
        del made["key"]
    if target.is_json:
        out.show(target, made, lambda: None)
        return
    if key_file is None:
        click.echo(made["key"])
    until = out.moment(made["expires_s"] * 1000)
    out.note(f"key {name} ({made['id']}) of org {org}, until {until}; it is shown once")


@key.command("list")
@out.org_option
@target_options
def list_keys(org: str, target: Target) -> None:
    """List client keys.

    Example: controlplane key list --org acme
    """
    document = client.listed(target, "keys.list", "keys", {"org": org})
    now_s = time.time()
    rows = [
        (
            each["name"],
            each["id"],
            each["user"] or "-",
            ",".join(each["groups"]) or "-",
            out.moment(each["expires"] * 1000),
            "revoked" if each["revoked"] else "expired" if each["expires"] <= now_s else "live",
        )
        for each in document["keys"]
    ]
    headers = ("NAME", "ID", "USER", "GROUPS", "EXPIRES", "STATE")
    out.show(target, document, lambda: out.emit_table(headers, rows), "keys")


@key.command()
@click.argument("name")
@out.org_option
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def revoke(name: str, org: str, target: Target, *, yes: bool) -> None:
    """Revoke a client key by name or id; connected outposts refuse it within a second.

    Example: controlplane key revoke alice --org acme --yes
    """
    out.confirm(f"Revoke the key {name} of org {org} for ever?", yes=yes)
    revoked = client.ask(target, "keys.revoke", {"org": org, "key": name}).document
    text = f"key {revoked['name']} ({revoked['id']}) is revoked in configuration {revoked['revision']}"
    out.show(target, revoked, lambda: click.echo(text))
