"""Signing of files by a key that lies beside them: ceremonies and extensions. No state directory, no network."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from certs.keys import require_signing_key
from certs.shell.offline_keys import load_offline_key
from certs.signer import KeySigner
from controlplane.cli import ceremony_files as files
from controlplane.domain.ceremony import Ceremony
from controlplane.domain.ceremony_reading import (
    CeremonyBaseError,
    read_ceremony,
    require_known_base,
    require_summary,
)
from controlplane.domain.summary import summarise
from outpost.core.bundle.extension import Extension, read_extension
from outpost.core.bundle.metadata import tuf_key_id

DAY_MS = 24 * 3600 * 1000


def sign_file(file: Path, key_file: Path, passphrase: bytes, *, yes: bool) -> dict[str, Any]:
    """Show what a file changes, ask, sign it, and write the signature into it.

    Raises:
        UnconfirmedError: nobody said yes.
        BundleError: the file cannot be read, or a signature in it is wrong.
        CeremonyKeyError: the key may sign nothing in it.
        TrustError: the key cannot be used.
    """
    signer = load_offline_key(key_file, passphrase)
    public_key = require_signing_key(signer.public_key()).public_bytes_raw()
    data = files.read_bounded(file)
    if _is_extension(data):
        return _sign_extension(file, data, (signer, public_key), yes=yes)
    ceremony = read_ceremony(data)
    require_summary(ceremony, summarise(ceremony))
    key_id = tuf_key_id(public_key)
    mine = [part for part in ceremony.parts if part.may_sign(key_id)]
    ceremony.signed_by(public_key, {})  # a key that may sign nothing is told before anybody is asked
    lines = [f"{ceremony.kind} of org {ceremony.org}", *ceremony.summary, *_comparison(ceremony, public_key)]
    _confirm(lines, yes=yes)
    signed = ceremony.signed_by(public_key, {part.role: signer.sign(part.payload) for part in mine})
    files.replace(file, signed.to_bytes())
    return {
        "file": str(file),
        "key_id": key_id,
        "signed": [part.role for part in mine],
        "missing": {part.role: max(part.missing, 0) for part in signed.parts},
    }


def _comparison(ceremony: Ceremony, public_key: bytes) -> list[str]:
    """How far the comparison above can be believed."""
    try:
        require_known_base(ceremony, public_key)
    except CeremonyBaseError as error:
        return [f"NOT PROVEN: {error.message}; compare with what you know yourself"]
    return ["compared with what this key signed last"]


def new_extension(org: str, days: int) -> bytes:
    """An extension from now on, not signed yet."""
    now_ms = time.time_ns() // 1_000_000
    return Extension(org, now_ms + days * DAY_MS, now_ms).to_bytes()


def _is_extension(data: bytes) -> bool:
    return data.startswith(b'{"signatures":')


def _sign_extension(file: Path, data: bytes, key: tuple[KeySigner, bytes], *, yes: bool) -> dict[str, Any]:
    extension, (signer, public_key) = read_extension(data), key
    key_id = tuf_key_id(public_key)
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(extension.until_ms / 1000))
    _confirm([f"outposts of org {extension.org} are not sealed by age until {until}"], yes=yes)
    signatures = {**extension.signatures, key_id: signer.sign(extension.payload)}
    files.replace(file, replace(extension, signatures=signatures).to_bytes())
    return {"file": str(file), "key_id": key_id, "signed": ["extension"], "missing": {}}


def _confirm(lines: list[str], *, yes: bool) -> None:
    for line in lines:
        click.echo(line, err=True)
    if yes:
        return
    if not sys.stdin.isatty() or not click.confirm("sign this?", err=True):
        raise files.UnconfirmedError(
            "nobody said yes, so nothing was signed", next_step="run it at a terminal, or add --yes"
        )
