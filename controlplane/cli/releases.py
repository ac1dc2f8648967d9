"""``release export|import``: releases that wait for signatures of keys that are elsewhere."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import output as out
from controlplane.cli.publishing import published


@click.group()
def release() -> None:
    """Releases of an org whose policy keys are held elsewhere."""


@release.command()
@out.org_option
@click.option("--out", "target", type=files.NEW_FILE, required=True, help="file to be signed")
@out.state_option
@out.output_option
def export(org: str, target: Path, state: Path, output: str) -> None:
    """Write the draft that waits into a file, for those who hold the policy keys."""

    async def work(plane: Any) -> Any:
        from controlplane.domain.ceremony_reading import read_ceremony

        data = plane.ceremonies.draft(org)
        ceremony = read_ceremony(data, org)
        files.write_new(target, data)
        return ceremony

    files.show_ceremony(out.on_plane(state, output, work), output)
    out.note(f"next: controlplane root sign {target} --key KEY; then controlplane release import {target} --org {org}")


@release.command("import")
@click.argument("file", type=files.FILE)
@out.org_option
@click.option("--wait", is_flag=True, help="until every connected outpost has it active, at most 30 s")
@out.state_option
@out.output_option
def import_(file: Path, org: str, state: Path, output: str, *, wait: bool) -> None:
    """Publish a release that its key holders have signed."""
    from controlplane.cli import waiting

    async def work(plane: Any) -> Any:
        if wait:
            plane.require_running()
        result = await plane.ceremonies.import_release(org, files.read_bounded(file))
        return result, await waiting.wait_active(plane, org, result.number) if wait else None

    result, waited = out.on_plane(state, output, work)
    published(result, org, output)
    if waited is not None:
        waiting.tell(waited)
