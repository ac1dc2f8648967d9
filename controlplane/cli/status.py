"""``status``: what needs attention, org by org and outpost by outpost."""

from collections.abc import Mapping
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.outposts import MEMBER_HEADERS, member_row
from controlplane.cli.target import Target, target_options


@click.command()
@click.option("--org", default="", help="only this org; over the API an org's own people name it")
@target_options
def status(org: str, target: Target) -> None:
    """Orgs, their outposts and how long their signatures last; exit code 7 when something needs attention.

    Example: controlplane status --output json
    """
    name, params = ("status.show_org", {"org": org}) if org else ("status.show", {})
    document = client.ask(target, name, params).document
    out.show(target, document, lambda: _print(document), "orgs")
    if document["server"] != "running":
        out.note(f"no server runs here; outposts hear nothing new. Start it: controlplane serve --state {target.state}")
    if any(each["attention"] for each in document["orgs"]):
        raise SystemExit(out.DEGRADED)


def _print(document: Mapping[str, Any]) -> None:
    click.echo(f"trust domain {document['trust_domain']}, server {document['server']}")
    headers = ("ORG", "OUTPOSTS", "ACTIVE", "REVISION", "SIGNED UNTIL", "ATTENTION")
    columns = ("id", "outposts", "active", "revision")
    rows = [
        (*(org[name] for name in columns), out.moment(org["signed_until_ms"]), org["attention"] or "-")
        for org in document["orgs"]
    ]
    out.emit_table(headers, rows)
    members = [(org["id"], each) for org in document["orgs"] for each in org["members"]]
    if members:
        click.echo()
        out.emit_table(("ORG", *MEMBER_HEADERS), [(org, *member_row(each)) for org, each in members])
