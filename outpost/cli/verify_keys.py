"""Which public keys a log is verified with: given on the command line, or those of the enrollment beside it."""

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from outpost.core.audit.note import NoteError, NoteVerifier, SignatureType, parse_note, parse_verifier
from outpost.core.errors import StoreError
from outpost.ledger.identity import ORIGIN_NAME, load_identity
from outpost.sync import identity as identities

MAX_KEY_FILE_BYTES = 4096  # bytes; a PEM public key has 113, a key line less than 400
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_LINE_KEY = re.compile(r"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+")


class KeyFileError(StoreError):
    """A public key for the verification is missing or unreadable."""

    code = "audit.key"


@dataclass(frozen=True, slots=True)
class KeySource:
    """What there is to choose keys from.

    Attributes:
        path: folder of a log, or an export.
        note: signed note of an export, untrusted; None for a folder.
        log_key: as given, or None.
        witness_key: as given, or None.
        origin: as given, or None.
    """

    path: Path
    note: bytes | None
    log_key: str | None
    witness_key: str | None
    origin: str | None


@dataclass(frozen=True, slots=True)
class Keys:
    """What a log is verified with."""

    log: NoteVerifier
    witness: NoteVerifier | None


def choose_keys(source: KeySource) -> Keys:
    """Find the log's and the witness's public key.

    Raises:
        KeyFileError: none given and none enrolled, or unreadable.
        LogIdentityError: the folder's own identity is unreadable.
    """
    enrolled = _enrollment(source.path)
    if source.log_key is not None:
        log = _verifier(source.log_key, source.origin or _origin(source, enrolled), SignatureType.ED25519)
    elif source.note is None:
        log = load_identity(source.path).signer.verifier
        if source.origin not in (None, log.name):
            raise KeyFileError("the folder holds the log of another origin", field="--origin")
    else:
        raise KeyFileError(
            "an export is verified with the log's public key",
            field="--log-key",
            next_step="take it from `outpost verify-audit` on the outpost or from the control plane",
        )
    return Keys(log, _witness(source, log, enrolled))


def _witness(source: KeySource, log: NoteVerifier, enrolled: identities.Enrollment | None) -> NoteVerifier | None:
    if source.witness_key is not None:
        name = enrolled.witness_name if enrolled is not None else f"{log.name.split('/', 1)[0]}/witness"
        return _verifier(source.witness_key, name, SignatureType.COSIGNATURE_V1)
    if enrolled is None:
        return None
    return _verifier(enrolled.witness_public_key, enrolled.witness_name, SignatureType.COSIGNATURE_V1)


def _enrollment(path: Path) -> identities.Enrollment | None:
    """The enrollment beside a log in a state folder, if it is there; nothing private is read."""
    folder = path.parent / "identity"
    return identities.load_enrollment(folder) if (folder / identities.ENROLLMENT).exists() else None


def _origin(source: KeySource, enrolled: identities.Enrollment | None) -> str:
    """Name of the log. It may come from the log itself: what counts is whose key signed it."""
    if enrolled is not None:
        return enrolled.origin
    try:
        if source.note is not None:
            return parse_note(source.note).text.decode().split("\n", 1)[0]
        return _read(source.path / ORIGIN_NAME).strip()
    except (NoteError, KeyFileError) as error:
        raise KeyFileError("the log does not say its origin", field="--origin", next_step="give --origin") from error


def _verifier(text: str, name: str, kind: SignatureType) -> NoteVerifier:
    """A key from its text, or from the file of that name."""
    given = text.strip()
    if not _HEX_KEY.fullmatch(given) and not _LINE_KEY.fullmatch(given):
        given = _read(Path(text)).strip()
    try:
        if _HEX_KEY.fullmatch(given):
            return NoteVerifier(name, bytes.fromhex(given), kind)
        if given.startswith("-----BEGIN"):
            return NoteVerifier(name, _from_pem(given), kind)
        verifier = parse_verifier(given)
    except NoteError as error:
        raise KeyFileError(f"the public key is unreadable: {error.message}", field=name) from error
    if verifier.kind is not kind:
        raise KeyFileError("the key is of another kind: a log's key was given for a witness, or the reverse")
    return verifier


def _from_pem(text: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(text.encode())
    except ValueError:
        raise KeyFileError(
            "the file holds no public key", next_step="a private key is neither needed nor wanted here"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError("the public key is not an Ed25519 key")
    return key.public_bytes_raw()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(
            "the key is neither 64 hex digits, a key line nor a readable file", field=str(path)
        ) from error
