"""Outposts and their heartbeats."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

import json
from collections.abc import Mapping, Sequence

from controlplane.domain.outposts import Outpost, OutpostExistsError, OutpostState, OutpostUnknownError
from controlplane.domain.records import Heartbeat
from controlplane.store.changes import bump
from controlplane.store.engine import Row, Session, Value

COLUMNS = (
    "id, name, state, created_ms, activated_ms, revoked_ms, reason, join_sequence, serial, next_serial,"
    " audit_public_key, software_version, boot_id, superseded_boots, alert"
)
SELECT = (
    "SELECT "
    + ", ".join(f"o.{column.strip()}" for column in COLUMNS.split(","))
    + ", COALESCE(h.seen_ms, 0) FROM outposts o LEFT JOIN heartbeats h ON h.outpost_id = o.id"
)


class OutpostTable:
    """Adapter of ``ports.Outposts``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, outpost: Outpost) -> None:
        """Insert, unless the name is taken."""
        if await self._session.fetch("SELECT id FROM outposts WHERE name = $1", outpost.name):
            raise OutpostExistsError(
                f"an outpost named {outpost.name} is registered already",
                field="name",
                next_step="choose another name, or look at it: controlplane outpost show NAME --org ORG",
            )
        marks = ", ".join(f"${number}" for number in range(1, 16))
        await self._session.execute(f"INSERT INTO outposts ({COLUMNS}) VALUES ({marks})", *_values(outpost))
        await bump(self._session)

    async def save(self, outpost: Outpost) -> None:
        """Replace the row."""
        columns = COLUMNS.replace(" ", "").split(",")
        settings = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, start=1))
        await self._session.execute(f"UPDATE outposts SET {settings} WHERE id = $1", *_values(outpost))
        await bump(self._session)

    async def get(self, outpost_id: str) -> Outpost:
        """By id."""
        row = await self._session.fetch_one(f"{SELECT} WHERE o.id = $1", outpost_id)
        return _outpost(row)

    async def named(self, name: str) -> Outpost | None:
        """By name."""
        row = await self._session.fetch_one(f"{SELECT} WHERE o.name = $1", name)
        return _outpost(row) if row else None

    async def find(self, name_or_id: str) -> Outpost:
        """By name or id."""
        row = await self._session.fetch_one(f"{SELECT} WHERE o.id = $1 OR o.name = $1", name_or_id)
        return _outpost(row)

    async def all(self) -> tuple[Outpost, ...]:
        """In order of registration."""
        rows = await self._session.fetch(f"{SELECT} ORDER BY o.created_ms, o.id")
        return tuple(_outpost(row) for row in rows)

    async def status(self, outpost_id: str) -> Mapping[str, object]:
        """The newest heartbeat."""
        row = await self._session.fetch_one("SELECT status FROM heartbeats WHERE outpost_id = $1", outpost_id)
        status: Mapping[str, object] = json.loads(str(row[0])) if row else {}
        return status

    async def statuses(self) -> Mapping[str, Mapping[str, object]]:
        """The newest heartbeats."""
        rows = await self._session.fetch("SELECT outpost_id, status FROM heartbeats")
        return {str(row[0]): json.loads(str(row[1])) for row in rows}

    async def keep_status(self, outpost_id: str, status: Mapping[str, object], seen_ms: int) -> None:
        """Keep the newest heartbeat."""
        await self.keep_statuses([Heartbeat(outpost_id, status, seen_ms)])

    async def keep_statuses(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Keep the newest heartbeats."""
        await self._session.execute_many(
            "INSERT INTO heartbeats (outpost_id, seen_ms, status) VALUES ($1, $2, $3)"
            " ON CONFLICT (outpost_id) DO UPDATE SET seen_ms = excluded.seen_ms, status = excluded.status",
            [(each.outpost_id, each.seen_ms, json.dumps(each.status, sort_keys=True)) for each in heartbeats],
        )


def _values(outpost: Outpost) -> tuple[Value, ...]:
    return (
        outpost.id,
        outpost.name,
        outpost.state.value,
        outpost.created_ms,
        outpost.activated_ms,
        outpost.revoked_ms,
        outpost.reason,
        outpost.join_sequence,
        outpost.serial,
        outpost.next_serial,
        outpost.audit_public_key,
        outpost.software_version,
        outpost.boot_id,
        " ".join(outpost.superseded_boots),
        outpost.alert,
    )


def _outpost(row: Row | None) -> Outpost:
    if row is None:
        raise OutpostUnknownError(
            "this org has no such outpost", field="outpost", next_step="list them: controlplane outpost list --org ORG"
        )
    values = dict(zip(COLUMNS.replace(" ", "").split(","), row, strict=False))
    values["state"] = OutpostState(str(values["state"]))
    values["superseded_boots"] = tuple(str(values["superseded_boots"]).split())  # type: ignore[assignment]
    return Outpost(**values, last_seen_ms=row[-1])  # type: ignore[arg-type]
