"""Generations of CAs, and certificates of ingresses, in the registry."""
# ruff: noqa: S608 -- only constants of this file are put into SQL text; values are always bound

import contextlib
from collections.abc import Sequence

from controlplane.domain.authorities import Authority, AuthorityKind, AuthorityState
from controlplane.domain.ingress import IngressCertificate
from controlplane.domain.vault import VaultEntry
from controlplane.store.session import Engine, Row, Session, blob, integer
from controlplane.store.vault import VaultTable

COLUMNS = "kind, generation, state, root, name, certificate, cross_certificate, created_ms, changed_ms, list_number"


class _OvertakenError(Exception):
    """Another process was faster; the transaction is rolled back."""


class AuthorityTable:
    """Adapter of ``ports.authorities.AuthorityRows``."""

    def __init__(self, engine: Engine, vault: VaultTable) -> None:
        self._engine = engine
        self._vault = vault

    async def all(self) -> tuple[Authority, ...]:
        """All generations, by kind and number."""
        async with self._engine.registry(write=False) as session:
            return await _all(session)

    async def add(self, authorities: Sequence[Authority], entries: Sequence[VaultEntry], known: int) -> bool:
        """Add generations with their keys, unless there are others than ``known`` by now."""
        with contextlib.suppress(_OvertakenError):
            async with self._engine.registry(write=True) as session:
                if len(await _all(session)) != known:
                    raise _OvertakenError
                for each in authorities:
                    await _insert(session, each)
                for entry in entries:
                    await self._vault.insert(session, entry)
            return True
        return False

    async def change(self, before: Sequence[Authority], after: Sequence[Authority]) -> bool:
        """Change states, unless one of them is not as it was read."""
        states = {(each.kind, each.generation): each.state for each in before}
        with contextlib.suppress(_OvertakenError):
            async with self._engine.registry(write=True) as session:
                for each in after:
                    changed = await session.execute(
                        "UPDATE authorities SET state = $1, changed_ms = $2"
                        " WHERE kind = $3 AND generation = $4 AND state = $5",
                        each.state.value,
                        each.changed_ms,
                        each.kind.value,
                        each.generation,
                        states[each.kind, each.generation].value,
                    )
                    if changed != 1:
                        raise _OvertakenError
            return True
        return False

    async def next_list(self, authority: Authority, number: int) -> bool:
        """Note the number of a revocation list, unless a higher one was used meanwhile."""
        async with self._engine.registry(write=True) as session:
            changed = await session.execute(
                "UPDATE authorities SET list_number = $1 WHERE kind = $2 AND generation = $3 AND list_number < $1",
                number,
                authority.kind.value,
                authority.generation,
            )
        return changed == 1


class IngressTable:
    """Adapter of ``ports.authorities.Ingresses``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, certificate: IngressCertificate) -> None:
        """Note a certificate."""
        async with self._engine.registry(write=True) as session:
            await session.execute(
                "INSERT INTO ingresses (serial, name, issuer, issued_ms, not_after_ms, revoked_ms)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                certificate.serial,
                certificate.name,
                certificate.issuer,
                certificate.issued_ms,
                certificate.not_after_ms,
                certificate.revoked_ms,
            )

    async def all(self) -> tuple[IngressCertificate, ...]:
        """All certificates, newest first."""
        async with self._engine.registry(write=False) as session:
            rows = await session.fetch(
                "SELECT serial, name, issuer, issued_ms, not_after_ms, revoked_ms FROM ingresses"
                " ORDER BY issued_ms DESC, serial"
            )
        return tuple(
            IngressCertificate(str(row[0]), str(row[1]), str(row[2]), integer(row[3]), integer(row[4]), integer(row[5]))
            for row in rows
        )

    async def revoke(self, name: str, now_ms: int) -> int:
        """Revoke every certificate of a name."""
        async with self._engine.registry(write=True) as session:
            return await session.execute(
                "UPDATE ingresses SET revoked_ms = $1 WHERE name = $2 AND revoked_ms = 0", now_ms, name
            )


async def _insert(session: Session, authority: Authority) -> None:
    changed = await session.execute(
        f"INSERT INTO authorities ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (kind, generation) DO NOTHING",
        authority.kind.value,
        authority.generation,
        authority.state.value,
        authority.root,
        authority.name,
        authority.certificate,
        authority.cross_certificate,
        authority.created_ms,
        authority.changed_ms,
        authority.list_number,
    )
    if changed != 1:
        raise _OvertakenError


async def _all(session: Session) -> tuple[Authority, ...]:
    rows = await session.fetch(f"SELECT {COLUMNS} FROM authorities ORDER BY kind, generation")
    return tuple(_authority(row) for row in rows)


def _authority(row: Row) -> Authority:
    return Authority(
        kind=AuthorityKind(str(row[0])),
        generation=integer(row[1]),
        state=AuthorityState(str(row[2])),
        root=integer(row[3]),
        name=str(row[4]),
        certificate=blob(row[5]),
        cross_certificate=blob(row[6]),
        created_ms=integer(row[7]),
        changed_ms=integer(row[8]),
        list_number=integer(row[9]),
    )
