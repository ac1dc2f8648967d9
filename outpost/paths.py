"""Where things are in the state folder of an outpost (docs/design.md, section 1)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class OrgPaths:
    """Files of one org."""

    folder: Path

    @property
    def identity(self) -> Path:
        """Key, chain, trust bundle and the enrollment answer."""
        return self.folder / "identity"

    @property
    def tuf_root(self) -> Path:
        """TUF root received at enrollment; verification always starts here."""
        return self.folder / "root.json"

    @property
    def extension(self) -> Path:
        """The newest extension of the bound at which age seals."""
        return self.folder / "extension.json"

    @property
    def locked(self) -> Path:
        """Mark of a lock order that was obeyed."""
        return self.folder / "locked.json"

    @property
    def revoked(self) -> Path:
        """Mark of an identity that the control plane withdrew."""
        return self.folder / "revoked.json"

    @property
    def cache(self) -> Path:
        """The two slots and large resources."""
        return self.folder / "cache"

    @property
    def audit(self) -> Path:
        """The audit log."""
        return self.folder / "audit"


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Files of one outpost."""

    state: Path

    @property
    def wrap_key(self) -> Path:
        """Key that seals the cache."""
        return self.state / "wrap.key"

    @property
    def run(self) -> Path:
        """Sockets."""
        return self.state / "run"

    @property
    def control_socket(self) -> Path:
        """Supervisor and its children."""
        return self.run / "control.sock"

    @property
    def ledger_socket(self) -> Path:
        """Workers and the ledger."""
        return self.run / "ledger.sock"

    @property
    def admin_socket(self) -> Path:
        """Command line and supervisor."""
        return self.run / "admin.sock"

    def org(self, org: str) -> OrgPaths:
        """Files of one org."""
        return OrgPaths(self.state / "orgs" / org)

    def orgs(self) -> tuple[str, ...]:
        """Orgs that this outpost is enrolled with, sorted."""
        return tuple(org for org in self._folders() if (self.org(org).identity / "enrollment.json").exists())

    def locked_orgs(self) -> tuple[str, ...]:
        """Orgs in which the control plane locked this outpost, sorted."""
        return tuple(org for org in self._folders() if self.org(org).locked.exists())

    def _folders(self) -> tuple[str, ...]:
        folder = self.state / "orgs"
        return tuple(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ()
