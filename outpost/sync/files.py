"""Everything of an identity that the agent keeps on the disk, behind one name."""

from pathlib import Path

from certs.errors import TrustError
from certs.shell.private_files import read_private_file, replace_private_file
from outpost import ports
from outpost.sync import identity as identities
from outpost.sync import pending
from outpost.sync.boots import BootCounter

WITHDRAWN = "withdrawn"
UNREADABLE = "identity.withdrawn_unreadable"  # stands for a code that cannot be read: nobody but us writes there


class IdentityFiles:
    """The identity folder of one org. Every call blocks on the disk.

    Args:
        folder: of the identity.
    """

    def __init__(self, folder: Path, chance: ports.Chance) -> None:
        self.folder = folder
        self._boots = BootCounter(folder, chance)

    def load(self) -> identities.Identity:
        """The identity. Raises IdentityUnreadableError."""
        return identities.load(self.folder)

    def save(self, identity: identities.Identity) -> None:
        """Store an identity, whole; a request that it answers is over. Raises KeyStoreError, RenewalStoreError."""
        identities.save(self.folder, identity)
        pending.forget(self.folder, identity.enrollment.join_sequence)

    def save_endpoints(self, sync: tuple[str, ...]) -> None:
        """Store where the control plane may be called. Raises KeyStoreError."""
        identities.save_endpoints(self.folder, sync)

    def tidy(self) -> None:
        """Remove a request that was answered just before a crash. Raises IdentityUnreadableError, RenewalStoreError."""
        pending.forget(self.folder, self.load().enrollment.join_sequence)

    def believe(self, bundle_pem: bytes) -> None:
        """Store whom to believe from now on. Raises KeyStoreError."""
        identities.save_trust_bundle(self.folder, bundle_pem)

    def request(self, sequence: int) -> pending.PendingRequest:
        """The request for the next certificate, durable when this returns. Raises RenewalStoreError."""
        return pending.prepare(self.folder, sequence)

    def boot_id(self) -> str:
        """Id of this start. Raises BootCounterError, IdentityInUseError."""
        return self._boots.boot_id()

    def withdrawn(self) -> str:
        """Code with which the control plane refused this identity for good, or empty."""
        return withdrawn_code(self.folder)

    def note_withdrawn(self, code: str) -> None:
        """Keep that code over restarts; empty when it is accepted again. Raises KeyStoreError."""
        path = self.folder / WITHDRAWN
        if code:
            replace_private_file(path, code.encode() + b"\n")
        else:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """This start says nothing any more."""
        self._boots.close()


def withdrawn_code(folder: Path) -> str:
    """Code with which the control plane refused an identity for good, or empty. A word that cannot be read is one."""
    path = folder / WITHDRAWN
    if not path.exists():
        return ""
    try:
        return read_private_file(path).decode("ascii", "replace").strip() or UNREADABLE
    except TrustError:
        return UNREADABLE
