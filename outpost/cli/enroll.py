"""`outpost enroll`: join a control plane."""

import asyncio
import sys
from importlib import metadata
from pathlib import Path

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.main import settings_options
from outpost.core.bundle.limits import MAX_METADATA_BYTES
from outpost.core.errors import RequestError

STANDARD_INPUT = "-"
MAX_TOKEN_BYTES = 4096  # four times the longest token; a wrong file is refused before it is read whole


class TokenFileError(RequestError):
    """The join token cannot be read."""

    code = "token.unreadable"


@click.command()
@settings_options
@click.option("--token-file", required=True, help="file that holds the join token; - reads standard input")
@click.option(
    "--tuf-root",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="root metadata of the org that came by another way: configuration is believed from there on",
)
@output.output_option
def enroll(
    state: Path | None, config_file: Path | None, token_file: str, tuf_root: Path | None, **options: str
) -> None:
    """Join a control plane with a one-time token. Example: outpost enroll --token-file join.token

    Keys are made here and stay here: only a certificate request travels. The token is never taken from the command
    line, where other users of the machine could read it. Running it again is harmless.
    """
    from outpost.bootstrap import enrollment

    configured = settings.load(config_file, {"state": state})
    token = read_token(token_file)
    root = _read_root(tuf_root)
    identity, spent = asyncio.run(enrollment.enroll(configured, token, metadata.version("ai-outpost"), root))
    told = identity.enrollment
    if not spent:
        click.echo(
            f"this folder is enrolled already as {told.name} of org {told.org}: the token was not used", err=True
        )
    if options["output"] == "json":
        output.emit_json(
            {
                "schema": "outpost.enrolled/1",
                "org": told.org,
                "outpost": told.outpost_id,
                "name": told.name,
                "trust_domain": told.trust_domain,
                "sync_endpoint": told.sync_endpoint,
            }
        )
        return
    click.echo(f"enrolled as {told.outpost_id} ({told.name}) of org {told.org}")
    click.echo(settings.with_state("next: outpost run", configured.state))


def _read_root(path: Path | None) -> bytes:
    """The root metadata that was given, at most one byte more than any root has; empty without one."""
    if path is None:
        return b""
    with path.open("rb") as file:
        return file.read(MAX_METADATA_BYTES + 1)


def read_token(token_file: str) -> str:
    """The token's text from a file or standard input.

    Raises:
        TokenFileError: unreadable or too large.
    """
    try:
        if token_file == STANDARD_INPUT:
            raw = sys.stdin.buffer.read(MAX_TOKEN_BYTES + 1)
        else:
            with Path(token_file).open("rb") as file:
                raw = file.read(MAX_TOKEN_BYTES + 1)
        if len(raw) > MAX_TOKEN_BYTES:
            raise TokenFileError("the token file is too large to be a join token", field=token_file)
        return raw.decode("ascii")
    except OSError as error:
        raise TokenFileError(
            f"the join token cannot be read: {error.strerror}",
            field=token_file,
            next_step="controlplane outpost register NAME --org ORG --token-file FILE",
        ) from error
    except UnicodeDecodeError as error:
        raise TokenFileError("the file holds no join token", field=token_file) from error
