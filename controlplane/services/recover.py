"""Recovery: an outpost whose certificate expired proves its bound key to the listener for strangers.

Order: nonce -> request read, possession proved -> rows looked up -> proof verified -> one transaction
judges, counts and records the intent -> signed -> stored -> answered. Up to and with the proof the work is the same for
every caller: for an org or an outpost that is not here, rows are looked for where there are none, and the proof is
verified against a key of nobody. Whoever does not hold the bound key of that very outpost gets one answer, at one
moment after the call. Only these refusals are throttled: a right proof is never kept waiting by wrong ones from its own
address. A challenge is not throttled at all: it costs one keyed hash, as much as a refusal would.

The moment in the nonce proves that the caller has lived since then; so a recovery with a retired certificate is told
from one that arrives late.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs import keys, recover
from certs.csr import VerifiedRequest, read_request
from certs.recover import RecoverClaim, RecoverProofError
from certs.spiffe import OutpostIdentity
from controlplane import telemetry
from controlplane.domain import outposts, recovery, renewals
from controlplane.domain.errors import ControlPlaneError
from controlplane.domain.outposts import Outpost, OutpostState
from controlplane.domain.records import CertificateRecord
from controlplane.domain.recovery import RecoverRefusedError
from controlplane.domain.renewals import Ask, Cloned, Facts, Granted
from controlplane.domain.throttle import Rate, Throttle, recovery_throttled
from controlplane.ports.store import OrgSpace, OrgTransaction, Store
from controlplane.ports.world import Clock
from controlplane.services.adoption import Adoption
from controlplane.services.even import refused_evenly
from controlplane.services.issuance import DAY_S, Chain, Issuance, OutpostIssuer, quota_error, require_quota, stamped
from controlplane.services.renew import facts_of, known_again, log_clone, record_issuance

REFUSALS_PER_SOURCE = Rate(6_000.0, 10)  # ten a minute, as of bad tokens
MOST_TAIL_SOURCES = 10  # addresses that use up their quota for one audit tail in a day; beyond, the tail is closed
SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)  # nobody looks at it


@dataclass(frozen=True, slots=True)
class RecoveryCall:
    """What a stranger sent; nothing here is trusted.

    Attributes:
        serial: of the certificate whose key made the proof.
        leaf_der: that certificate; it counts only when it is not on record, after a restore.
        caller_ms: the caller's clock.
        source: its address.
    """

    org: str
    outpost_id: str
    nonce: bytes
    csr_der: bytes
    join_sequence: int
    serial: str
    proof: bytes = field(repr=False)
    boot_id: str
    caller_ms: int
    source: str
    leaf_der: bytes = b""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A new certificate, the join sequence that holds once it is used, and our clock."""

    chain: Chain
    join_sequence: int
    now_ms: int


class Recovery:
    """The use case.

    Args:
        nonce_key: of all replicas, 32 bytes, used for nothing else.
    """

    def __init__(self, store: Store, issuer: OutpostIssuer, nonce_key: bytes, clock: Clock, adoption: Adoption) -> None:
        self._store = store
        self._issuer = issuer
        self._nonce_key = nonce_key
        self._clock = clock
        self._adoption = adoption
        self._refusals = Throttle(REFUSALS_PER_SOURCE)

    def challenge(self, org: str, outpost_id: str) -> tuple[bytes, int]:
        """A nonce, and our clock; made alike for outposts that exist and others."""
        now_ms = self._clock.now_ms()
        return recover.make_nonce(self._nonce_key, org, outpost_id, now_ms), now_ms

    async def recover(self, call: RecoveryCall) -> Recovered:
        """Issue a certificate for a proof of the bound key.

        Raises:
            ThrottledError: in the place of RecoverRefusedError, after too many from this source.
            RecoverNonceError: not a nonce of ours for this outpost, or its minute is over.
            CertificateRequestError: the request.
            RecoverRefusedError: whatever else is wrong, for whoever does not hold the key.
            OutpostLockedError: to whoever does: locked, and not for its audit tail; so is OutpostRevokedError.
            RecoverGraceError, RecoverCountError, CertificateQuotaError, SequenceError: to whoever does.
        """
        now_ms = self._clock.now_ms()
        recover.check_nonce(self._nonce_key, call.nonce, call.org, call.outpost_id, now_ms)
        request = read_request(call.csr_der)
        async with refused_evenly(self._clock):
            known = await self._find(call)
            held = self._proved(call, known or await self._claimed(call))
        try:
            if known is None:
                await self._take_up(call)
            return await self._grant(self._store.for_org(call.org), held, request, call)
        except ControlPlaneError as error:
            self._log_refusal(call, error.code)
            raise

    async def _find(self, call: RecoveryCall) -> CertificateRecord | None:
        """The certificate that a caller names, if it is of the outpost and the org that he names."""
        async with self._store.view_for_stranger(call.org) as transaction:
            held = await transaction.certificates.get(call.serial)
        is_theirs = held is not None and held.outpost_id == call.outpost_id and transaction.org == call.org
        return held if is_theirs and held is not None and held.leaf_der else None

    async def _claimed(self, call: RecoveryCall) -> CertificateRecord | None:
        """After a restore: a certificate that is not on record, by what it says itself; taken up once it is proved."""
        principal = self._adoption.proved(call.leaf_der) if call.leaf_der else None
        if principal is None or (principal.org, principal.outpost_id) != (call.org, call.outpost_id):
            return None
        if principal.serial != call.serial or not await self._adoption.may_claim(principal):
            return None
        return self._adoption.record(principal, call.leaf_der, call.join_sequence, call.source)

    async def _take_up(self, call: RecoveryCall) -> None:
        """Let a claimed certificate count, now that its holder proved the key. Raises IdentitySupersededError."""
        principal = self._adoption.proved(call.leaf_der)
        if principal is None or not await self._adoption.adopt(
            principal, call.leaf_der, call.join_sequence, call.source
        ):
            raise outposts.superseded_error()

    def _proved(self, call: RecoveryCall, held: CertificateRecord | None) -> CertificateRecord:
        """The certificate whose key made the proof, or the one refusal that all strangers get."""
        claim = RecoverClaim(call.org, call.outpost_id, call.nonce, call.csr_der, call.join_sequence, call.boot_id)
        leaf = nobodys_leaf() if held is None else held.leaf_der
        key = keys.require_tls_key(x509.load_der_x509_certificate(leaf).public_key())
        try:
            recover.verify_proof(key, recover.recover_message(claim), call.proof)
        except RecoverProofError:
            held = None
        if held is None:
            raise self._refusal(call) from None
        return held

    def _refusal(self, call: RecoveryCall) -> ControlPlaneError:
        moment = self._moment_ms()
        over = self._refusals.is_over(call.source, moment)
        if not over:
            self._refusals.strike(call.source, moment)
        refusal = recovery_throttled() if over else RecoverRefusedError()
        self._log_refusal(call, refusal.code)
        return refusal

    async def _grant(
        self, space: OrgSpace, held: CertificateRecord, request: VerifiedRequest, call: RecoveryCall
    ) -> Recovered:
        now_ms = self._clock.now_ms()
        alive_ms = int.from_bytes(call.nonce[:8], "big")
        ask = Ask(call.serial, call.join_sequence, request.request_sha256, call.boot_id, call.source, alive_ms)
        identity = OutpostIdentity(self._issuer.trust_domain, space.org, held.outpost_id)
        issuance = self._issuer.prepare(identity, request, now_ms // 1000)
        again = None
        async with space.write() as transaction:
            outpost = await transaction.outposts.get(held.outpost_id)
            verdict = _judged(outpost, ask, await facts_of(transaction, outpost, ask), now_ms)
            if isinstance(verdict, Granted):
                again = known_again(self._issuer, verdict)
                if again is None:
                    recovery.require_grace(held, now_ms)
                    await _require_quota(transaction, verdict, call.source, now_ms // 1000)
                    await _record(transaction, verdict, issuance, call.source)
            else:
                await transaction.outposts.save(verdict.outpost)
        if isinstance(verdict, Cloned):
            log_clone(space.org, verdict.outpost)
            raise outposts.locked_error(verdict.outpost)
        sequence = verdict.outpost.join_sequence + (0 if verdict.tail else 1)
        if again is not None and again.leaf_der:
            return Recovered(self._issuer.chain(again.leaf_der, again.issuer), sequence, now_ms)
        if again is not None:
            issuance = self._issuer.prepare_again(identity, request, again)
        told = {"org": space.org, "outpost": held.outpost_id, "serial": issuance.record.serial, "source": call.source}
        telemetry.log(telemetry.Event.RECOVERED, **told)  # type: ignore[arg-type]
        return Recovered(await self._issuer.finish(space, issuance), sequence, now_ms)

    def _log_refusal(self, call: RecoveryCall, code: str) -> None:
        telemetry.log(telemetry.Event.RECOVER_REFUSED, source=call.source, code=code)

    def _moment_ms(self) -> float:
        return self._clock.monotonic() * 1000


def _judged(outpost: Outpost, ask: Ask, facts: Facts, now_ms: int) -> Granted | Cloned:
    if outpost.state in (OutpostState.LOCKED, OutpostState.REVOKED):
        return renewals.judge_tail(outpost, ask, facts, now_ms)
    return renewals.judge(outpost, ask, facts, now_ms)


async def _require_quota(transaction: OrgTransaction, verdict: Granted, source: str, now_s: int) -> None:
    """As ``require_quota``; for the audit tail each address has its own, so that a thief does not use up another's."""
    if not verdict.tail:
        await require_quota(transaction, verdict.outpost.id, now_s)
        return
    recent = [
        each for each in await transaction.certificates.of_outpost(verdict.outpost.id) if each.issued_s >= now_s - DAY_S
    ]
    most = (await transaction.quotas.get()).certificates_per_day
    if len(recent) >= MOST_TAIL_SOURCES * most or sum(each.source == source for each in recent) >= most:
        raise quota_error(most)


async def _record(transaction: OrgTransaction, verdict: Granted, issuance: Issuance, source: str) -> None:
    """Keep the intent: in the second slot, or among the certificates for the audit tail."""
    if not verdict.tail:
        await record_issuance(transaction, recovery.recovered(verdict.outpost), issuance, source)
        return
    await transaction.certificates.intend(stamped(issuance, verdict.outpost.join_sequence, source))


@cache
def nobodys_leaf() -> bytes:
    """A certificate whose key is no secret: what nobody's proofs are held against, so that they cost as much."""
    key = ec.derive_private_key(2, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, *SOME_DAY)
    return built.sign(key, SHA256()).public_bytes(Encoding.DER)
