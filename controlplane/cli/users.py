"""``user create|list|show|disable|reset-password|set-role``."""

from pathlib import Path

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.orgs import invitation
from controlplane.cli.secret_file import reserved
from controlplane.cli.target import Target, target_options

ROLES = click.Choice(["owner", "security_admin", "auditor", "operator", "read_only"])
CODE_FILE = click.Path(path_type=Path)


@click.group()
def user() -> None:
    """Invite, list, disable users, and give them roles."""


@user.command()
@click.argument("name")
@out.space_option
@click.option("--role", type=ROLES, required=True)
@click.option("--code-file", type=CODE_FILE, help="write the sign-in code here, mode 0600, instead of showing it")
@target_options
def create(name: str, org: str, role: str, code_file: Path | None, target: Target) -> None:
    """Invite a user: makes a sign-in code that works once, for 15 minutes. An owner is invited by two persons in an org
    with the two-person rule.

    Example: controlplane user create carol --org acme --role auditor
    """
    _invite(target, ("users.create", {"org": org}, {"name": name, "role": role}), org, code_file)


@user.command("list")
@out.space_option
@target_options
def list_users(org: str, target: Target) -> None:
    """List users, disabled ones too.

    Example: controlplane user list --org acme
    """
    document = client.listed(target, "users.list", "users", {"org": org})
    rows = [
        (each["name"], each["id"], each["role"], each["state"], out.moment(each["signed_in_ms"]))
        for each in document["users"]
    ]
    headers = ("NAME", "ID", "ROLE", "STATE", "SIGNED IN")
    out.show(target, document, lambda: out.emit_table(headers, rows), "users")


@user.command()
@click.argument("name")
@out.space_option
@target_options
def show(name: str, org: str, target: Target) -> None:
    """Show one user.

    Example: controlplane user show carol --org acme
    """
    document = client.ask(target, "users.show", {"org": org, "user": name}).document
    out.show(target, document, lambda: out.emit_lines(document))


@user.command()
@click.argument("name")
@out.space_option
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def disable(name: str, org: str, target: Target, *, yes: bool) -> None:
    """End a user's access; his tokens are void at once. The last owner cannot be disabled.

    Example: controlplane user disable carol --org acme --yes
    """
    out.confirm(f"End the access of {name} to {org}?", yes=yes)
    document = client.ask(target, "users.disable", {"org": org, "user": name}).document
    out.show(target, document, lambda: click.echo(f"user {document['name']} ({document['id']}) is disabled"))


@user.command("reset-password")
@click.argument("name")
@out.space_option
@click.option("--code-file", type=CODE_FILE, help="write the sign-in code here, mode 0600, instead of showing it")
@click.option("--yes", is_flag=True, help="do not ask")
@target_options
def reset_password(name: str, org: str, code_file: Path | None, target: Target, *, yes: bool) -> None:
    """Take password and authenticator of a user away and make a one-time sign-in code.

    Example: controlplane user reset-password carol --org acme --yes
    """
    out.confirm(f"Take password and authenticator of {name} away?", yes=yes)
    _invite(target, ("users.reset_password", {"org": org, "user": name}, {}), org, code_file)


@user.command("set-role")
@click.argument("name")
@click.argument("role", type=ROLES)
@out.space_option
@target_options
def set_role(name: str, role: str, org: str, target: Target) -> None:
    """Give a user another role; his tokens of the old one are void at once.

    Example: controlplane user set-role carol security_admin --org acme
    """
    answer = client.ask(target, "users.set_role", {"org": org, "user": name}, {"role": role})
    if not out.waits(target, answer, org):
        document = answer.document
        out.show(target, document, lambda: click.echo(f"user {document['name']} has the role {document['role']}"))


def _invite(target: Target, act: tuple[str, dict[str, str], dict[str, str]], org: str, code_file: Path | None) -> None:
    """Do an act that hands out a sign-in code, and show the code once."""
    with reserved(code_file, target.output) as keep:
        answer = client.ask(target, *act)
        if out.waits(target, answer, org):
            return
        made = dict(answer.document)
        keep(made["code"] + "\n")
    if code_file:
        del made["code"]
    if code_file and not target.is_json:
        out.note(f"the sign-in code of {made['user']} is in {code_file}, until {out.moment(made['expires_ms'])}")
    else:
        out.show(target, made, lambda: invitation(made, org))
