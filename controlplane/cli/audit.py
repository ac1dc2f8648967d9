"""``audit verify``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out


@click.group()
def audit() -> None:
    """Verify stored audit logs."""


@audit.command()
@out.org_option
@click.option("--outpost", "name", default="", help="only this one")
@out.state_option
@out.output_option
def verify(org: str, name: str, state: Path, output: str) -> None:
    """Compute every tree again from the stored entries, and hold it against every cosigned checkpoint; exit code 5
    on a fault.
    """

    async def work(plane: Any) -> Any:
        return await (await plane.ingest()).verify(org, name)

    reports = out.on_plane(state, output, work)
    if output == "json":
        out.emit_json("controlplane.audit/1", {"org": org, "logs": [asdict(each) for each in reports]})
    else:
        out.emit_table(
            ("OUTPOST", "ID", "ENTRIES", "COSIGNED", "CHECKPOINTS", "RESULT"),
            [
                (each.name, each.outpost_id, each.size, each.cosigned_size, each.checkpoints, each.fault or "intact")
                for each in reports
            ],
        )
    if any(each.fault for each in reports):
        raise SystemExit(out.REFUSED)
