"""`outpost airgap`: join a control plane, take configuration and give the audit log, all by files."""

import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.bundle import org_option
from outpost.cli.main import settings_options

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(path_type=Path)


@click.group()
def airgap() -> None:
    """An outpost that no network leads to its control plane: what would travel over it travels in files."""


@airgap.command()
@settings_options
@click.option("--token-file", required=True, help="file that holds the join token; - reads standard input")
@click.option("--out", "target", required=True, type=OUT, help="file to write for the control plane; must not exist")
@output.output_option
def request(state: Path | None, config_file: Path | None, token_file: str, target: Path, **options: str) -> None:
    """Ask to be enrolled. Example: outpost airgap request --token-file join.token --out plant.request

    Keys are made here and stay here. The file holds the join token's secret: carry it as you carried the token.
    """
    from outpost.bootstrap import couriers
    from outpost.cli.enroll import read_token

    configured = settings.load(config_file, {"state": state})
    made = couriers.request(configured.state, read_token(token_file), metadata.version("ai-outpost"))
    _write(target, lambda write: write(made.to_bytes()))
    if options["output"] == "json":
        output.emit_json(
            {"schema": "outpost.airgap_requested/1", "org": made.org, "name": made.name, "file": str(target)}
        )
        return
    click.echo(f"{target} asks for {made.name} of org {made.org} to be enrolled")
    click.echo(f"next, where the control plane is: controlplane airgap answer {target.name} --out ANSWER")


@airgap.command()
@click.argument("file", type=FILE)
@settings_options
@output.output_option
def accept(file: Path, state: Path | None, config_file: Path | None, **options: str) -> None:
    """Take in the answer of the control plane. Example: outpost airgap accept plant.answer

    Ends with 5 when it is not signed by the control plane that the token pinned, or answers another request.
    """
    from outpost.bootstrap import couriers
    from outpost.core.bundle.courier import MAX_FILE_BYTES

    configured = settings.load(config_file, {"state": state})
    told = couriers.accept(configured.state, _read(file, 2 * MAX_FILE_BYTES)).enrollment
    if options["output"] == "json":
        facts = {"org": told.org, "outpost": told.outpost_id, "name": told.name, "trust_domain": told.trust_domain}
        output.emit_json({"schema": "outpost.airgap_accepted/1", **facts})
        return
    click.echo(f"enrolled as {told.outpost_id} ({told.name}) of org {told.org}")
    click.echo(settings.with_state("next: outpost airgap bundle FILE, then outpost run", configured.state))


@airgap.command()
@click.argument("file", type=FILE)
@settings_options
@org_option
@output.output_option
def bundle(file: Path, state: Path | None, config_file: Path | None, org: str | None, **options: str) -> None:
    """Bring in a bundle, verified as if it had come over the network. Example: outpost airgap bundle acme.bundle

    A running outpost takes it up within seconds, another one when it starts. Ends with 5 and the code of the refusal
    when it is older than what is in force, of another org, changed, or no longer fresh.
    """
    from outpost.bootstrap import couriers
    from outpost.core.bundle.archive import MAX_ARCHIVE_BYTES

    paths, org = _chosen(state, config_file, org)
    verified = couriers.bring(paths, org, _read(file, MAX_ARCHIVE_BYTES), time.time_ns() // 1_000_000)
    if options["output"] == "json":
        facts = {"org": org, "revision": verified.revision, "fresh_until_ms": verified.timestamp_expires_ms}
        output.emit_json({"schema": "outpost.airgap_bundle/1", **facts})
        return
    click.echo(f"revision {verified.revision} of org {org} is signed as it must be and waits to be taken up")


@airgap.command()
@click.option("--out", "target", required=True, type=OUT, help="file to write; must not exist")
@click.option("--first", type=click.IntRange(min=0), help="record to begin with [default: behind the newest receipt]")
@settings_options
@org_option
@output.output_option
def audit(
    target: Path, first: int | None, state: Path | None, config_file: Path | None, org: str | None, **options: str
) -> None:
    """Write what the control plane has no receipt for. Example: outpost airgap audit --out plant.audit"""
    from outpost.bootstrap import couriers

    paths, org = _chosen(state, config_file, org)
    made = _write(target, lambda write: couriers.export_audit(paths, org, first, write))
    if options["output"] == "json":
        facts = {"org": org, "first": made.first, "size": made.size, "file": str(target)}
        output.emit_json({"schema": "outpost.airgap_audit/1", **facts})
        return
    click.echo(f"{target} holds records {made.first} to {made.size - 1} of org {org}")
    click.echo(f"next: controlplane airgap audit {target.name} --org {org} --receipts RECEIPTS")


@airgap.command()
@click.argument("file", type=FILE)
@settings_options
@org_option
@output.output_option
def receipts(file: Path, state: Path | None, config_file: Path | None, org: str | None, **options: str) -> None:
    """Take in receipts for the audit log. Example: outpost airgap receipts plant.receipts

    Ends with 5 when they are of another log, not signed by the control plane, or older than those that are here.
    """
    from outpost.bootstrap import couriers
    from outpost.core.bundle.courier import MAX_FILE_BYTES

    paths, org = _chosen(state, config_file, org)
    size = couriers.take_receipts(paths, org, _read(file, 2 * MAX_FILE_BYTES))
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.airgap_receipts_taken/1", "org": org, "size": size})
        return
    click.echo(f"the control plane holds the first {size} records of org {org}")


def _chosen(state: Path | None, config_file: Path | None, org: str | None) -> Any:
    """The state folder, and one of its orgs."""
    from outpost.bootstrap.state import require_orgs
    from outpost.cli.bundle import chosen_org
    from outpost.paths import StatePaths

    paths = StatePaths(settings.load(config_file, {"state": state}).state)
    return paths, chosen_org(require_orgs(paths), org)


def _read(file: Path, limit: int) -> bytes:
    with file.open("rb") as source:
        return source.read(limit + 1)


def _write(target: Path, work: Callable[[Callable[[bytes], object]], Any]) -> Any:
    """A new file of mode 0600 that is there whole or not at all."""
    from certs.shell.new_files import new_file

    with new_file(target) as write:
        return work(write)
