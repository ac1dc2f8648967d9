"""The next certificate of an outpost: a fresh key and a fresh leaf over the connection of the old one.

Who gets one is judged by ``domain.renewals``. The new serial waits in the second slot; its first use retires the old
one and advances the join sequence. Until then the old certificate works on, so a lost answer costs nothing, and the
same request gets the same leaf. A clone's trace locks the identity in the transaction that found it.
"""

from dataclasses import dataclass

from certs.csr import VerifiedRequest, read_request
from certs.spiffe import OutpostIdentity
from controlplane import telemetry
from controlplane.domain import outposts, recovery, renewals
from controlplane.domain.outposts import Outpost
from controlplane.domain.records import CertificateRecord
from controlplane.domain.renewals import Ask, Facts, Granted
from controlplane.ports.store import OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.identity import Principal
from controlplane.services.issuance import Chain, Issuance, OutpostIssuer, require_quota, stamped


@dataclass(frozen=True, slots=True)
class Renewed:
    """A new certificate and the join sequence that holds once it is used."""

    chain: Chain
    join_sequence: int


@dataclass(frozen=True, slots=True)
class RenewalCall:
    """What an outpost asked with.

    Attributes:
        csr_der: untrusted.
        join_sequence: that it holds.
        boot_id: its start, within the bounds of the wire.
        source: address that it calls from.
    """

    csr_der: bytes
    join_sequence: int
    boot_id: str
    source: str


class Renewal:
    """The use case."""

    def __init__(self, store: Store, issuer: OutpostIssuer, clock: Clock) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def renew(self, principal: Principal, call: RenewalCall) -> Renewed:
        """Issue the next certificate of an outpost.

        Raises:
            CertificateRequestError: the request.
            OutpostLockedError: it is a clone's trace, and the identity is locked now; or it was before.
            SequenceError: another join sequence.
            OutpostRevokedError: revoked meanwhile; so is IdentitySupersededError.
            CertificateQuotaError: too many in a day.
        """
        request = read_request(call.csr_der)
        now_ms = self._clock.now_ms()
        issuance = self._issuer.prepare(self._identity(principal), request, now_ms // 1000)
        ask = Ask(principal.serial, call.join_sequence, request.request_sha256, call.boot_id, call.source)
        async with self._store.for_org(principal.org).write() as transaction:
            outpost = await transaction.outposts.get(principal.outpost_id)
            verdict = renewals.judge(outpost, ask, await facts_of(transaction, outpost, ask), now_ms)
            if isinstance(verdict, Granted):
                again = known_again(self._issuer, verdict)
                if again is None:
                    await require_quota(transaction, outpost.id, now_ms // 1000)
                    renewed = recovery.renewed_regularly(verdict.outpost)
                    await record_issuance(transaction, renewed, issuance, call.source)
            else:
                await transaction.outposts.save(verdict.outpost)
        if not isinstance(verdict, Granted):
            log_clone(principal.org, verdict.outpost)
            raise outposts.locked_error(verdict.outpost)
        sequence = verdict.outpost.join_sequence + 1
        if again is not None:
            return Renewed(await self._again(principal, request, again), sequence)
        told = {"org": principal.org, "outpost": principal.outpost_id, "serial": issuance.record.serial}
        telemetry.log(telemetry.Event.RENEWED, **told)  # type: ignore[arg-type]
        return Renewed(await self._issuer.finish(self._store.for_org(principal.org), issuance), sequence)

    async def _again(self, principal: Principal, request: VerifiedRequest, record: CertificateRecord) -> Chain:
        if record.leaf_der:
            return self._issuer.chain(record.leaf_der, record.issuer)
        issuance = self._issuer.prepare_again(self._identity(principal), request, record)
        return await self._issuer.finish(self._store.for_org(principal.org), issuance)

    def _identity(self, principal: Principal) -> OutpostIdentity:
        return OutpostIdentity(self._issuer.trust_domain, principal.org, principal.outpost_id)


async def facts_of(transaction: OrgTransaction, outpost: Outpost, ask: Ask) -> Facts:
    """What the store holds about an ask."""
    held = await transaction.certificates.get(ask.serial)
    waiting = await transaction.certificates.get(outpost.next_serial) if outpost.next_serial else None
    return Facts(
        held=held if held is not None and held.outpost_id == outpost.id else None,
        waiting=waiting,
        answered=await transaction.certificates.answered(outpost.id, ask.csr_sha256),
    )


def known_again(issuer: OutpostIssuer, verdict: Granted) -> CertificateRecord | None:
    """The certificate that was issued for the same request before, unless its CA is believed no longer."""
    return verdict.again if verdict.again is not None and issuer.is_believed(verdict.again) else None


async def record_issuance(transaction: OrgTransaction, outpost: Outpost, issuance: Issuance, source: str) -> None:
    """Keep the intent in the second slot."""
    await transaction.certificates.intend(stamped(issuance, outpost.join_sequence + 1, source))
    await transaction.outposts.save(outposts.renewed(outpost, issuance.record.serial))


def log_clone(org: str, outpost: Outpost) -> None:
    """Tell the operator, with both addresses."""
    telemetry.log(
        telemetry.Event.CLONE_FOUND,
        level=40,
        org=org,
        outpost=outpost.id,
        code=outpost.alert,
        source=" and ".join(outpost.alert_sources),
    )
