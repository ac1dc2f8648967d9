"""``root key|show|propose|sign|apply|rotate|extension``: keys that the customer holds, by files."""

from pathlib import Path
from typing import Any

import click

from controlplane.cli import ceremony_files as files
from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.publishing import published, tell
from controlplane.cli.target import Target, target_options

passphrase_option = click.option(
    "--passphrase-file", type=files.FILE, help="file of mode 0600 with the passphrase of the key in its first line"
)


@click.group()
def root() -> None:
    """Keys of an org's configuration: who signs what, by files that travel to where the keys are."""


@root.group("key")
def root_key() -> None:
    """Keys that are kept far from any server."""


@root_key.command("create")
@click.argument("file", type=files.NEW_FILE)
@passphrase_option
@out.output_option
def create_key(file: Path, passphrase_file: Path | None, output: str) -> None:
    """Make an Ed25519 key for root, targets or policy: FILE (mode 0600) and FILE.pub. Works without a control plane.

    Example: controlplane root key create policy-1.key
    """

    async def work() -> Any:
        from certs.shell.offline_keys import create_offline_key, public_key_pem
        from outpost.core.bundle.metadata import tuf_key_id

        beside = file.with_name(f"{file.name}.pub")
        key = create_offline_key(file, files.read_passphrase(passphrase_file))
        files.write_new(beside, public_key_pem(key))
        return beside, tuf_key_id(key.public_bytes_raw())

    public, key_id = out.perform(work, output)
    if output == "json":
        out.emit_json("controlplane.offline_key/1", {"key_id": key_id, "private": str(file), "public": str(public)})
        return
    click.echo(str(public))
    out.note(f"key {key_id[:12]}; {file} is private: keep it offline, and a copy of it elsewhere")


@root.command()
@click.argument("file", type=files.FILE, required=False)
@click.option("--org", help="org id, to show who signs what there now")
@click.option("--root-out", type=files.NEW_FILE, help="write the newest root here, for `outpost enroll --tuf-root`")
@target_options
def show(file: Path | None, org: str | None, root_out: Path | None, target: Target) -> None:
    """Show a file of a ceremony, or with --org who signs what, until when, and which keys are here.

    Example: controlplane root show --org acme
    """
    if file is not None:
        files.show_ceremony(out.perform(lambda: _read(file), target.output), target.output)
        return
    if org is None:
        raise click.UsageError("name a FILE or --org ORG")
    space = {"org": org}

    async def work(api: client.Api) -> Any:
        if root_out is not None:
            files.write_new(root_out, (await api.ask("roots.newest", space)).document["file"].encode())
        return (await api.ask("roots.show", space)).document

    document = client.run(target, work)
    out.show(target, document, lambda: _show_roles(document["roles"]), "roles")


def _show_roles(roles: Any) -> None:
    rows = []
    for each in roles:
        keys = " ".join(f"{key_id[:12]}{'' if here else ' (elsewhere)'}" for key_id, here in each["keys"].items())
        needed = f"{each['threshold']} of {len(each['keys'])}"
        rows.append((each["role"], each["version"], out.moment(each["expires_ms"]), needed, keys))
    out.emit_table(("ROLE", "VERSION", "EXPIRES", "MUST SIGN", "KEYS"), rows)
    for each in roles:
        if each["warning"]:
            out.note(each["warning"])


@root.command()
@out.org_option
@click.option("--key", "keys", multiple=True, metavar="ROLE=FILE.pub", help="a key that the role shall have")
@click.option("--threshold", "thresholds", multiple=True, metavar="ROLE=N", help="how many of its keys must sign")
@click.option("--renew", multiple=True, metavar="ROLE", help="sign again as it is: its time runs out")
@click.option("--out", "file", type=files.NEW_FILE, required=True, help="file to be signed")
@target_options
def propose(org: str, file: Path, target: Target, **options: Any) -> None:
    """Prepare other keys or thresholds. A role that is named gets exactly the keys that are named for it.

    What the control plane can sign it signs, in an org with the two-person rule when the file is applied; the others
    sign the file: controlplane root sign FILE --key KEY

    Example: controlplane root propose --org acme --key policy=policy-1.key.pub --out keys.json
    """

    async def work(api: client.Api) -> Any:
        made = (await api.ask("roots.propose", {"org": org}, _proposal(options))).document
        files.write_new(file, made["file"].encode())
        return made

    made = client.run(target, work)
    files.show_facts(made, target.output)
    _next_step(made, file, org)


def _proposal(options: dict[str, Any]) -> dict[str, Any]:
    from certs.shell.offline_keys import read_public_key

    keys: dict[str, list[str]] = {}
    for role, name in files.assigned(options["keys"], "--key"):
        raw = read_public_key(files.read_bounded(Path(name)), name).public_bytes_raw()
        keys.setdefault(role, []).append(raw.hex())
    thresholds = {}
    for role, number in files.assigned(options["thresholds"], "--threshold"):
        if not number.isdecimal():
            raise files.AssignmentError("--threshold is ROLE=N", field="--threshold", next_step="such as policy=2")
        thresholds[role] = int(number)
    renewed = [role for role, _ in files.assigned([f"{role}=1" for role in options["renew"]], "--renew")]
    return {"keys": keys, "thresholds": thresholds, "renewed": renewed}


def _next_step(made: Any, file: Path, org: str) -> None:
    if not made["complete"]:
        out.note(f"next: controlplane root sign {file} --key KEY")
    else:
        verb = "root apply" if made["kind"] == "keys" else "release import"
        out.note(f"next: controlplane {verb} {file} --org {org}")


@root.command()
@click.argument("file", type=files.FILE)
@click.option("--key", "key_file", type=files.FILE, required=True, help="private key, made by `root key create`")
@passphrase_option
@click.option("--yes", is_flag=True, help="sign without asking")
@out.output_option
def sign(file: Path, key_file: Path, passphrase_file: Path | None, output: str, *, yes: bool) -> None:
    """Sign a file with a key that is here, after showing what it changes. Works without a control plane.

    FILE comes from root propose, release export or root extension; the signature is written into it.

    Example: controlplane root sign keys.json --key policy-1.key
    """

    async def work() -> Any:
        from controlplane.cli import signing

        return signing.sign_file(file, key_file, files.read_passphrase(passphrase_file), yes=yes)

    signed = out.perform(work, output)
    if output == "json":
        out.emit_json("controlplane.signed/1", signed)
    else:
        click.echo(f"signed {', '.join(signed['signed'])} with key {signed['key_id'][:12]}")


@root.command()
@click.argument("file", type=files.FILE)
@out.org_option
@target_options
def apply(file: Path, org: str, target: Target) -> None:
    """Publish the keys that a signed file proposes; connected outposts follow within a second. In an org with the
    two-person rule it waits until another person approves it.

    Example: controlplane root apply keys.json --org acme
    """

    async def work(api: client.Api) -> Any:
        return await api.ask("roots.apply", {"org": org}, {"file": files.read_text(file)})

    published(client.run(target, work), org, target)


@root.command()
@click.argument("role")
@out.org_option
@click.option("--out", "file", type=files.NEW_FILE, help="file to be signed, when keys are needed that are elsewhere")
@target_options
def rotate(role: str, org: str, file: Path | None, target: Target) -> None:
    """Give a role fresh keys in the place of those that are here; at once when all who must sign are here.

    Example: controlplane root rotate targets --org acme
    """

    async def work(api: client.Api) -> Any:
        files.assigned([f"{role}=1"], "ROLE")
        made = (await api.ask("roots.rotate", {"org": org, "role": role}, {"file": file is not None})).document
        if file is not None and made["ceremony"]:
            files.write_new(file, made["ceremony"]["file"].encode())
        return made

    made = client.run(target, work)
    if made["ceremony"]:
        files.show_facts(made["ceremony"], target.output)
        _next_step(made["ceremony"], file or Path("FILE"), org)
    else:
        tell({"schema": "controlplane.publication/1", **made["publication"]}, org, target)


@root.command()
@click.argument("file", type=files.NEW_FILE)
@out.org_option
@click.option("--days", type=click.IntRange(1, 31), default=7, show_default=True, help="from now")
@out.output_option
def extension(file: Path, org: str, days: int, output: str) -> None:
    """Write an extension for outposts that an outage would seal, to be signed by policy keys. Works without a control
    plane.

    Example: controlplane root extension extension.json --org acme --days 7
    """

    async def work() -> None:
        from controlplane.cli import signing

        files.write_new(file, signing.new_extension(org, days))

    out.perform(work, output)
    if output == "json":
        out.emit_json("controlplane.extension/1", {"org": org, "days": days, "file": str(file)})
        return
    click.echo(f"outposts of org {org} go on for {days} days once it is signed and brought to them")
    out.note(
        f"next: controlplane root sign {file} --key POLICY_KEY; then at each outpost: outpost bundle extend {file}"
    )


async def _read(file: Path) -> Any:
    from controlplane.domain.ceremony_reading import read_ceremony, require_summary
    from controlplane.domain.summary import summarise

    ceremony = read_ceremony(files.read_bounded(file))
    require_summary(ceremony, summarise(ceremony))
    return ceremony
