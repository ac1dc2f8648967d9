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
    def inbox(self) -> Path:
        """A bundle that was brought by hand, until the outpost takes it up."""
        return self.folder / "courier.bundle"

    @property
    def cache(self) -> Path:
        """The two slots and large resources."""
        return self.folder / "cache"

    @property
    def audit(self) -> Path:
        """The audit log."""
        return self.folder / "audit"

    @property
    def high_water(self) -> Path:
        """Highest versions and signed time ever accepted."""
        return self.folder / "high-water.json"

    @property
    def vault(self) -> Path:
        """Sealed placeholders of stateful APIs."""
        return self.folder / "vault"

    @property
    def lock_mark(self) -> Path:
        """Word that a signed order to wipe was obeyed; outside of what is wiped."""
        return self.folder / "locked.json"


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
        """Orgs that this outpost is enrolled with, or was until a lock order, sorted."""
        folder = self.state / "orgs"
        if not folder.is_dir():
            return ()
        found = (OrgPaths(entry) for entry in folder.iterdir())
        return tuple(
            sorted(
                org.folder.name
                for org in found
                if (org.identity / "enrollment.json").exists() or org.lock_mark.exists()
            )
        )
