"""Renewal: a fresh key and a fresh leaf over the connection of the old one.

The new serial waits in the second slot. Its first use retires the old one and advances the join sequence; until then
the old certificate works on, so a lost answer costs nothing. The same request gets the same leaf. Another key at the
same sequence is marked: two machines may hold one identity. It is refused for 10 minutes, then it may take the unused
slot, so that an outpost that lost its new key is not stranded; whoever uses a certificate first shuts the other out.
"""

from dataclasses import dataclass, replace

from certs.csr import VerifiedRequest, read_request
from certs.spiffe import OutpostIdentity
from controlplane import telemetry
from controlplane.domain import outposts
from controlplane.domain.join import RETRY_MS
from controlplane.domain.outposts import Act, Outpost, RenewalConflictError
from controlplane.domain.records import CertificateRecord
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.issuance import Chain, OutpostIssuer


@dataclass(frozen=True, slots=True)
class Renewed:
    """A new certificate and the join sequence that holds once it is used."""

    chain: Chain
    join_sequence: int


class Renewal:
    """The use case."""

    def __init__(self, store: Store, issuer: OutpostIssuer, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def renew(self, principal: Principal, csr_der: bytes, join_sequence: int) -> Renewed:
        """Issue the next certificate of an outpost.

        Raises:
            CertificateRequestError: the request.
            RenewalConflictError: another join sequence, or another key at this one.
            OutpostRevokedError: revoked meanwhile; so is IdentitySupersededError.
        """
        request = read_request(csr_der)
        now_ms = self._clock.now_ms()
        identity = OutpostIdentity(self._issuer.trust_domain, principal.org, principal.outpost_id)
        issuance, record = self._issuer.prepare(identity, request, now_ms // 1000)
        space = self._store.for_org(principal.org)
        conflict = False
        async with space.write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            outposts.authorise(outpost, principal.serial, Act.RENEW, now_ms)
            if join_sequence != outpost.join_sequence:
                raise conflict_error()
            waiting = await self._waiting(transaction, outpost)
            same = waiting is not None and waiting.csr_sha256 == request.request_sha256
            if waiting is None or not same:
                conflict = waiting is not None and now_ms - waiting.issued_s * 1000 < RETRY_MS
                alert = "" if waiting is None else RenewalConflictError.code
                await self._record(transaction, replace(outpost, alert=alert or outpost.alert), record, conflict)
        if conflict:
            raise conflict_error()
        if same and waiting is not None:
            return Renewed(await self._again(principal, request, waiting), join_sequence + 1)
        telemetry.log(telemetry.Event.RENEWED, org=principal.org, outpost=principal.outpost_id, serial=record.serial)
        return Renewed(await self._issuer.finish(space, issuance), join_sequence + 1)

    async def _waiting(self, transaction: OrgTransaction, outpost: Outpost) -> CertificateRecord | None:
        return await transaction.certificates.get(outpost.next_serial) if outpost.next_serial else None

    async def _record(
        self, transaction: OrgTransaction, outpost: Outpost, record: CertificateRecord, conflict: bool
    ) -> None:
        """Keep the intent in the free slot; of a conflict keep the alert only."""
        if conflict:
            await transaction.outposts.save(outpost)
            return
        await transaction.certificates.intend(record)
        await transaction.outposts.save(outposts.renewed(outpost, record.serial))

    async def _again(self, principal: Principal, request: VerifiedRequest, record: CertificateRecord) -> Chain:
        if record.leaf_der:
            return self._issuer.chain(record.leaf_der)
        identity = OutpostIdentity(self._issuer.trust_domain, principal.org, principal.outpost_id)
        token = self._issuer.prepare_again(identity, request, record)
        return await self._issuer.finish(self._store.for_org(principal.org), token)


def conflict_error() -> RenewalConflictError:
    """The refusal of a second key at one join sequence."""
    return RenewalConflictError(
        "another certificate was issued at this join sequence already",
        field="join_sequence",
        next_step="retry with the same request, or check whether a copy of this outpost runs elsewhere",
    )
