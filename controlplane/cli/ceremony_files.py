"""Files of ceremonies on the command line: read within bounds, written whole, never over another by accident."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controlplane.cli import output as out
from controlplane.domain.errors import InputError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


class UnconfirmedError(InputError):
    """Nobody said yes to what would be signed."""

    code = "ceremony.unconfirmed"


class AssignmentError(InputError):
    """An option that should be ROLE=VALUE is not."""

    code = "ceremony.option"


def read_bounded(path: Path) -> bytes:
    """At most one byte more than the largest ceremony file."""
    from controlplane.domain.ceremony import MAX_CEREMONY_BYTES

    with path.open("rb") as file:
        return file.read(MAX_CEREMONY_BYTES + 1)


def read_text(path: Path) -> str:
    """The text of a ceremony file. Raises BundleError: it is no text."""
    data = read_bounded(path)
    try:
        return data.decode()
    except UnicodeDecodeError:
        from controlplane.domain.ceremony_reading import read_ceremony

        read_ceremony(data)  # says what is wrong with it, and where
        raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet. Raises OSError."""
    with path.open("xb") as file:
        file.write(data)


def replace(path: Path, data: bytes) -> None:
    """Write a file in the place of an older one, whole or not at all. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(beside.unlink, missing_ok=True)
        beside.write_bytes(data)
        beside.replace(path)


def read_passphrase(path: Path | None) -> bytes:
    """The first line of a passphrase file; empty without one. Raises TrustError."""
    if path is None:
        return b""
    from certs.shell.private_files import read_private_file

    return read_private_file(path).split(b"\n", 1)[0]


def assigned(options: Sequence[str], name: str) -> list[tuple[str, str]]:
    """Pairs of options that are ROLE=VALUE.

    Raises:
        AssignmentError: one is not, or the role does not exist.
    """
    from controlplane.services.payloads import ALL_ROLES

    pairs = []
    for option in options:
        role, _, value = option.partition("=")
        if role not in ALL_ROLES or not value:
            raise AssignmentError(f"{name} is ROLE=VALUE", field=name, next_step=f"roles are {', '.join(ALL_ROLES)}")
        pairs.append((role, value))
    return pairs


def show_ceremony(ceremony: Any, output: str) -> None:
    """What a file says: what changes, and who signed and must sign."""
    show_facts(ceremony_facts(ceremony), output)


def show_facts(facts: Mapping[str, Any], output: str) -> None:
    """The same of a file as JSON describes it, without the file itself."""
    if output != "table":
        told = {name: value for name, value in facts.items() if name not in ("schema", "file")}
        out.emit_json("controlplane.ceremony/1", told)
        return
    click.echo(f"{facts['kind']} of org {facts['org']}, made {out.moment(facts['created_ms'])}")
    for line in facts["summary"]:
        click.echo(f"  {line}")
    rows = []
    for part in facts["parts"]:
        needed = " and ".join(f"{each['threshold']} of {len(each['keys'])}" for each in part["authorities"])
        signers = ", ".join(key_id[:12] for key_id in part["signed_by"]) or "-"
        rows.append((part["role"], part["version"], needed, signers, part["missing"]))
    out.emit_table(("ROLE", "VERSION", "MUST SIGN", "SIGNED BY", "MISSING"), rows)


def ceremony_facts(ceremony: Any) -> dict[str, Any]:
    """The same for JSON."""
    parts = [
        {
            "role": part.role,
            "version": part.version,
            "signed_by": sorted(part.signatures),
            "missing": max(part.missing, 0),
            "authorities": [{"threshold": each.threshold, "keys": sorted(each.keys)} for each in part.authorities],
        }
        for part in ceremony.parts
    ]
    complete = all(part["missing"] == 0 for part in parts)
    return {
        "org": ceremony.org,
        "kind": ceremony.kind,
        "created_ms": ceremony.created_ms,
        "summary": list(ceremony.summary),
        "parts": parts,
        "complete": complete,
    }
