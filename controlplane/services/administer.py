"""Registering, listing and revoking outposts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from certs.join_token import SECRET_BYTES, JoinToken, secret_digest
from controlplane.domain import join, outposts
from controlplane.domain.condition import SILENT_MS, Condition, condition
from controlplane.domain.outposts import OUTPOST_ID_BYTES, Outpost
from controlplane.domain.records import CertificateRecord, Delivery, LogHead
from controlplane.domain.sources import checked_network
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Chance, Clock
from controlplane.services.staging import spare


@dataclass(frozen=True, slots=True)
class Door:
    """Where and how an outpost enrolls.

    Attributes:
        endpoint: host:port of the enrollment listener.
        pin: key id of the root CA, 64 hex digits.
        pepper: key of the keyed hashes, 32 bytes.
    """

    endpoint: str
    pin: str
    pepper: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a join token is made.

    Attributes:
        ttl_ms: its life.
        logical: logical outpost of which the new one is a replica; empty for its own name.
        network: only callers from this network may spend it; empty for any.
    """

    ttl_ms: int = join.DEFAULT_TTL_MS
    logical: str = ""
    network: str = ""

    def checked(self) -> "Terms":
        """The same, in canonical form. Raises TokenLifeError, NetworkError."""
        network = checked_network(self.network) if self.network else ""
        return Terms(join.checked_ttl_ms(self.ttl_ms), self.logical, network)


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered outpost; ``token`` is shown once.

    Attributes:
        again: it was registered before and never enrolled; its earlier token is void.
    """

    outpost: Outpost
    expires_ms: int
    token: str = field(repr=False)
    again: bool = False


@dataclass(frozen=True, slots=True)
class OutpostSummary:
    """Everything that is known of an outpost."""

    outpost: Outpost
    status: Mapping[str, object]
    delivery: Delivery | None
    log: LogHead | None
    refusals: tuple[tuple[int, int, int], ...]
    certificates: tuple[CertificateRecord, ...]


class Administration:
    """The use case."""

    def __init__(self, store: Store, clock: Clock, chance: Chance) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance

    async def register(self, org: str, name: str, terms: Terms, door: Door) -> Registered:
        """Register an outpost and make its join token; a pending one gets a new token, and the old one is void.

        Raises:
            OutpostNameError: the name; so are OutpostExistsError, TokenLifeError and NetworkError.
        """
        terms = terms.checked()
        now_ms = self._clock.now_ms()
        new = outposts.register(name, self._chance.token_bytes(OUTPOST_ID_BYTES), now_ms, terms.logical)
        async with self._store.for_org(org).write() as transaction:
            taken = await transaction.outposts.named(new.name)
            outpost = new if taken is None else outposts.registered_again(taken)
            await spare(transaction, new.logical or outpost.site, now_ms)
            if taken is None:
                await transaction.outposts.add(new)
            elif new.logical and new.logical != outpost.logical:
                outpost = replace(outpost, logical=new.logical)
                await transaction.outposts.save(outpost)
            return await self._token(transaction, outpost, (terms, door), again=taken is not None)

    async def reenroll(self, org: str, name_or_id: str, terms: Terms, door: Door) -> Registered:
        """Make a join token that gives an outpost, locked or not, a fresh identity over its own audit log.

        Until it is spent nothing changes; then every certificate of before is void.

        Raises:
            OutpostUnknownError: no such outpost; so are OutpostPendingError and OutpostRevokedError.
        """
        terms = terms.checked()
        async with self._store.for_org(org).write() as transaction:
            outpost = await transaction.outposts.find(name_or_id)
            outposts.require_reenrollable(outpost)
            return await self._token(transaction, outpost, (terms, door), anew=True)

    async def _token(
        self,
        transaction: OrgTransaction,
        outpost: Outpost,
        means: tuple[Terms, Door],
        *,
        again: bool = False,
        anew: bool = False,
    ) -> Registered:
        """A token in place of every one that was not spent."""
        (terms, door), now_ms = means, self._clock.now_ms()
        secret = self._chance.token_bytes(SECRET_BYTES)
        await transaction.tokens.void(outpost.id)
        row = join.JoinToken(
            digest=secret_digest(door.pepper, secret),
            outpost_id=outpost.id,
            created_ms=now_ms,
            expires_ms=now_ms + terms.ttl_ms,
            network=terms.network,
            anew=anew,
        )
        await transaction.tokens.add(row)
        token = JoinToken(transaction.org, outpost.name, door.endpoint, door.pin, secret)
        return Registered(outpost, row.expires_ms, token.encode(), again=again)

    async def outposts(self, org: str, silent_ms: int = SILENT_MS) -> tuple[Condition, ...]:
        """All outposts of an org and how they do; one not seen for ``silent_ms`` is silent."""
        async with self._store.for_org(org).read() as transaction:
            everyone = await transaction.outposts.all()
            statuses = await transaction.outposts.statuses()
            words = {word.outpost_id: word for word in await transaction.releases.deliveries()}
        now_ms = self._clock.now_ms()
        return tuple(
            condition(each, statuses.get(each.id, {}), words.get(each.id), now_ms, silent_ms) for each in everyone
        )

    async def show(self, org: str, name_or_id: str) -> OutpostSummary:
        """One outpost. Raises OutpostUnknownError."""
        async with self._store.for_org(org).read() as transaction:
            outpost = await transaction.outposts.find(name_or_id)
            words = {word.outpost_id: word for word in await transaction.releases.deliveries()}
            return OutpostSummary(
                outpost=outpost,
                status=await transaction.outposts.status(outpost.id),
                delivery=words.get(outpost.id),
                log=await transaction.audit.head(outpost.id),
                refusals=await transaction.audit.refusals(outpost.id),
                certificates=await transaction.certificates.of_outpost(outpost.id),
            )

    async def revoke(self, org: str, name_or_id: str, reason: str) -> Outpost:
        """Revoke an outpost for ever; its streams end as soon as a running server sees it."""
        async with self._store.for_org(org).write() as transaction:
            outpost = await transaction.outposts.find(name_or_id)
            revoked = outposts.revoked(outpost, reason, self._clock.now_ms())
            await transaction.outposts.save(revoked)
        return revoked
