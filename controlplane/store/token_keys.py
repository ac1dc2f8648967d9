"""Keys that sign access tokens: public halves in the operator's space, private ones sealed in the vault."""

import contextlib

from certs.keys import require_signing_key
from certs.shell.signers import generate_signing_key
from certs.signer import Signer
from controlplane.domain.orgs import OPERATOR
from controlplane.domain.signing_keys import SigningKey
from controlplane.domain.vault import VaultEntry
from controlplane.ports.store import Store
from controlplane.store.errors import VaultTakenError
from controlplane.store.session import Session, blob, integer


class TokenKeyTable:
    """Adapter of ``ports.admin.TokenKeyRows``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def all(self) -> tuple[SigningKey, ...]:
        """By number."""
        rows = await self._session.fetch(
            "SELECT number, public_key, created_ms FROM token_keys WHERE org = $1 ORDER BY number"
        )
        return tuple(SigningKey(integer(row[0]), blob(row[1]), integer(row[2])) for row in rows)

    async def add(self, key: SigningKey) -> None:
        """Insert."""
        await self._session.execute(
            "INSERT INTO token_keys (org, number, public_key, created_ms) VALUES ($1, $2, $3, $4)",
            key.number,
            key.public_key,
            key.created_ms,
        )


class StoredTokenKeys:
    """Adapter of ``ports.admin.TokenKeys``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._signers: dict[int, Signer] = {}

    async def all(self) -> tuple[SigningKey, ...]:
        """By number."""
        async with self._store.for_org(OPERATOR).read() as transaction:
            return await transaction.token_keys.all()

    async def add(self, now_ms: int) -> SigningKey:
        """Make one more. Of several processes that try at once one wins, and all get its key."""
        number = len(await self.all()) + 1
        with contextlib.suppress(VaultTakenError):  # another process, or a try that was interrupted
            await self._store.vault.keep(VaultEntry(_name(number), generate_signing_key()))
        signer = await self._store.vault.signer(_name(number))
        public = require_signing_key(signer.public_key()).public_bytes_raw()
        async with self._store.for_org(OPERATOR).write() as transaction:
            for key in await transaction.token_keys.all():
                if key.number == number:
                    return key
            key = SigningKey(number, public, now_ms)
            await transaction.token_keys.add(key)
        return key

    async def signer(self, key: SigningKey) -> Signer:
        """The signer of a key; opened once."""
        if key.number not in self._signers:
            self._signers[key.number] = await self._store.vault.signer(_name(key.number))
        return self._signers[key.number]


def _name(number: int) -> str:
    return f"token-{number}"
