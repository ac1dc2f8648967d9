"""``ca show|prepare|activate|taint|retire|export|crl``."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.secret_file import reserved
from controlplane.cli.target import Target, target_options

KINDS = ("root", "outposts", "servers")
HEADERS = ("KIND", "NO", "STATE", "ROOT", "ENDS", "SHA-256")
kind_argument = click.argument("kind", type=click.Choice(KINDS))
root_key_option = click.option(
    "--root-key", "root_key_file", type=files.FILE, help="private key of the root CA, when it is kept elsewhere"
)
force_option = click.option("--force", is_flag=True, help="leave outposts and ingresses behind that are not that far")


@click.group()
def ca() -> None:
    """Show and replace CAs, write revocation lists: prepare, activate, taint, retire, each when `show` says so."""


@ca.command()
@target_options
def show(target: Target) -> None:
    """Show every CA, and how many outposts believe exactly what is believed now.

    Example: controlplane ca show
    """
    document = dict(client.ask(target, "cas.show").document)
    del document["roots"], document["issuers"]

    def lines() -> None:
        out.emit_table(HEADERS, [_row(each) for each in document["cas"]])
        out.note(
            f"{document['current']} of {document['in_contact']} outposts in contact believe exactly these roots; "
            f"{document['away']} were not seen for three days"
        )
        for name, authority in document["ingresses"].items():
            out.note(f"ingress {name}: its newest certificate is of {authority or 'a CA that is not known'}")

    out.show(target, document, lines)


@ca.command()
@kind_argument
@root_key_option
@click.option("--root-key-out", type=click.Path(path_type=Path), help="keep the key of the new root in this file only")
@target_options
def prepare(kind: str, target: Target, root_key_file: Path | None, root_key_out: Path | None) -> None:
    """Make the next generation; outposts are told of it. With a root both issuing CAs below it.

    Example: controlplane ca prepare root
    """
    if root_key_out is not None and kind != "root":
        raise click.UsageError("--root-key-out is for the root")
    with reserved(root_key_out, target.output) as keep:
        made = _asked(target, "cas.prepare", kind, {"root_away": root_key_out is not None}, root_key_file)
        keep(str(made.pop("root_key", "")))
    _changed(target, made, "next: controlplane ca activate " + kind)


@ca.command()
@kind_argument
@force_option
@target_options
def activate(kind: str, target: Target, *, force: bool) -> None:
    """Let the prepared generation sign. For a root it is refused until the outposts in contact know it.

    Example: controlplane ca activate root
    """
    made = _asked(target, "cas.activate", kind, {"force": force})
    _changed(target, made, f"next, when all went well: controlplane ca taint {kind}")


@ca.command()
@kind_argument
@target_options
def taint(kind: str, target: Target) -> None:
    """Put the generations before on their way out: whoever holds a certificate of them is asked to renew.

    Example: controlplane ca taint root
    """
    made = _asked(target, "cas.taint", kind)
    _changed(target, made, f"next, when no outpost depends on them: controlplane ca retire {kind}")


@ca.command()
@kind_argument
@force_option
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def retire(kind: str, target: Target, **options: Any) -> None:
    """Believe the tainted generations no longer. Refused while outposts in contact or ingresses depend on them.

    Example: controlplane ca retire root --yes
    """
    out.confirm(f"Believe the tainted CAs of {kind} no longer?", yes=options["yes"])
    _changed(target, _asked(target, "cas.retire", kind, {"force": options["force"]}), "")


@ca.command()
@click.option("--out-roots", type=files.NEW_FILE, help="write the roots that are believed here")
@click.option("--out-issuers", type=files.NEW_FILE, help="write the issuing CAs for outposts, and their roots, here")
@target_options
def export(target: Target, out_roots: Path | None, out_issuers: Path | None) -> None:
    """Write certificates of CAs, PEM, for readers outside such as an ingress.

    Example: controlplane ca export --out-roots roots.pem --out-issuers issuers.pem
    """
    if out_roots is None and out_issuers is None:
        raise click.UsageError("name --out-roots FILE or --out-issuers FILE")

    async def work(api: client.Api) -> dict[str, Any]:
        document = (await api.ask("cas.show")).document
        for name, path in (("roots", out_roots), ("issuers", out_issuers)):
            if path is not None:
                files.write_new(path, document[name].encode())
        return {"roots": str(out_roots or ""), "issuers": str(out_issuers or "")}

    written = {"schema": "controlplane.ca_files/1", **client.run(target, work)}
    out.show(target, written, lambda: click.echo("written"))


@ca.command()
@click.option("--out", "file", type=click.Path(path_type=Path), required=True, help="file, replaced when it is there")
@root_key_option
@target_options
def crl(target: Target, file: Path, root_key_file: Path | None) -> None:
    """Write revocation lists, PEM: of the issuing CA for outposts, which lives a day, and of its root.

    Example: controlplane ca crl --out lists.pem
    """

    async def work(api: client.Api) -> None:
        files.replace(file, (await api.ask("cas.lists")).document["lists"].encode())

    client.run(target, work, root_key_file)
    out.show(target, {"schema": "controlplane.ca_files/1", "lists": str(file)}, lambda: click.echo(str(file)))


def _asked(
    target: Target, operation: str, kind: str, body: dict[str, Any] | None = None, root_key_file: Path | None = None
) -> dict[str, Any]:
    answer = client.run(target, lambda api: api.ask(operation, {"kind": kind}, body), root_key_file)
    return dict(answer.document)


def _changed(target: Target, document: dict[str, Any], next_step: str) -> None:
    document.pop("root_key", None)
    out.show(target, document, lambda: out.emit_table(HEADERS, [_row(each) for each in document["cas"]]))
    if next_step and not target.is_json:
        out.note(next_step)


def _row(each: dict[str, Any]) -> tuple[object, ...]:
    ends = out.moment(each["not_after_ms"])
    return each["kind"], each["generation"], each["state"], each["root"], ends, each["sha256"][:16]
