"""``client create|list|rotate|revoke``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client as api
from controlplane.cli import output as out
from controlplane.cli.secret_file import reserved
from controlplane.cli.target import Target, target_options
from controlplane.cli.users import ROLES

SECRET_FILE = click.Path(path_type=Path)


@click.group()
def client() -> None:
    """Make, list, rotate and revoke machine clients."""


@client.command()
@click.argument("name")
@out.space_option
@click.option("--role", type=ROLES, required=True)
@click.option("--scope", "scopes", multiple=True, help="verb that tokens may be asked for  [default: all of the role]")
@click.option("--expires-days", type=click.IntRange(1, 366), default=90, show_default=True)
@click.option("--secret-file", type=SECRET_FILE, help="write the secret here, mode 0600, instead of showing it")
@target_options
def create(name: str, org: str, secret_file: Path | None, target: Target, **options: Any) -> None:
    """Make a machine client; its secret is shown once.

    Example: controlplane client create ci --org acme --role operator --scope outposts.register --secret-file ci.secret
    """
    _secret(target, ("clients.create", {"org": org}, {"name": name, **options}), org, secret_file)


@client.command("list")
@out.space_option
@target_options
def list_clients(org: str, target: Target) -> None:
    """List machine clients, revoked ones too.

    Example: controlplane client list --org acme
    """
    document = api.listed(target, "clients.list", "clients", {"org": org})
    rows = [
        (each["name"], each["id"], each["role"], " ".join(each["scopes"]) or "-", _until(each))
        for each in document["clients"]
    ]
    headers = ("NAME", "ID", "ROLE", "SCOPES", "SECRET UNTIL")
    out.show(target, document, lambda: out.emit_table(headers, rows), "clients")


@client.command()
@click.argument("name")
@out.space_option
@click.option("--grace-seconds", type=int, default=86_400, show_default=True, help="how long the old secret works on")
@click.option("--secret-file", type=SECRET_FILE, help="write the secret here, mode 0600, instead of showing it")
@target_options
def rotate(name: str, org: str, secret_file: Path | None, target: Target, grace_seconds: int) -> None:
    """Make a new secret; the old one works until the grace ends.

    Example: controlplane client rotate ci --org acme --secret-file ci.secret
    """
    act = ("clients.rotate", {"org": org, "client": name}, {"grace_seconds": grace_seconds})
    _secret(target, act, org, secret_file)


@client.command()
@click.argument("name")
@out.space_option
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def revoke(name: str, org: str, target: Target, *, yes: bool) -> None:
    """End a machine client; its tokens are void at once.

    Example: controlplane client revoke ci --org acme --yes
    """
    out.confirm(f"Revoke the client {name} of {org} for ever?", yes=yes)
    document = api.ask(target, "clients.revoke", {"org": org, "client": name}).document
    out.show(target, document, lambda: click.echo(f"client {document['name']} ({document['id']}) is revoked"))


def _secret(target: Target, act: tuple[str, dict[str, str], dict[str, Any]], org: str, file: Path | None) -> None:
    """Do an act that makes a secret, and show it once."""
    with reserved(file, target.output) as keep:
        answer = api.ask(target, *act)
        if out.waits(target, answer, org):
            return
        made = dict(answer.document)
        keep(made["secret"] + "\n")
    if file:
        del made["secret"]
    if target.is_json:
        out.show(target, made, lambda: None)
        return
    click.echo(made["id"])
    if not file:
        click.echo(made["secret"])
    out.note(f"client {made['name']} ({made['role']}), secret until {out.moment(made['expires_ms'])}, shown once")
    out.note(f"next: controlplane login --api URL --client {made['id']} --secret-file {file or 'FILE'}")


def _until(each: Mapping[str, Any]) -> str:
    return "revoked" if each["revoked_ms"] else out.moment(each["expires_ms"])
