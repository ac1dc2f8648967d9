"""``ingress issue|list|revoke``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options

HEADERS = ("NAME", "SERIAL", "ISSUED", "ENDS", "REVOKED")


@click.group()
def ingress() -> None:
    """Certificates of proxies that end outposts' TLS and pass their certificates on: see docs/ingress.md."""


@ingress.command()
@click.argument("name")
@click.option("--csr", type=files.FILE, required=True, help="request, PEM: its key is born where the ingress runs")
@click.option("--server", is_flag=True, help="certify what outposts see, for the names in --host")
@click.option("--host", "hosts", multiple=True, help="host name or address that outposts call")
@click.option("--out", "file", type=files.NEW_FILE, required=True, help="write the chain here")
@target_options
def issue(name: str, target: Target, csr: Path, file: Path, **options: Any) -> None:
    """Certify one of the two faces of an ingress, for 90 days: a client of ours, or with --server what outposts call.

    Example: controlplane ingress issue edge --csr ingress.csr --out ingress.pem
    """
    if options["server"] != bool(options["hosts"]):
        raise click.UsageError("--server and --host belong together")

    async def work(api: client.Api) -> Any:
        request = files.read_text(csr)
        if options["server"]:
            asked = await api.ask("ingresses.issue_server", {}, {"hosts": options["hosts"], "csr": request})
        else:
            asked = await api.ask("ingresses.issue", {}, {"name": name, "csr": request})
        files.write_new(file, asked.document["chain"].encode())
        return asked.document

    document = client.run(target, work)
    out.show(target, document, lambda: click.echo(f"{file}, until {out.moment(document['not_after_ms'])}"))


@ingress.command("list")
@target_options
def list_ingresses(target: Target) -> None:
    """List the certificates of ingresses towards us.

    Example: controlplane ingress list
    """
    document = client.ask(target, "ingresses.list").document
    rows = [
        (
            each["name"],
            each["serial"],
            out.moment(each["issued_ms"]),
            out.moment(each["not_after_ms"]),
            out.moment(each["revoked_ms"]) if each["revoked_ms"] else "-",
        )
        for each in document["ingresses"]
    ]
    out.show(target, document, lambda: out.emit_table(HEADERS, rows), "ingresses")


@ingress.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def revoke(name: str, target: Target, *, yes: bool) -> None:
    """Refuse every certificate of an ingress from now on, at every replica within two seconds.

    Example: controlplane ingress revoke edge --yes
    """
    out.confirm(f"Refuse every certificate of the ingress {name}?", yes=yes)
    document = client.ask(target, "ingresses.revoke", {"ingress": name}).document
    out.show(target, document, lambda: click.echo(f"{document['certificates']} certificates are refused"))
