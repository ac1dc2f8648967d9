"""``audit verify``."""

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options


@click.group()
def audit() -> None:
    """Verify stored audit logs."""


@audit.command()
@out.org_option
@click.option("--outpost", "name", default="", help="only this one")
@target_options
def verify(org: str, name: str, target: Target) -> None:
    """Compute every tree again from the stored entries, and hold it against every cosigned checkpoint; exit code 5
    on a fault.

    Example: controlplane audit verify --org acme
    """
    document = client.ask(target, "audit.verify", {"org": org, "outpost": name}).document
    logs = document["logs"]
    rows = [
        (
            each["name"],
            each["outpost_id"],
            each["size"],
            each["cosigned_size"],
            each["checkpoints"],
            each["fault"] or "intact",
        )
        for each in logs
    ]
    headers = ("OUTPOST", "ID", "ENTRIES", "COSIGNED", "CHECKPOINTS", "RESULT")
    out.show(target, document, lambda: out.emit_table(headers, rows), "logs")
    if any(each["fault"] for each in logs):
        raise SystemExit(out.REFUSED)
