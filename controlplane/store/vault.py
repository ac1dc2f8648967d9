"""Keys and certificates of the control plane itself, in the registry."""

from collections.abc import Callable, Mapping, Sequence

from cryptography import x509

from certs import keys
from certs.signer import KeySigner, Signer
from controlplane.domain.vault import KeyKind, KeyLabel, VaultEntry
from controlplane.store.errors import KeyKindError, NotInitialisedError, VaultLaidError, VaultTakenError
from controlplane.store.sealing import Keyring, vault_place
from controlplane.store.session import Engine, Row, Session, Value, blob

Opener = Callable[[str], Signer]
"""Opens a key by its label in a module."""


class VaultTable:
    """Adapter of ``ports.vault.Vault``.

    Args:
        openers: how to reach keys that are not in the row itself, by kind.
    """

    def __init__(self, engine: Engine, keyring: Keyring, openers: Mapping[str, Opener]) -> None:
        self._engine = engine
        self._keyring = keyring
        self._openers = openers

    async def lay(self, entries: Sequence[VaultEntry]) -> None:
        """Put the first entries into an empty vault."""
        async with self._engine.registry(write=True) as session:
            if await session.fetch("SELECT name FROM vault LIMIT 1"):
                raise VaultLaidError(
                    "the database holds the keys of a control plane already",
                    field="database",
                    next_step="for another replica of it copy its settings and its kek; for a new control plane name "
                    "another database",
                )
            for entry in entries:
                await self.insert(session, entry)

    async def keep(self, entry: VaultEntry) -> None:
        """Add an entry."""
        async with self._engine.registry(write=True) as session:
            if await session.fetch("SELECT name FROM vault WHERE name = $1", entry.name):
                raise VaultTakenError(f"the vault holds {entry.name} already", field=entry.name)
            await self.insert(session, entry)

    async def replace(self, entry: VaultEntry, before: Sequence[x509.Certificate]) -> bool:
        """Put an entry in another one's place."""
        _, kind, sealed, label, certificates = self._values(entry)
        async with self._engine.registry(write=True) as session:
            if not before and not await session.fetch("SELECT name FROM vault WHERE name = $1", entry.name):
                await self.insert(session, entry)
                return True
            changed = await session.execute(
                "UPDATE vault SET kind = $3, sealed = $4, label = $5, certificates = $6"
                " WHERE name = $1 AND certificates = $2",
                entry.name,
                _pem(before),
                kind,
                sealed,
                label,
                certificates,
            )
        return changed == 1

    async def signer(self, name: str) -> Signer:
        """The key of a name."""
        _, kind, sealed, label, _ = await self._row(name)
        if kind == KeyKind.FILE:
            return KeySigner(self._keyring.open(blob(sealed), vault_place(name), name=name))
        if kind == KeyKind.NONE:
            raise _missing(f"the key of {name} is not kept here")
        opener = self._openers.get(str(kind))
        if opener is None:
            raise KeyKindError(
                f"the key {name} is in a module ({kind!s}) that this control plane is not set up for",
                field=name,
                next_step="set the module's settings as the other replicas have them",
            )
        return opener(str(label))

    async def in_modules(self) -> tuple[str, ...]:
        """Names of keys that lie in a key module."""
        async with self._engine.registry(write=False) as session:
            rows = await session.fetch("SELECT name FROM vault WHERE kind = $1 ORDER BY name", KeyKind.PKCS11.value)
        return tuple(str(row[0]) for row in rows)

    async def certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """A certificate with its issuers."""
        found = await self.find_certificates(name)
        if not found:
            raise _missing(f"the certificate of {name} is not here")
        return found

    async def find_certificates(self, name: str) -> tuple[x509.Certificate, ...]:
        """The same, or nothing."""
        async with self._engine.registry(write=False) as session:
            row = await session.fetch_one("SELECT certificates FROM vault WHERE name = $1", name)
        return _chain(row[0], name) if row else ()

    async def key_and_certificates(self, name: str) -> tuple[bytes, tuple[x509.Certificate, ...]]:
        """A private key in clear, for TLS, with its chain."""
        _, kind, sealed, _, pem = await self._row(name)
        if kind != KeyKind.FILE:
            raise _missing(f"the key of {name} never leaves its module, or is not kept here")
        key = self._keyring.open(blob(sealed), vault_place(name), name=name)
        return keys.private_key_pem(key), _chain(pem, name)

    async def _row(self, name: str) -> Row:
        async with self._engine.registry(write=False) as session:
            row = await session.fetch_one(
                "SELECT name, kind, sealed, label, certificates FROM vault WHERE name = $1", name
            )
        if row is None:
            raise _missing(f"the vault has no {name}")
        return row

    async def insert(self, session: Session, entry: VaultEntry) -> None:
        """Add an entry within somebody else's transaction."""
        await session.execute(
            "INSERT INTO vault (name, kind, sealed, label, certificates) VALUES ($1, $2, $3, $4, $5)",
            *self._values(entry),
        )

    def _values(self, entry: VaultEntry) -> tuple[Value, ...]:
        kind, sealed, label = KeyKind.NONE, b"", ""
        if isinstance(entry.key, KeyLabel):
            kind, label = KeyKind.PKCS11, entry.key.label
        elif entry.key is not None:
            kind, sealed = KeyKind.FILE, self._keyring.seal(entry.key, vault_place(entry.name))
        return entry.name, kind.value, sealed, label, _pem(entry.certificates)


def _chain(pem: Value, name: str) -> tuple[x509.Certificate, ...]:
    return keys.certificates_from_pem(str(pem).encode(), field=name) if pem else ()


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return keys.certificates_pem(certificates).decode() if certificates else ""


def _missing(message: str) -> NotInitialisedError:
    return NotInitialisedError(
        message, field="vault", next_step="make a control plane: controlplane init; or restore the database"
    )
