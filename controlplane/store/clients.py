"""Machine clients."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from dataclasses import fields

from controlplane.domain.clients import ClientExistsError, ClientUnknownError, MachineClient
from controlplane.domain.rbac import Role, Verb
from controlplane.store.session import Row, Session, Value

NAMES = tuple(each.name for each in fields(MachineClient))
COLUMNS = ", ".join(NAMES)


class ClientTable:
    """Adapter of ``ports.admin.Clients``: rows hold digests of secrets, never a secret."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, client: MachineClient) -> None:
        """Insert, unless a live client has the name."""
        if await self._live(client.name) is not None:
            raise ClientExistsError(
                f"a live client is named {client.name} already",
                field="name",
                next_step="choose another name, or revoke it: controlplane client revoke NAME --org ORG",
            )
        places = ", ".join(f"${number}" for number in range(1, len(NAMES) + 2))
        await self._session.execute(f"INSERT INTO clients (org, {COLUMNS}) VALUES ({places})", *_values(client))

    async def save(self, client: MachineClient) -> None:
        """Replace the row."""
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(NAMES, start=2))
        await self._session.execute(f"UPDATE clients SET {assignments} WHERE org = $1 AND id = $2", *_values(client))

    async def get(self, client_id: str) -> MachineClient | None:
        """By id, revoked ones too."""
        row = await self._session.fetch_one(f"SELECT {COLUMNS} FROM clients WHERE org = $1 AND id = $2", client_id)
        return _client(row) if row else None

    async def find(self, name_or_id: str) -> MachineClient:
        """A live one by name or id."""
        found = await self._live(name_or_id)
        if found is None:
            raise ClientUnknownError(
                "this org has no such live client",
                field="client",
                next_step="list them: controlplane client list --org ORG",
            )
        return found

    async def all(self) -> tuple[MachineClient, ...]:
        """In order of creation."""
        rows = await self._session.fetch(f"SELECT {COLUMNS} FROM clients WHERE org = $1 ORDER BY created_ms, id")
        return tuple(_client(row) for row in rows)

    async def _live(self, name_or_id: str) -> MachineClient | None:
        row = await self._session.fetch_one(
            f"SELECT {COLUMNS} FROM clients WHERE org = $1 AND (name = $2 OR id = $2) AND revoked_ms = 0", name_or_id
        )
        return _client(row) if row else None


def _values(client: MachineClient) -> tuple[Value, ...]:
    values = (getattr(client, name) for name in NAMES)
    return tuple(" ".join(value) if isinstance(value, tuple) else value for value in values)


def _client(row: Row) -> MachineClient:
    values = dict(zip(NAMES, row, strict=True))
    made = {
        **values,
        "role": Role(str(values["role"])),
        "scopes": tuple(Verb(each) for each in str(values["scopes"]).split()),
        "seen_by": tuple(str(values["seen_by"]).split()),
    }
    return MachineClient(**made)  # type: ignore[arg-type]
