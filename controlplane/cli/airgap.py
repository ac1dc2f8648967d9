"""``airgap answer|bundle|audit``: outposts that no network reaches."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

DAY_MS = 24 * 3600 * 1000
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(path_type=Path)


@click.group()
def airgap() -> None:
    """Enroll outposts that no network reaches, give them configuration and take their audit logs: by files."""


@airgap.command()
@click.argument("request", type=FILE)
@click.option("--out", "target", required=True, type=OUT, help="file to write for the outpost; must not exist")
@out.state_option
@out.output_option
def answer(request: Path, target: Path, state: Path, output: str) -> None:
    """Answer the REQUEST of an outpost: spends its join token for a certificate. The same request may be answered again
    while the token lives, and gets the same certificate.

    Example: controlplane airgap answer plant.request --out plant.answer
    """

    async def work() -> Any:
        from certs.shell.new_files import new_file
        from controlplane.bootstrap import couriers
        from outpost.core.bundle.courier import MAX_FILE_BYTES

        with request.open("rb") as source, new_file(target) as write:
            told, data = await couriers.answer(state, source.read(2 * MAX_FILE_BYTES + 1))
            write(data)
        return told

    told = out.perform(work, output)
    if output == "json":
        facts = {"org": told.org, "outpost": told.outpost_id, "name": told.name, "file": str(target)}
        out.emit_json("controlplane.airgap_answer/1", facts)
        return
    click.echo(f"{told.name} of org {told.org} is enrolled as {told.outpost_id}")
    out.note(f"carry {target} there: outpost airgap accept {target.name}")


@airgap.command()
@out.org_option
@click.option("--out", "target", required=True, type=OUT, help="file to write; must not exist")
@click.option("--days", type=click.IntRange(1, 31), default=31, show_default=True, help="how long it counts as fresh")
@out.state_option
@out.output_option
def bundle(org: str, target: Path, days: int, state: Path, output: str) -> None:
    """Write the configuration in force into one file, for outposts of the org that no network reaches.

    Example: controlplane airgap bundle --org acme --out acme.bundle
    """

    async def work() -> Any:
        from certs.shell.new_files import new_file
        from controlplane.bootstrap import couriers

        with new_file(target) as write:
            made = await couriers.bundle(state, org, days * DAY_MS)
            write(made.data)
        return made

    made = out.perform(work, output)
    if output == "json":
        facts = {"org": org, "revision": made.revision, "fresh_until_ms": made.fresh_until_ms, "file": str(target)}
        out.emit_json("controlplane.airgap_bundle/1", facts)
        return
    click.echo(f"revision {made.revision} of org {org} is fresh until {out.moment(made.fresh_until_ms)}")
    out.note(f"carry {target} there: outpost airgap bundle {target.name}")


@airgap.command()
@click.argument("file", type=FILE)
@out.org_option
@click.option("--receipts", type=OUT, required=True, help="file to write for the outpost; must not exist")
@out.state_option
@out.output_option
def audit(file: Path, org: str, receipts: Path, state: Path, output: str) -> None:
    """Take in the audit log in FILE, as over the network: only what continues the log that is held here.

    Example: controlplane airgap audit plant.audit --org acme --receipts plant.receipts
    """

    async def work() -> Any:
        from certs.shell.new_files import new_file
        from controlplane.bootstrap import couriers

        with file.open("rb") as source, new_file(receipts) as write:
            made = await couriers.take_audit(state, org, source.read)
            write(made.to_bytes())
        return made

    made = out.perform(work, output)
    size = int(made.checkpoint.split(b"\n", 2)[1])
    if output == "json":
        facts = {"org": org, "outpost": made.outpost_id, "size": size, "receipts": str(receipts)}
        out.emit_json("controlplane.airgap_audit/1", facts)
        return
    click.echo(f"{size} records of {made.outpost_id} are held, and cosigned")
    out.note(f"carry {receipts} there: outpost airgap receipts {receipts.name}")
