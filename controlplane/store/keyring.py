"""Keys and certificates of the control plane as files below its state directory.

``kek`` seals every private key but the server's own. The pepper of join tokens is derived from it, so a stolen
database holds nothing that can be used without that file.
"""

import contextlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certs import keys
from certs.shell import private_files, signers
from certs.shell.private_files import PrivateFileExistsError
from certs.signer import Signer
from controlplane.domain.errors import ConfigurationError
from controlplane.domain.orgs import checked_id

PEPPER_BYTES = 32  # certs.join_token.PEPPER_BYTES
PEPPER_INFO = b"outpost.controlplane join token pepper 1"
MAX_ROLE_KEYS = 64  # key files of one role; root has 3, and each rotation adds as many


class NotInitialisedError(ConfigurationError):
    """The state directory is not one of a control plane, or only half of one."""

    code = "state.not_initialised"


class Keyring:
    """Everything that signs.

    Args:
        folder: the state directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kek = b""

    @property
    def kek(self) -> bytes:
        """The key-encryption key, read once.

        Raises:
            NotInitialisedError: there is none.
            KeyStoreError: it cannot be used.
        """
        if not self._kek:
            if not (self._folder / "kek").exists():
                raise NotInitialisedError(
                    f"{self._folder} is not the state directory of a control plane",
                    field="state",
                    next_step="make one: controlplane init, or name another with --state",
                )
            self._kek = signers.load_kek(self._folder / "kek")
        return self._kek

    def pepper(self) -> bytes:
        """Key of the keyed hashes of join tokens, 32 bytes."""
        return HKDF(hashes.SHA256(), PEPPER_BYTES, salt=None, info=PEPPER_INFO).derive(self.kek)

    def create_kek(self) -> None:
        """Make the key-encryption key. Raises PrivateFileExistsError."""
        make_folder(self._folder)
        self._kek = signers.create_kek(self._folder / "kek")

    def keep(self, name: str, key: keys.PrivateKey) -> Signer:
        """Seal a new key into ``<name>.key``. Raises PrivateFileExistsError."""
        path = self._folder / f"{name}.key"
        make_folder(path.parent)
        return signers.create_key_file(path, key, self.kek)

    def signer(self, name: str) -> Signer:
        """Open ``<name>.key``. Raises KeyStoreError."""
        return signers.load_signer(self._folder / f"{name}.key", self.kek)

    def keep_certificates(self, name: str, certificates: tuple[x509.Certificate, ...]) -> None:
        """Write ``<name>.pem``: the certificate first, then its issuers."""
        path = self._folder / f"{name}.pem"
        make_folder(path.parent)
        private_files.replace_private_file(path, keys.certificates_pem(certificates))

    def certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """Read ``<name>.pem``.

        Raises:
            NotInitialisedError: absent.
            TrustError: unreadable.
        """
        path = self._folder / f"{name}.pem"
        if not path.exists():
            raise NotInitialisedError(
                f"{path.name} is missing in the state directory",
                field="state",
                next_step="restore it from a backup, or make a new control plane: controlplane init --state DIR",
            )
        return keys.certificates_from_pem(private_files.read_private_file(path), field=str(path.name))

    def keep_plain_key(self, name: str, key: keys.PrivateKey) -> None:
        """Write ``<name>.key`` unsealed, mode 0600: for the server's own TLS key only."""
        path = self._folder / f"{name}.key"
        private_files.replace_private_file(path, keys.private_key_pem(key))

    def plain_key(self, name: str) -> bytes:
        """PEM of an unsealed key."""
        return private_files.read_private_file(self._folder / f"{name}.key")


class RoleKeyFiles:
    """Adapter of ``ports.RoleKeys``: ``orgs/<org>/keys/<role>-<n>.key``."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring

    def create(self, org: str, role: str, number: int) -> Signer:
        """Make a key, or open the one that an earlier, interrupted try left."""
        name = f"orgs/{checked_id(org)}/keys/{role}-{number}"
        with contextlib.suppress(PrivateFileExistsError):
            return self._keyring.keep(name, signers.generate_signing_key())
        return self._keyring.signer(name)

    def of_role(self, org: str, role: str) -> tuple[Signer, ...]:
        """Keys of a role that are at hand."""
        folder = self._folder / "orgs" / checked_id(org) / "keys"
        names = [f"{role}-{number}" for number in range(1, MAX_ROLE_KEYS + 1)]
        present = [name for name in names if (folder / f"{name}.key").exists()]
        return tuple(self._keyring.signer(f"orgs/{org}/keys/{name}") for name in present)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, readable by their owner only."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700)
