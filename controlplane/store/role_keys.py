"""Keys of the roles that sign an org's configuration, sealed, in the org's own space."""

from collections.abc import Mapping

from certs.shell.signers import generate_signing_key
from certs.signer import KeySigner, Signer
from controlplane.domain.vault import KeyKind
from controlplane.store.sealing import Keyring, role_place
from controlplane.store.session import Session, Value, blob, integer


class RoleKeyTable:
    """Adapter of ``ports.releases.RoleKeys``."""

    def __init__(self, session: Session, keyring: Keyring) -> None:
        self._session = session
        self._keyring = keyring

    async def create(self, role: str, number: int) -> Signer:
        """Make a key; the one that is there when it was made before."""
        row = await self._session.fetch_one(
            "SELECT sealed FROM role_keys WHERE org = $1 AND role = $2 AND number = $3", role, number
        )
        if row is not None:
            return self._opened(role, number, row[0])
        key = generate_signing_key()
        await self._session.execute(
            "INSERT INTO role_keys (org, role, number, kind, sealed, label) VALUES ($1, $2, $3, $4, $5, $6)",
            role,
            number,
            KeyKind.FILE.value,
            self._keyring.seal(key, role_place(self._session.org, role, number)),
            "",
        )
        return KeySigner(key)

    async def all(self) -> Mapping[str, tuple[Signer, ...]]:
        """Keys that are at hand, by role."""
        rows = await self._session.fetch(
            "SELECT role, number, sealed FROM role_keys WHERE org = $1 ORDER BY role, number"
        )
        found: dict[str, tuple[Signer, ...]] = {}
        for row in rows:
            role = str(row[0])
            found[role] = (*found.get(role, ()), self._opened(role, integer(row[1]), row[2]))
        return found

    def _opened(self, role: str, number: int, sealed: Value) -> Signer:
        place = role_place(self._session.org, role, number)
        return KeySigner(self._keyring.open(blob(sealed), place, name=f"{role}-{number}"))
