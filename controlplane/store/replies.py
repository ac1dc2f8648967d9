"""Kept answers to idempotency keys, and how an org wants to be administered."""

from controlplane.domain.orgs import OPERATOR
from controlplane.domain.replies import Reply
from controlplane.store.session import Session, blob, integer


class ReplyTable:
    """Adapter of ``ports.admin.Replies``; answers are closed before they come here."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, principal: str, key: str, since_ms: int) -> Reply | None:
        """The kept answer that is not older."""
        row = await self._session.fetch_one(
            "SELECT digest, at_ms, status, answer FROM replies"
            " WHERE org = $1 AND principal = $2 AND idempotency_key = $3 AND at_ms >= $4",
            principal,
            key,
            since_ms,
        )
        if row is None:
            return None
        return Reply(principal, key, str(row[0]), integer(row[1]), integer(row[2]), blob(row[3]))

    async def keep(self, reply: Reply) -> None:
        """Insert or replace."""
        await self._session.execute(
            "INSERT INTO replies (org, principal, idempotency_key, digest, at_ms, status, answer)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, principal, idempotency_key) DO UPDATE SET"
            " digest = excluded.digest, at_ms = excluded.at_ms, status = excluded.status, answer = excluded.answer",
            reply.principal,
            reply.key,
            reply.digest,
            reply.at_ms,
            reply.status,
            reply.answer,
        )

    async def drop(self, principal: str, key: str) -> None:
        """Forget one."""
        await self._session.execute(
            "DELETE FROM replies WHERE org = $1 AND principal = $2 AND idempotency_key = $3", principal, key
        )

    async def prune(self, before_ms: int) -> int:
        """Forget what is older."""
        return await self._session.execute("DELETE FROM replies WHERE org = $1 AND at_ms < $2", before_ms)


class RuleTable:
    """Adapter of ``ports.admin.AdminRules``."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def two_person(self) -> bool:
        """On unless it was switched off; the operator's own space begins without it, since nobody is there yet."""
        row = await self._session.fetch_one("SELECT two_person FROM admin_rules WHERE org = $1")
        return bool(row[0]) if row is not None else self._session.org != OPERATOR

    async def set_two_person(self, *, on: bool) -> None:
        """Switch it."""
        await self._session.execute(
            "INSERT INTO admin_rules (org, two_person) VALUES ($1, $2)"
            " ON CONFLICT (org) DO UPDATE SET two_person = excluded.two_person",
            int(on),
        )
