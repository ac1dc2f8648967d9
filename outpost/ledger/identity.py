"""The identity of a log: its Ed25519 key and its origin, two small files in its folder."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from outpost.core.audit.note import NoteError, NoteSigner, check_name
from outpost.ledger.errors import LogIdentityError
from outpost.ledger.files import make_folder, read_file, replace_file

MAX_IDENTITY_BYTES = 4096  # bytes of either file; a PKCS#8 Ed25519 key in PEM has 119
KEY_NAME = "log.key"
ORIGIN_NAME = "origin"


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Who a log is. ``public_key`` is 32 bytes and is what the control plane and verifiers are given."""

    origin: str
    signer: NoteSigner

    @property
    def public_key(self) -> bytes:
        """Raw Ed25519 public key, 32 bytes."""
        return self.signer.verifier.public_key


def create_identity(folder: Path, origin: str) -> LogIdentity:
    """Make the key of a new log and store it with the origin; an identity that is there already is kept.

    Raises:
        LogIdentityError: there is a log of another origin in this folder.
        NoteError: the origin is malformed.
    """
    check_name(origin)
    if read_file(folder / ORIGIN_NAME, MAX_IDENTITY_BYTES) is None:
        make_folder(folder)
        key = Ed25519PrivateKey.generate()
        replace_file(folder / KEY_NAME, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        replace_file(folder / ORIGIN_NAME, origin.encode() + b"\n")  # last: its presence says that both are whole
    identity = load_identity(folder)
    if identity.origin != origin:
        raise LogIdentityError(
            "the folder holds the audit log of another outpost", field=ORIGIN_NAME, next_step="use another folder"
        )
    return identity


def load_identity(folder: Path) -> LogIdentity:
    """Read the identity of a log.

    Raises:
        LogIdentityError: a file is missing or unusable.
    """
    pem = read_file(folder / KEY_NAME, MAX_IDENTITY_BYTES)
    origin = read_file(folder / ORIGIN_NAME, MAX_IDENTITY_BYTES)
    if pem is None or origin is None:
        raise LogIdentityError(
            "the audit log has no identity yet", field=KEY_NAME, next_step="enroll this outpost first"
        )
    try:
        key = load_pem_private_key(pem, None)
        name = origin.decode("utf-8").strip()
        if not isinstance(key, Ed25519PrivateKey):
            raise LogIdentityError("the key of the audit log is not an Ed25519 key", field=KEY_NAME)
        return LogIdentity(name, NoteSigner.of_key(name, key))
    except (ValueError, TypeError, NoteError) as error:
        raise LogIdentityError(
            "the key or the origin of the audit log is unreadable",
            field=KEY_NAME,
            next_step="restore the folder from a copy, or enroll again",
        ) from error
