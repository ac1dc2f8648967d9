"""Releases on their way, their histories, and the org's terms for them."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

import json
from typing import Any

from controlplane.domain.plans import Author, Moved, Plan, PlanKind, PlanState, PlanUnknownError
from controlplane.domain.rollout_terms import RolloutTerms, overridden, plain
from controlplane.store.session import MOST_INTEGER, Row, Session, Value, integer

NAMES = (
    *("number", "kind", "title", "author_id", "author_name", "created_ms", "digest", "terms", "state", "at_once"),
    *("approver_id", "approver_name", "draft", "ceremony", "release", "fallback", "stage", "first_set"),
    *("stage_set", "began_ms", "settled_ms", "ended_ms", "code", "reason", "culprit", "shadow"),
)
COLUMNS = ", ".join(NAMES)
PLACES = ", ".join(f"${number}" for number in range(1, len(NAMES) + 2))
ASSIGNMENTS = ", ".join(f"{name} = ${at}" for at, name in enumerate(NAMES, start=2) if name != "number")


class PlanTable:
    """Adapter of ``ports.plans.Plans``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def next_number(self) -> int:
        """Number of the next plan."""
        row = await self._session.fetch_one("SELECT coalesce(max(number), 0) FROM plans WHERE org = $1")
        return (integer(row[0]) if row else 0) + 1

    async def add(self, plan: Plan) -> None:
        """Insert."""
        await self._session.execute(f"INSERT INTO plans (org, {COLUMNS}) VALUES ({PLACES})", *_values(plan))

    async def save(self, plan: Plan) -> None:
        """Replace the row."""
        await self._session.execute(f"UPDATE plans SET {ASSIGNMENTS} WHERE org = $1 AND number = $2", *_values(plan))

    async def get(self, number: int) -> Plan:
        """By number."""
        row = await self._session.fetch_one(f"SELECT {COLUMNS} FROM plans WHERE org = $1 AND number = $2", number)
        if row is None:
            raise PlanUnknownError(
                "this org has no such plan", field="plan", next_step="list them: controlplane release list --org ORG"
            )
        return _plan(row)

    async def rolling(self) -> Plan | None:
        """The one that rolls."""
        return await self._newest_in(PlanState.ROLLING, "")

    async def waiting(self) -> Plan | None:
        """The newest one that waits for signatures made elsewhere."""
        return await self._newest_in(PlanState.APPROVED, " AND length(ceremony) > 0")

    async def newest(self, before: int, limit: int) -> tuple[Plan, ...]:
        """Newest first."""
        rows = await self._session.fetch(
            f"SELECT {COLUMNS} FROM plans WHERE org = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
            before or MOST_INTEGER,
            limit,
        )
        return tuple(_plan(row) for row in rows)

    async def highest_release(self) -> int:
        """Highest version of a plan's release."""
        row = await self._session.fetch_one("SELECT coalesce(max(release), 0) FROM plans WHERE org = $1")
        return integer(row[0]) if row else 0

    async def note(self, number: int, moved: Moved) -> None:
        """Add a step to a plan's history."""
        await self._session.execute(
            "INSERT INTO plan_moves (org, plan, number, at_ms, state, stage, code, reason, by_name)"
            " SELECT $1, $2, (SELECT count(*) FROM plan_moves m WHERE m.org = $1 AND m.plan = $2),"
            " $3, $4, $5, $6, $7, $8",
            number,
            moved.at_ms,
            moved.state.value,
            moved.stage,
            moved.code,
            moved.reason,
            moved.by,
        )

    async def history(self, number: int) -> tuple[Moved, ...]:
        """All steps of a plan."""
        rows = await self._session.fetch(
            "SELECT at_ms, state, stage, code, reason, by_name FROM plan_moves WHERE org = $1 AND plan = $2"
            " ORDER BY number",
            number,
        )
        return tuple(
            Moved(integer(row[0]), PlanState(str(row[1])), integer(row[2]), *(str(each) for each in row[3:]))
            for row in rows
        )

    async def terms(self) -> RolloutTerms:
        """Of the org; the usual ones unless it set others."""
        row = await self._session.fetch_one("SELECT terms FROM rollout_terms WHERE org = $1")
        return overridden(RolloutTerms(), json.loads(str(row[0]))) if row else RolloutTerms()

    async def put_terms(self, terms: RolloutTerms) -> None:
        """Replace them."""
        await self._session.execute(
            "INSERT INTO rollout_terms (org, terms) VALUES ($1, $2)"
            " ON CONFLICT (org) DO UPDATE SET terms = excluded.terms",
            json.dumps(plain(terms)),
        )

    async def _newest_in(self, state: PlanState, further: str) -> Plan | None:
        row = await self._session.fetch_one(
            f"SELECT {COLUMNS} FROM plans WHERE org = $1 AND state = $2{further} ORDER BY number DESC LIMIT 1",
            state.value,
        )
        return _plan(row) if row is not None else None


def _values(plan: Plan) -> tuple[Value, ...]:
    written: dict[str, Value] = {
        "kind": plan.kind.value,
        "author_id": plan.author.id,
        "author_name": plan.author.name,
        "terms": json.dumps(plain(plan.terms)),
        "state": plan.state.value,
        "at_once": int(plan.at_once),
        "approver_id": plan.approver.id,
        "approver_name": plan.approver.name,
    }
    return tuple(written[name] if name in written else getattr(plan, name) for name in NAMES)


def _plan(row: Row) -> Plan:
    values: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    author = Author(values.pop("author_id"), values.pop("author_name"))
    approver = Author(values.pop("approver_id"), values.pop("approver_name"))
    return Plan(
        **{
            **values,
            "kind": PlanKind(values["kind"]),
            "author": author,
            "approver": approver,
            "terms": overridden(RolloutTerms(), json.loads(values["terms"])),
            "state": PlanState(values["state"]),
            "at_once": bool(values["at_once"]),
        }
    )
