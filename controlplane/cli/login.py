"""``login``, ``activate``, ``whoami``, ``logout``: persons and programs at the API."""

import sys
from pathlib import Path
from typing import Any

import click

from controlplane.cli import client
from controlplane.cli import output as out
from controlplane.cli.target import Target, target_options

FILE = click.Path(path_type=Path, allow_dash=True)
GRANT = "client_credentials"


@click.command()
@click.option("--user", default="", help="NAME@ORG; NAME@operator for the operator's own")
@click.option("--password-file", type=FILE, help="password; - is standard input  [default: asked for]")
@click.option("--totp-file", type=FILE, help="one-time password; - is standard input  [default: asked for]")
@click.option("--client", "client_id", default="", help="id of a machine client, instead of a user")
@click.option("--secret-file", type=FILE, help="secret of the client; - is standard input")
@target_options
def login(user: str, client_id: str, target: Target, **files: Path | None) -> None:
    """Sign in at the API and keep the session in a file that only you can read. Later commands with the same --api use
    it.

    Example: controlplane login --api https://cp.example:8100 --ca-file root.pem --user alice@acme
    """
    _need_api(target)
    if bool(user) == bool(client_id):
        raise click.UsageError("name one of --user NAME@ORG and --client ID")
    if client_id:
        session = _client_session(target, client_id, files["secret_file"])
    else:
        name, org = _person(user)
        password = _secret(files["password_file"], "Password", hidden=True)
        body = {
            "org": org,
            "user": name,
            "password": password,
            "totp": _secret(files["totp_file"], "One-time password"),
        }
        session = dict(client.ask(target, "sessions.create", body=body).document)
    from controlplane.cli.sessions import keep_session

    keep_session(target, session)
    shown = {name: value for name, value in session.items() if name != "access_token"}
    who = session.get("user") or client_id
    until = out.moment(session["expires_ms"])
    out.show(target, shown, lambda: click.echo(f"signed in as {who} until {until}"))
    if not target.is_json:
        out.note(f"next: controlplane whoami --api {target.api} --org ORG")


@click.command()
@click.option("--user", required=True, help="NAME@ORG")
@click.option("--code-file", type=FILE, help="sign-in code; - is standard input  [default: asked for]")
@click.option("--password-file", type=FILE, help="the new password; - is standard input  [default: asked for]")
@click.option("--totp-file", type=FILE, help="one-time password of the new authenticator, in a second run")
@target_options
def activate(user: str, target: Target, **files: Path | None) -> None:
    """With a one-time sign-in code, set a password and an authenticator. On a terminal everything is asked for. Without
    one it takes two runs: the first shows the authenticator's secret, the second has --totp-file.

    Example: controlplane activate --api https://cp.example:8100 --ca-file root.pem --user alice@acme
    """
    _need_api(target)
    name, org = _person(user)
    who = {"org": org, "user": name, "code": _secret(files["code_file"], "Sign-in code")}
    if files["totp_file"] is None:
        password = _secret(files["password_file"], "New password", hidden=True, twice=True)
        shown = client.ask(target, "sessions.activate", body={**who, "password": password}).document
        if not sys.stdin.isatty() or target.is_json:
            out.show(target, shown, lambda: click.echo(shown["otpauth_uri"]))
            out.note("enter it in an authenticator, then run this again with --totp-file")
            return
        click.echo(f"secret for your authenticator: {shown['secret']}")
        click.echo(shown["otpauth_uri"])
    totp = _secret(files["totp_file"], "One-time password of the new authenticator")
    confirmed = client.ask(target, "sessions.confirm", body={**who, "totp": totp}).document
    out.show(target, confirmed, lambda: click.echo(f"{confirmed['user']} can sign in now"))
    if not target.is_json:
        out.note(f"next: controlplane login --api {target.api} --user {user}")


@click.command()
@out.space_option
@target_options
def whoami(org: str, target: Target) -> None:
    """Show who calls, with which role and which verbs.

    Example: controlplane whoami --org acme
    """
    document = client.ask(target, "account.show", {"org": org}).document
    out.show(target, document, lambda: out.emit_lines(document))


@click.command()
@target_options
def logout(target: Target) -> None:
    """Remove the session file.

    Example: controlplane logout
    """
    target.session.unlink(missing_ok=True)
    out.note("the session file is gone; its token ends within 15 minutes by itself")


@click.command("token-key")
@target_options
def token_key(target: Target) -> None:
    """Let a new key sign access tokens from now on; the one before is believed until its tokens expire.

    Example: controlplane token-key
    """
    document = client.ask(target, "tokens.rotate_key").document
    out.show(target, document, lambda: click.echo(f"key {document['kid']} signs access tokens from now on"))


def _client_session(target: Target, client_id: str, secret_file: Path | None) -> dict[str, Any]:
    body = {"grant_type": GRANT, "client_id": client_id, "client_secret": _secret(secret_file, "Secret", hidden=True)}
    import time

    answer = client.ask(target, "oauth.token", body=body).document
    expires_ms = int((time.time() + answer["expires_in"]) * 1000)
    return {**answer, "expires_ms": expires_ms, "user": "", "client": client_id}


def _need_api(target: Target) -> None:
    if not target.api:
        raise click.UsageError("name the API: --api https://HOST:8100")


def _person(user: str) -> tuple[str, str]:
    name, _, org = user.rpartition("@")
    if not name or not org:
        raise click.UsageError("--user is NAME@ORG, such as alice@acme")
    return name, org


def _secret(file: Path | None, what: str, *, hidden: bool = False, twice: bool = False) -> str:
    """A secret from a file, from standard input, or asked for on a terminal; never from an argument."""
    if file is not None and str(file) == "-":
        return sys.stdin.readline().strip()
    if file is not None:
        from certs.shell.private_files import read_private_file

        return read_private_file(file).decode("utf-8", "replace").strip()
    if not sys.stdin.isatty():
        raise click.UsageError(f"{what} is needed, and nobody can be asked: name a file, or - for standard input")
    return str(click.prompt(what, hide_input=hidden, confirmation_prompt=twice, err=True))
