"""Client keys."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

import json

from controlplane.domain.keys import KeyExistsError, KeyUnknownError
from controlplane.store.session import Row, Session, integer
from outpost.core.bundle.access import ClientKey

COLUMNS = "id, sha256, name, user_name, group_names, agent, channel, data_class, models, not_before, expires, revoked"


class KeyTable:
    """Adapter of ``ports.ClientKeys``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, key: ClientKey) -> None:
        """Insert, unless a live key has the name."""
        if await self._session.fetch(
            "SELECT id FROM client_keys WHERE org = $1 AND name = $2 AND revoked = 0", key.name
        ):
            raise KeyExistsError(
                f"a live key is named {key.name} already",
                field="name",
                next_step="choose another name, or revoke it: controlplane key revoke NAME --org ORG",
            )
        await self._session.execute(
            f"INSERT INTO client_keys (org, position, {COLUMNS})"
            " SELECT $1, COALESCE(MAX(position), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13"
            " FROM client_keys WHERE org = $1",
            key.id,
            key.sha256,
            key.name,
            key.user,
            json.dumps(key.groups),
            key.agent,
            key.channel,
            key.data_class,
            json.dumps(key.models),
            key.not_before,
            key.expires,
            int(key.revoked),
        )

    async def revoke(self, name_or_id: str) -> ClientKey:
        """Mark a live key as revoked."""
        row = await self._session.fetch_one(
            f"SELECT {COLUMNS} FROM client_keys WHERE org = $1 AND (name = $2 OR id = $2) AND revoked = 0",
            name_or_id,
        )
        if row is None:
            raise KeyUnknownError(
                "this org has no such live key",
                field="key",
                next_step="list them: controlplane key list --org ORG",
            )
        await self._session.execute("UPDATE client_keys SET revoked = 1 WHERE org = $1 AND id = $2", row[0])
        return _record((*row[:-1], 1))

    async def all(self) -> tuple[ClientKey, ...]:
        """In order of creation."""
        rows = await self._session.fetch(f"SELECT {COLUMNS} FROM client_keys WHERE org = $1 ORDER BY position")
        return tuple(_record(row) for row in rows)


def _record(row: Row) -> ClientKey:
    key_id, sha256, name, user, groups, agent, channel, data_class, models = map(str, row[:9])
    not_before, expires, revoked = map(integer, row[9:])
    return ClientKey(
        id=key_id,
        sha256=sha256,
        name=name,
        user=user,
        groups=tuple(json.loads(groups)),
        agent=agent,
        channel=channel,
        data_class=data_class,
        models=tuple(json.loads(models)),
        not_before=not_before,
        expires=expires,
        revoked=bool(revoked),
    )
