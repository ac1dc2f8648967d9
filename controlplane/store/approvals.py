"""Acts that wait for a second person."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

from dataclasses import fields

from controlplane.domain.approvals import Approval, ApprovalState, ApprovalUnknownError
from controlplane.domain.rbac import Verb
from controlplane.store.session import Row, Session, Value, integer

NAMES = tuple(each.name for each in fields(Approval))
COLUMNS = ", ".join(NAMES)


class ApprovalTable:
    """Adapter of ``ports.admin.Approvals``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def add(self, approval: Approval) -> None:
        """Insert."""
        places = ", ".join(f"${number}" for number in range(1, len(NAMES) + 2))
        await self._session.execute(f"INSERT INTO approvals (org, {COLUMNS}) VALUES ({places})", *_values(approval))

    async def save(self, approval: Approval) -> None:
        """Replace the row."""
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(NAMES, start=2))
        await self._session.execute(
            f"UPDATE approvals SET {assignments} WHERE org = $1 AND id = $2", *_values(approval)
        )

    async def get(self, approval_id: str) -> Approval:
        """By id."""
        row = await self._session.fetch_one(f"SELECT {COLUMNS} FROM approvals WHERE org = $1 AND id = $2", approval_id)
        if row is None:
            raise ApprovalUnknownError(
                "this org has no such approval",
                field="approval",
                next_step="list them: controlplane approval list --org ORG",
            )
        return _approval(row)

    async def pending_on(self, subject: str) -> tuple[Approval, ...]:
        """Those on a subject."""
        rows = await self._session.fetch(
            f"SELECT {COLUMNS} FROM approvals WHERE org = $1 AND subject = $2 AND state = $3 ORDER BY created_ms, id",
            subject,
            ApprovalState.PENDING.value,
        )
        return tuple(_approval(row) for row in rows)

    async def pending_count(self, now_ms: int) -> int:
        """How many wait now."""
        row = await self._session.fetch_one(
            "SELECT count(*) FROM approvals WHERE org = $1 AND state = $2 AND expires_ms > $3",
            ApprovalState.PENDING.value,
            now_ms,
        )
        return integer(row[0]) if row else 0

    async def withdraw_all(self, reason: str, now_ms: int) -> int:
        """End all that wait."""
        return await self._session.execute(
            "UPDATE approvals SET state = $2, reason = $3, decided_ms = $4 WHERE org = $1 AND state = $5",
            ApprovalState.WITHDRAWN.value,
            reason,
            now_ms,
            ApprovalState.PENDING.value,
        )

    async def newest(self, before: str, limit: int) -> tuple[Approval, ...]:
        """Newest first."""
        made = "(SELECT created_ms FROM approvals WHERE org = $1 AND id = $2)"
        rows = await self._session.fetch(
            f"SELECT {COLUMNS} FROM approvals WHERE org = $1 AND ($2 = '' OR created_ms < {made}"
            f" OR (created_ms = {made} AND id < $2)) ORDER BY created_ms DESC, id DESC LIMIT $3",
            before,
            limit,
        )
        return tuple(_approval(row) for row in rows)


def _values(approval: Approval) -> tuple[Value, ...]:
    values = (getattr(approval, name) for name in NAMES)
    return tuple(" ".join(value) if isinstance(value, tuple) else value for value in values)


def _approval(row: Row) -> Approval:
    values = dict(zip(NAMES, row, strict=True))
    made = {
        **values,
        "verb": Verb(str(values["verb"])),
        "state": ApprovalState(str(values["state"])),
        "behind": tuple(str(values["behind"]).split()),
    }
    return Approval(**made)  # type: ignore[arg-type]
