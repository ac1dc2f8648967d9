"""``approval list|show|approve|reject``."""

import json
from collections.abc import Mapping
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options


@click.group()
def approval() -> None:
    """Look at acts that wait for a second person, approve or reject them."""


@approval.command("list")
@out.space_option
@target_options
def list_approvals(org: str, target: Target) -> None:
    """List acts that wait for a second person, or did, newest first.

    Example: controlplane approval list --org acme
    """
    document = client.listed(target, "approvals.list", "approvals", {"org": org})
    rows = [
        (each["id"], each["state"], each["subject"], each["author_name"], out.moment(each["expires_ms"]))
        for each in document["approvals"]
    ]
    headers = ("ID", "STATE", "WHAT", "BY", "UNTIL")
    out.show(target, document, lambda: out.emit_table(headers, rows), "approvals")


@approval.command()
@click.argument("approval_id", metavar="ID")
@out.space_option
@target_options
def show(approval_id: str, org: str, target: Target) -> None:
    """Show an approval with the whole act, as it would be done.

    Example: controlplane approval show ap-0123456789ab --org acme
    """
    document = client.ask(target, "approvals.show", {"org": org, "approval": approval_id}).document
    out.show(target, document, lambda: _told(document))


@approval.command()
@click.argument("approval_id", metavar="ID")
@out.space_option
@click.option("--digest", default="", help="approve only this content  [default: what is stored now]")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def approve(approval_id: str, org: str, digest: str, target: Target, *, yes: bool) -> None:
    """Approve an act of another person; it is done at once, and once.

    Example: controlplane approval approve ap-0123456789ab --org acme --yes
    """
    out.require_answer(yes=yes)
    params = {"org": org, "approval": approval_id}
    if not digest:
        shown = client.ask(target, "approvals.show", params).document
        digest = shown["digest"]
        if not target.is_json:
            _told(shown, err=True)
    out.confirm("Do this?", yes=yes)
    done = client.ask(target, "approvals.approve", params, {"digest": digest}).document
    out.show(target, done, lambda: _done(done))


@approval.command()
@click.argument("approval_id", metavar="ID")
@out.space_option
@click.option("--reason", default="", help="kept with the approval")
@target_options
def reject(approval_id: str, org: str, reason: str, target: Target) -> None:
    """Reject an act of another person, or withdraw one's own.

    Example: controlplane approval reject ap-0123456789ab --org acme --reason "too wide"
    """
    params = {"org": org, "approval": approval_id}
    document = client.ask(target, "approvals.reject", params, {"reason": reason}).document
    out.show(target, document, lambda: click.echo(f"approval {document['id']} is {document['state']}"))


def _done(done: Mapping[str, Any]) -> None:
    click.echo(f"approval {done['approval']['id']} is executed")
    for label, text in out.lines_of({name: value for name, value in done["result"].items() if name != "schema"}):
        click.echo(f"  {label:<30}{text}")


def _told(document: Mapping[str, Any], *, err: bool = False) -> None:
    """The whole act, for the one who decides: long texts as they are."""
    facts = {name: value for name, value in document.items() if name not in ("schema", "content")}
    for label, text in out.lines_of(facts):
        click.echo(f"{label:<16}{text}", err=err)
    content = document["content"]
    click.echo(json.dumps(content["params"], sort_keys=True), err=err)
    if content.get("if_match"):
        click.echo(f"only while it is still {out.plain(content['if_match'])}", err=err)
    for name, value in content["body"].items():
        click.echo(f"{name}:", err=err)
        text = value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True)
        click.echo("\n".join(f"  {out.plain(line)}" for line in text.splitlines()), err=err)
