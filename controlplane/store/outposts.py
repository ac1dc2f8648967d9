"""Outposts and their heartbeats."""
# ruff: noqa: S608 -- only constants of this package are put into SQL text; values are always bound

import json
from collections.abc import Collection, Mapping, Sequence

from controlplane.domain.changes import Change, ChangeKind
from controlplane.domain.outposts import Outpost, OutpostExistsError, OutpostState, OutpostUnknownError
from controlplane.domain.records import Heartbeat
from controlplane.store.changes import ChangeTable
from controlplane.store.session import Row, Session, Value
from controlplane.store.statements import LISTED_2

NAMES = (
    *("id", "name", "state", "created_ms", "activated_ms", "revoked_ms", "reason", "join_sequence", "serial"),
    *("next_serial", "audit_public_key", "software_version", "boot_id", "superseded_boots", "alert", "logical"),
    *("locked_ms", "enrolled_sequence", "boot_source", "draining", "advanced_ms", "recoveries", "alert_sources"),
    *("alert_ms", "lock_order", "lock_signatures", "lock_confirmed_ms", "adopted_ms"),
)
LISTS = ("superseded_boots", "draining", "alert_sources")  # words with a space between them
COLUMNS = ", ".join(NAMES)
MARKS = ", ".join(f"${number}" for number in range(1, len(NAMES) + 2))
SETTINGS = ", ".join(f"{name} = ${number}" for number, name in enumerate(NAMES, start=2) if name != "id")
SELECT = (
    f"SELECT {', '.join(f'o.{name}' for name in NAMES)}, COALESCE(h.seen_ms, 0) FROM outposts o"
    " LEFT JOIN heartbeats h ON h.org = $1 AND h.outpost_id = o.id WHERE o.org = $1"
)


class OutpostTable:
    """Adapter of ``ports.fleet.Outposts``."""

    def __init__(self, session: Session, changes: ChangeTable) -> None:
        self._session = session
        self._changes = changes

    async def add(self, outpost: Outpost) -> None:
        """Insert, unless the name is taken."""
        if await self._session.fetch("SELECT id FROM outposts WHERE org = $1 AND name = $2", outpost.name):
            raise OutpostExistsError(
                f"an outpost named {outpost.name} is registered already",
                field="name",
                next_step="choose another name, or look at it: controlplane outpost show NAME --org ORG",
            )
        await self._session.execute(f"INSERT INTO outposts (org, {COLUMNS}) VALUES ({MARKS})", *_values(outpost))
        self._changes.note(Change(ChangeKind.OUTPOST, outpost.id))

    async def save(self, outpost: Outpost) -> None:
        """Replace the row."""
        changed = await self._session.execute(
            f"UPDATE outposts SET {SETTINGS} WHERE org = $1 AND id = $2", *_values(outpost)
        )
        if changed:
            self._changes.note(Change(ChangeKind.OUTPOST, outpost.id))

    async def get(self, outpost_id: str) -> Outpost:
        """By id."""
        return _outpost(await self._session.fetch_one(f"{SELECT} AND o.id = $2", outpost_id))

    async def named(self, name: str) -> Outpost | None:
        """By name."""
        row = await self._session.fetch_one(f"{SELECT} AND o.name = $2", name)
        return _outpost(row) if row else None

    async def find(self, name_or_id: str) -> Outpost:
        """By name or id."""
        return _outpost(await self._session.fetch_one(f"{SELECT} AND (o.id = $2 OR o.name = $2)", name_or_id))

    async def some(self, outpost_ids: Collection[str]) -> tuple[Outpost, ...]:
        """Those of these ids that exist."""
        listed = self._session.choose(LISTED_2)
        rows = await self._session.fetch(
            f"{SELECT} AND o.id IN {listed} ORDER BY o.created_ms, o.id", json.dumps(sorted(outpost_ids))
        )
        return tuple(_outpost(row) for row in rows)

    async def all(self) -> tuple[Outpost, ...]:
        """In order of registration."""
        rows = await self._session.fetch(f"{SELECT} ORDER BY o.created_ms, o.id")
        return tuple(_outpost(row) for row in rows)

    async def ended(self) -> tuple[Outpost, ...]:
        """Revoked or locked."""
        ended = (OutpostState.LOCKED.value, OutpostState.REVOKED.value)
        rows = await self._session.fetch(f"{SELECT} AND o.state IN ($2, $3) ORDER BY o.created_ms, o.id", *ended)
        return tuple(_outpost(row) for row in rows)

    async def status(self, outpost_id: str) -> Mapping[str, object]:
        """The newest heartbeat."""
        row = await self._session.fetch_one(
            "SELECT status FROM heartbeats WHERE org = $1 AND outpost_id = $2", outpost_id
        )
        status: Mapping[str, object] = json.loads(str(row[0])) if row else {}
        return status

    async def statuses(self) -> Mapping[str, Mapping[str, object]]:
        """The newest heartbeats."""
        rows = await self._session.fetch("SELECT outpost_id, status FROM heartbeats WHERE org = $1")
        return {str(row[0]): json.loads(str(row[1])) for row in rows}

    async def keep_statuses(self, heartbeats: Sequence[Heartbeat]) -> None:
        """Keep the newest heartbeats; a heartbeat that is older than the stored one says nothing any more."""
        await self._session.execute_many(
            "INSERT INTO heartbeats (org, outpost_id, seen_ms, status) SELECT $1, $2, $3, $4"
            " WHERE EXISTS (SELECT 1 FROM outposts o WHERE o.org = $1 AND o.id = $2)"
            " ON CONFLICT (org, outpost_id) DO UPDATE SET seen_ms = excluded.seen_ms, status = excluded.status"
            " WHERE heartbeats.seen_ms <= excluded.seen_ms",
            [(each.outpost_id, each.seen_ms, json.dumps(each.status, sort_keys=True)) for each in heartbeats],
        )


def _values(outpost: Outpost) -> tuple[Value, ...]:
    special: dict[str, Value] = {name: " ".join(getattr(outpost, name)) for name in LISTS}
    special |= {"state": outpost.state.value, "lock_signatures": json.dumps(dict(outpost.lock_signatures))}
    return tuple(special[name] if name in special else getattr(outpost, name) for name in NAMES)


def _outpost(row: Row | None) -> Outpost:
    if row is None:
        raise OutpostUnknownError(
            "this org has no such outpost", field="outpost", next_step="list them: controlplane outpost list --org ORG"
        )
    values: dict[str, object] = dict(zip(NAMES, row, strict=False))
    values["state"] = OutpostState(str(values["state"]))
    values |= {name: tuple(str(values[name]).split()) for name in LISTS}
    values["lock_signatures"] = tuple(json.loads(str(values["lock_signatures"]) or "{}").items())
    return Outpost(**values, last_seen_ms=row[-1])  # type: ignore[arg-type]
