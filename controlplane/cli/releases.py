"""``release export|import``: releases that wait for signatures of keys that are elsewhere."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.publishing import published
from controlplane.cli.target import Target, target_options


@click.group()
def release() -> None:
    """Releases of an org whose policy keys are held elsewhere."""


@release.command()
@out.org_option
@click.option("--out", "file", type=files.NEW_FILE, required=True, help="file to be signed")
@target_options
def export(org: str, file: Path, target: Target) -> None:
    """Write the draft that waits into a file, for those who hold the policy keys.

    Example: controlplane release export --org acme --out release.json
    """

    async def work(api: client.Api) -> Any:
        made = (await api.ask("releases.export", {"org": org})).document
        files.write_new(file, made["file"].encode())
        return made

    files.show_facts(client.run(target, work), target.output)
    out.note(f"next: controlplane root sign {file} --key KEY; then controlplane release import {file} --org {org}")


@release.command("import")
@click.argument("file", type=files.FILE)
@out.org_option
@click.option("--wait", is_flag=True, help="until every connected outpost has it active, at most 30 s")
@target_options
def import_(file: Path, org: str, target: Target, *, wait: bool) -> None:
    """Publish a release that its key holders have signed. In an org with the two-person rule it waits until another
    person approves it.

    Example: controlplane release import release.json --org acme
    """
    from controlplane.cli import waiting

    async def work(api: client.Api) -> Any:
        if wait:
            await waiting.require_running(api, target)
        answer = await api.ask("releases.import", {"org": org}, {"file": files.read_text(file)})
        waits = wait and answer.status != out.WAITING
        return answer, await waiting.wait_active(api, org, answer.document["set"]) if waits else None

    answer, waited = client.run(target, work)
    published(answer, org, target)
    if waited is not None:
        waiting.tell(waited)
