"""``acts list|show|export|verify``."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options

SHOWN = 50


@click.group()
def acts() -> None:
    """Read, export and verify the log of what was asked of the control plane."""


@acts.command("list")
@out.space_option
@click.option("--limit", type=click.IntRange(1, 200), default=SHOWN, show_default=True, help="newest so many")
@click.option("--operation", default="", help="only this one, such as users.create")
@click.option("--principal", default="", help="only of this id")
@click.option("--outcome", type=click.Choice(["done", "intended", "pending", "refused", "failed"]), help="only these")
@target_options
def list_acts(org: str, target: Target, **options: Any) -> None:
    """List the newest acts: who, from where, what, and how it ended.

    Example: controlplane acts list --org acme --outcome refused
    """
    params = {"org": org, **{name: value for name, value in options.items() if value}}
    document = dict(client.ask(target, "acts.list", params).document)
    document.pop("next_cursor")
    headers = ("NO", "TIME", "WHO", "FROM", "OPERATION", "TARGET", "OUTCOME")
    rows = [_row(each) for each in document["acts"]]
    out.show(target, document, lambda: out.emit_table(headers, rows), "acts")


@acts.command()
@click.argument("sequence", type=click.IntRange(0))
@out.space_option
@target_options
def show(sequence: int, org: str, target: Target) -> None:
    """Show one record with its inclusion proof.

    Example: controlplane acts show 12 --org acme
    """
    document = client.ask(target, "acts.show", {"org": org, "sequence": sequence}).document

    def lines() -> None:
        out.emit_lines({name: document[name] for name in ("org", "sequence", "record", "log_key")})
        click.echo(document["tlog_proof"])

    out.show(target, document, lines)


@acts.command()
@out.space_option
@click.option("--to", "file", type=click.Path(path_type=Path), required=True, help="file of records, one a line")
@target_options
def export(org: str, file: Path, target: Target) -> None:
    """Export the log up to its newest signed head: FILE, FILE.checkpoint and FILE.key. Anybody with that key verifies
    it offline: outpost verify-audit FILE --log-key FILE.key

    Example: controlplane acts export --org acme --to acts.jsonl
    """
    document = client.run(target, lambda api: api.all("acts.export", "records", {"org": org}))
    for path, lines in (
        (file, document["records"]),
        (file.with_name(file.name + ".checkpoint"), [document["checkpoint"].removesuffix("\n")]),
        (file.with_name(file.name + ".key"), [document["log_key"]]),
    ):
        _write(path, "".join(f"{line}\n" for line in lines), target)
    facts = {name: document[name] for name in ("schema", "org", "origin", "size", "log_key")}
    out.show(
        target,
        {**facts, "file": str(file)},
        lambda: click.echo(f"{document['size']} records of {document['origin']} in {file}"),
    )
    if not target.is_json:
        out.note(f"verify them anywhere: outpost verify-audit {file} --log-key {file}.key")


@acts.command()
@out.space_option
@target_options
def verify(org: str, target: Target) -> None:
    """Compute the log's tree again and hold it against every signed head; exit code 5 on a fault.

    Example: controlplane acts verify --org acme
    """
    document = client.ask(target, "acts.verify", {"org": org}).document
    out.show(target, document, lambda: out.emit_lines(document))
    if document["fault"]:
        raise SystemExit(out.REFUSED)


def _row(each: Mapping[str, Any]) -> tuple[object, ...]:
    record = each["record"]
    outcome = record["outcome"] + (f" ({record['code']})" if record["code"] else "")
    who = f"{record['principal']['name']} ({record['principal']['role']})"
    return (
        each["sequence"],
        out.moment(record["time_ms"]),
        who,
        record["source"],
        record["operation"],
        record["target"] or "-",
        outcome,
    )


def _write(path: Path, text: str, target: Target) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(text)
    except OSError as error:
        out.fail_os(error, target.output)
