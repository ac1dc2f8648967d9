"""``backup`` and ``restore``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out

passphrase_option = click.option(
    "--passphrase-file",
    required=True,
    type=click.Path(path_type=Path),
    help="file with the passphrase in its first line, readable by its owner only",
)


@click.command()
@click.option("--out", "target", required=True, type=click.Path(path_type=Path), help="file to write; must not exist")
@passphrase_option
@out.state_option
@out.output_option
def backup(target: Path, passphrase_file: Path, state: Path, output: str) -> None:
    """Write everything that this control plane holds into one encrypted file, while it serves. Whoever has the file and
    the passphrase has the control plane: keep them apart.

    Example: controlplane backup --out controlplane.backup --passphrase-file backup.passphrase
    """

    async def work() -> Any:
        from controlplane.bootstrap import backups

        return await backups.take(state, target, backups.read_passphrase(passphrase_file))

    made = out.perform(work, output)
    if output == "json":
        out.emit_json("controlplane.backup/1", {"file": str(target), **_facts(made)})
        return
    click.echo(f"backup written to {target}")
    _tell(made)
    out.note(f"read it back: controlplane restore {target} --passphrase-file {passphrase_file} --check")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.option("--check", is_flag=True, help="read it from end to end and make nothing")
@click.option(
    "--database-url-file",
    type=click.Path(path_type=Path),
    help="file with the URL of an empty PostgreSQL database  [default: SQLite in the state]",
)
@click.option(
    "--owner-url-file", type=click.Path(path_type=Path), help="the same as its owner: makes the schema before anything"
)
@out.state_option
@out.output_option
def restore(file: Path, passphrase_file: Path, check: bool, state: Path, output: str, **places: Any) -> None:
    """Make a control plane out of a backup, in an empty state directory and an empty database: whole, or not at all.
    The one that the backup is of must never serve again. Outposts reconnect by themselves.

    Example: controlplane restore controlplane.backup --passphrase-file backup.passphrase --state .controlplane
    """

    async def work() -> Any:
        from controlplane.bootstrap import backups, restores

        passphrase = backups.read_passphrase(passphrase_file)
        if check:
            return backups.verify(file, passphrase)
        database = restores.Database(places["database_url_file"], places["owner_url_file"])
        return await restores.restore(file, passphrase, state, database)

    done = out.perform(work, output)
    if check:
        _checked(done, file, output)
    else:
        _restored(done, state, output)


def _checked(backup: Any, file: Path, output: str) -> None:
    if output == "json":
        out.emit_json("controlplane.backup_check/1", {"file": str(file), **_facts(backup)})
        return
    click.echo(f"{file} is a whole backup")
    _tell(backup)


def _restored(done: Any, state: Path, output: str) -> None:
    if output == "json":
        out.emit_json("controlplane.restore/1", _restored_facts(done, state))
        return
    click.echo(f"control plane restored in {state}, as it was on {out.moment(done.restoration.backup_ms)}")
    if done.manifest is None:
        out.note("an earlier restore was cut off at its very end; it is finished now")
    for each in done.orgs:
        click.echo(f"  {each.org}: {each.outposts} active outposts, offered {each.revision or 'nothing yet'}")
        if each.tokens or each.approvals:
            out.note(f"  {each.org}: {each.tokens} join tokens and {each.approvals} open approvals are void")
        if each.elsewhere:
            roles = ", ".join(each.elsewhere)
            out.note(f"  {each.org}: the keys of {roles} are held elsewhere: publish again with them if outposts")
            out.note("    saw releases that are newer than the backup (docs/backup.md)")
    for name in done.files:
        out.note(f"{name} names a file that no backup holds: {getattr(done.settings, name)}; put it there")
    for name in done.head.modules:
        out.note(f"the key {name} lies in a key module: this machine must reach it")
    out.note("the old control plane must never serve again")
    out.note(f"next: controlplane serve --state {state}")


def _restored_facts(done: Any, state: Path) -> dict[str, Any]:
    orgs = [
        {
            "org": each.org,
            "revision": each.revision,
            "keys_elsewhere": list(each.elsewhere),
            "void_tokens": each.tokens,
            "void_approvals": each.approvals,
            "active_outposts": each.outposts,
        }
        for each in done.orgs
    ]
    return {
        "state": str(state),
        "restoration": done.restoration.id,
        "backup_ms": done.restoration.backup_ms,
        "restored_ms": done.restoration.restored_ms,
        "software": done.restoration.software,
        "finished": done.manifest is None,
        "orgs": orgs,
        "files": list(done.files),
        "modules": list(done.head.modules),
    }


def _facts(backup: Any) -> dict[str, Any]:
    head, manifest = backup.head, backup.manifest
    return {
        "size": backup.size,
        "software": head.software,
        "schema_revision": head.revision,
        "trust_domain": head.trust_domain,
        "created_ms": head.created_ms,
        "finished_ms": manifest.finished_ms,
        "orgs": list(manifest.orgs),
        "rows": manifest.rows,
        "modules": list(head.modules),
    }


def _tell(backup: Any) -> None:
    orgs = ", ".join(backup.manifest.orgs) or "none"
    click.echo(f"  taken    {out.moment(backup.head.created_ms)} by {backup.head.software}")
    click.echo(f"  orgs     {orgs}")
    click.echo(f"  rows     {backup.manifest.rows}")
    click.echo(f"  size     {backup.size} bytes")
    for name in backup.head.modules:
        out.note(f"the key {name} lies in a key module and is not in the backup")
