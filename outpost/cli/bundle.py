"""`outpost bundle`: what is in force, a bundle file before it is brought in, and extensions of the seal."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from outpost import settings
from outpost.cli import output
from outpost.cli.main import settings_options
from outpost.core.errors import RequestError

if TYPE_CHECKING:
    from outpost.bootstrap.bundles import Held

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class OrgChoiceError(RequestError):
    """The state folder has several orgs, or not the one that was named."""

    code = "state.org"


def org_option(command: Any) -> Any:
    """The option ``--org ORG``."""
    return click.option("--org", help="org id, when the outpost serves several")(command)


@click.group()
def bundle() -> None:
    """Signed configuration: what is in force, and files that are brought by hand."""


@bundle.command()
@settings_options
@org_option
@output.output_option
def show(state: Path | None, config_file: Path | None, org: str | None, **options: str) -> None:
    """Show the configuration in force, verified anew. Example: outpost bundle show

    Ends with 5 when what is on disk cannot be believed.
    """
    from outpost.bootstrap.bundles import facts

    held = _held(state, config_file, org)
    found = facts(held, time.time_ns() // 1_000_000)
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.bundle/1", **found})
        return
    for name, value in found.items():
        click.echo(f"{name:<22}{_text(name, value)}")


@bundle.command()
@click.argument("file", type=FILE, required=False)
@settings_options
@org_option
@output.output_option
def verify(file: Path | None, state: Path | None, config_file: Path | None, org: str | None, **options: str) -> None:
    """Verify a bundle FILE as this outpost would, or without FILE the set that is in force here; nothing is changed.

    Ends with 5 and the code of the refusal when it would not be accepted.
    """
    from outpost.bootstrap.bundles import verify_archive

    held = _held(state, config_file, org)
    verified = held.verified
    if file is not None:
        verified = verify_archive(held, _read(file), time.time_ns() // 1_000_000)
    if options["output"] == "json":
        answer = {"schema": "outpost.bundle_verified/1", "org": verified.org, "revision": verified.revision}
        output.emit_json(answer | {"signed_ms": verified.signed_at_ms, "fresh_until_ms": verified.timestamp_expires_ms})
    else:
        click.echo(f"revision {verified.revision} of org {verified.org} is signed as it must be")


@bundle.command()
@click.argument("file", type=FILE)
@settings_options
@org_option
@output.output_option
def extend(file: Path, state: Path | None, config_file: Path | None, org: str | None, **options: str) -> None:
    """Go on beyond the age at which the configuration seals: FILE is signed by the policy keys. Example: outpost bundle
    extend extension.json

    A running outpost notices within a second.
    """
    from outpost.bootstrap.bundles import extend as keep

    held = _held(state, config_file, org)
    extension = keep(held, _read(file), time.time_ns() // 1_000_000)
    if options["output"] == "json":
        output.emit_json({"schema": "outpost.extended/1", "org": extension.org, "until_ms": extension.until_ms})
    else:
        click.echo(f"org {extension.org} is not sealed by age until {_moment(extension.until_ms)}")


def _held(state: Path | None, config_file: Path | None, org: str | None) -> "Held":
    from outpost.bootstrap.bundles import load
    from outpost.bootstrap.state import require_orgs
    from outpost.paths import StatePaths

    paths = StatePaths(settings.load(config_file, {"state": state}).state)
    return load(paths, chosen_org(require_orgs(paths), org))


def chosen_org(orgs: tuple[str, ...], org: str | None) -> str:
    """The org that was named, or the only one. Raises OrgChoiceError."""
    if org is None and len(orgs) == 1:
        return orgs[0]
    if org is None or org not in orgs:
        raise OrgChoiceError(
            "name one of the orgs of this outpost", field="org", next_step=f"--org {' or '.join(orgs) or 'ORG'}"
        )
    return org


def _read(file: Path) -> bytes:
    from outpost.core.bundle.archive import MAX_ARCHIVE_BYTES

    with file.open("rb") as source:
        return source.read(MAX_ARCHIVE_BYTES + 1)


def _text(name: str, value: object) -> str:
    if name.endswith("_ms"):
        return _moment(value) if isinstance(value, int) and value else "never"
    if isinstance(value, dict):
        return "  ".join(f"{key} {each}" for key, each in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def _moment(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_ms / 1000))
