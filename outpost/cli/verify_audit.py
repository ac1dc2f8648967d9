"""`outpost verify-audit`: is the audit log whole? Offline, with public keys only."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.main import settings_options
from outpost.cli.verify_keys import Keys, KeySource, choose_keys
from outpost.core.errors import StoreError
from outpost.ledger.findings import AuditVerificationError
from outpost.ledger.verify import Report, verify_directory, verify_export
from outpost.paths import StatePaths

MAX_NOTE_BYTES = 16_384  # bytes of a signed note; source: core/audit/note
SCHEMA = "outpost.audit_verification/1"
CHECKPOINT_SUFFIX = ".checkpoint"


class AuditUnreadableError(StoreError):
    """There is no audit log to verify, or it cannot be read."""

    code = "audit.unreadable"


@click.command("verify-audit")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@settings_options
@click.option("--org", help="only this org of the state folder [default: all]")
@click.option("--log-key", help="public key of the log: 64 hex digits, a C2SP key line, or a file with either or PEM")
@click.option("--witness-key", help="public key of the witness, in the same forms")
@click.option("--origin", help="name of the log [default: the enrollment's, or as the log says]")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="signed note of an export [PATH.checkpoint]")
@click.option("--cosigned", type=click.Path(path_type=Path), help="newest cosigned note, from the control plane")
@output.output_option
def verify_audit(path: Path | None, state: Path | None, config_file: Path | None, **options: Any) -> None:
    """Verify an audit log with public keys only. Example: outpost verify-audit --state .outpost

    PATH is the folder of a log, a state folder, or an export of one record a line. Without it, the logs of the state
    folder are verified, with the keys of the enrollment. With --log-key nothing private is opened. Ends with 5 when a
    log is not whole, and names the first bad record.
    """
    if path is not None and not path.exists():
        raise AuditUnreadableError(
            "the log cannot be read: No such file or directory", field=str(path), next_step="check the path"
        )
    if path is None or (path / "orgs").is_dir():
        chosen = path if path is not None else settings.load(config_file, {"state": state}).state
        logs = list(_logs_of(StatePaths(chosen), options["org"]))
    else:
        logs = [("", path)]
    results = [_verify(org, log, options) for org, log in logs]
    if options["output"] == "json":
        output.emit_json({"schema": SCHEMA, "logs": results})
    else:
        for result in results:
            _tell(result)
    sys.exit(output.OK if all(result["intact"] for result in results) else output.REFUSED)


def _logs_of(paths: StatePaths, org: str | None) -> Iterator[tuple[str, Path]]:
    """Org and folder of each log of a state folder.

    Raises:
        AuditUnreadableError: none.
    """
    orgs = [found for found in paths.orgs() if org in (None, found)]
    if not orgs:
        raise AuditUnreadableError(
            f"there is no audit log of {org or 'any org'} in this state folder",
            field=str(paths.state),
            next_step="outpost status; or name a folder or an export: outpost verify-audit PATH --log-key KEY",
        )
    for found in orgs:
        yield found, paths.org(found).audit


def _verify(org: str, path: Path, options: dict[str, Any]) -> dict[str, Any]:
    note = None if path.is_dir() else _note(options["checkpoint"] or path.with_name(path.name + CHECKPOINT_SUFFIX))
    source = KeySource(
        path=path, note=note, log_key=options["log_key"], witness_key=options["witness_key"], origin=options["origin"]
    )
    keys = choose_keys(source)
    told: dict[str, Any] = {"org": org, "path": str(path), "origin": keys.log.name, "log_key": keys.log.to_text()}
    told["witness_key"] = keys.witness.to_text() if keys.witness is not None else ""
    try:
        report = _run(path, note, keys, options["cosigned"])
    except AuditVerificationError as error:
        return {**told, "intact": False, "sequence": error.sequence, "error": error.as_dict()}
    except OSError as error:
        raise AuditUnreadableError(f"the log cannot be read: {error.strerror}", field=str(path)) from error
    return {**told, "intact": True, **_facts(report)}


def _run(path: Path, note: bytes | None, keys: Keys, cosigned: Path | None) -> Report:
    if note is not None:
        return verify_export(path, note, keys.log, keys.witness)
    return verify_directory(path, keys.log, keys.witness, _note(cosigned) if cosigned is not None else None)


def _note(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_NOTE_BYTES + 1)
    except OSError as error:
        raise AuditUnreadableError(
            f"the signed note cannot be read: {error.strerror}",
            field=str(path),
            next_step="give the note that came with the export: --checkpoint FILE",
        ) from error


def _facts(report: Report) -> dict[str, Any]:
    return {
        "records": report.records,
        "signed": report.signed,
        "unsigned": report.records - report.signed,
        "root": report.root.hex(),
        "cosigned": report.cosigned,
        "cosigned_time": report.cosigned_time,
        "tiles_missing": report.tiles_missing,
        "torn_bytes": report.torn_bytes,
    }


def _tell(result: dict[str, Any]) -> None:
    click.echo(f"log       {result['origin']}")
    click.echo(f"key       {result['log_key']}")
    if not result["intact"]:
        error = result["error"]
        click.echo(f"NOT INTACT at sequence {result['sequence']}: {error['message']} ({error['code']})")
        click.echo(f"  → {error['next']}")
        return
    click.echo(
        f"records   {result['records']}: {result['signed']} below the signed head, {result['unsigned']} after it"
    )
    if result["cosigned"] and result["witness_key"]:
        click.echo(f"witness   cosigned {result['cosigned']} records")
    elif result["cosigned"]:
        click.echo(f"witness   {result['cosigned']} records cosigned, not checked: give --witness-key")
    else:
        click.echo("witness   nothing cosigned yet: an older copy of this log could not be told apart")
    for name, sentence in (("tiles_missing", "leaf hashes are not on disk"), ("torn_bytes", "bytes of a torn write")):
        if result[name]:
            click.echo(f"note      {result[name]} {sentence}; a start repairs that")
    click.echo(f"root      {result['root']}")
    click.echo("intact")
